/** Instructions that no guest needs and any may execute: none of them ends its VM. */
import { expect, test } from "vitest";
import { loadImage } from "../../../src/guests/load.ts";
import { findProgram, programBytes } from "../../../src/guests/programs.ts";
import { createMachine } from "../../../src/kvm/api/kvm.ts";
import { hostRamBytesFor, Vmm } from "../../../src/kvm/api/vmm.ts";
import { writeGuestPhysical } from "../../../src/kvm/emulate/guest-memory.ts";
import { findTree } from "../../../src/kvm/trees/trees.ts";
import { findModel } from "../../../src/silicon/models/models.ts";

const CODE = 0x10_0000;
const RAM = 2 << 20;
const HLT = 0xf4;

/** How a run at level 0, which has no handlers, ends: with HLT behind the instruction, or in a triple fault. */
function endOf(vendor: "vmx" | "svm", code: readonly number[]): { kind: string; next: number } {
	const machine = createMachine({
		model: findModel(vendor === "vmx" ? "emerald-rapids" : "turin")!,
		vendor,
		tree: findTree("v6.18"),
		ramBytes: hostRamBytesFor(RAM),
	});
	const vmm = new Vmm(machine, { guestRamBytes: RAM });
	const { vcpu } = machine;
	vmm.load(loadImage(programBytes(findProgram("empty")!)), { parameters: { iterations: 1 } });
	writeGuestPhysical(vcpu.vm, CODE, Uint8Array.from([...code, HLT]));
	vcpu.vm.ops.setRip(vcpu, BigInt(CODE));
	const { kind } = vmm.run(10_000);
	return { kind, next: Number(vcpu.vm.ops.getRip(vcpu)) - CODE };
}

const undefinedOpcode = { kind: "triple-fault", next: 0 };

// biome-ignore format: a table
test.each([
	["RSM outside of SMM",           "vmx", [0x0f, 0xaa],             undefinedOpcode],
	["RSM outside of SMM",           "svm", [0x0f, 0xaa],             undefinedOpcode],
	["VMFUNC, which KVM leaves off", "vmx", [0x0f, 0x01, 0xd4],       undefinedOpcode],
	["VMLAUNCH",                     "vmx", [0x0f, 0x01, 0xc2],       undefinedOpcode],
	["TDCALL outside of a TD",       "vmx", [0x66, 0x0f, 0x01, 0xcc], undefinedOpcode],
	["VMRUN",                        "svm", [0x0f, 0x01, 0xd8],       undefinedOpcode],
	["SKINIT",                       "svm", [0x0f, 0x01, 0xde],       undefinedOpcode],
	["INVLPGA, which v6.18 carries out", "svm", [0x0f, 0x01, 0xdf],   { kind: "halted", next: 4 }],
] as const)("%s on %s", (_name, vendor, code, wanted) => {
	expect(endOf(vendor, code)).toEqual(wanted);
});
