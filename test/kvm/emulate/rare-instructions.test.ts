/** Instructions that no guest needs and any may execute: none of them ends its VM. */
import { expect, test } from "vitest";
import { loadImage } from "../../../src/guests/load.ts";
import { findProgram, programBytes } from "../../../src/guests/programs.ts";
import { createMachine, createSilicon, type Silicon } from "../../../src/kvm/api/kvm.ts";
import { hostRamBytesFor, Vmm } from "../../../src/kvm/api/vmm.ts";
import { writeGuestPhysical } from "../../../src/kvm/emulate/guest-memory.ts";
import { findTree } from "../../../src/kvm/trees/trees.ts";
import { emeraldRapids } from "../../../src/silicon/models/emerald-rapids.ts";
import { turin } from "../../../src/silicon/models/turin.ts";
import { decode } from "../../../src/silicon/translate/decode.ts";
import { definitionOf } from "../../../src/silicon/translate/instructions/definitions.ts";
import {
	allEncodings,
	Assembler,
	canBeMade,
	type Encoding,
	type Instance,
} from "../../silicon/translate/encodings.ts";
import { Random } from "../../silicon/translate/random.ts";

const CODE = 0x10_0000;
const DATA = 0x18_0000;
const RAM = 2 << 20;
const HLT = 0xf4;

const image = loadImage(programBytes(findProgram("empty")!));
const silicons: Readonly<Record<"vmx" | "svm", Silicon>> = {
	vmx: createSilicon(emeraldRapids, hostRamBytesFor(RAM)),
	svm: createSilicon(turin, hostRamBytesFor(RAM)),
};

/** How a run at level 0, which has no handlers, ends: with HLT behind the instruction, or in a triple fault. */
function endOf(
	vendor: "vmx" | "svm",
	code: ArrayLike<number>,
	registers: Instance["pinned"] = new Map(),
): { kind: string; next: number } {
	const silicon = silicons[vendor];
	const machine = createMachine({ model: silicon.cpu.model, vendor, tree: findTree("v6.18"), silicon });
	const vmm = new Vmm(machine, { guestRamBytes: RAM });
	const { vcpu } = machine;
	vmm.load(image, { parameters: { iterations: 1 } });
	writeGuestPhysical(vcpu.vm, CODE, Uint8Array.from([...Array.from(code), HLT]));
	for (const [register, value] of registers) vcpu.regs[register] = value;
	vcpu.vm.ops.setRip(vcpu, BigInt(CODE));
	const { kind } = vmm.run(3000);
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

/** An instance of an encoding that is not translated, or null. */
function rareInstance(encoding: Encoding): Instance | null {
	const surroundings = { rip: BigInt(CODE), target: BigInt(DATA), bases: Array<bigint>(6).fill(0n) };
	const instance = new Assembler(new Random(7)).make(encoding, { bitness: 64, ...surroundings });
	if (instance === null) return null;
	return definitionOf(decode(instance.bytes, BigInt(CODE), 64)) === undefined ? instance : null;
}

/** x87's instructions and those of vectors reach no hypervisor. */
const OF_THE_SYSTEM = /^(?!VEX|F[^x]|P[a-z]+_mm|Cvt)/;

test.each(["vmx", "svm"] as const)("no other instruction ends a VM either: %s", (vendor) => {
	const ended: string[] = [];
	let ran = 0;
	for (const encoding of allEncodings().filter(canBeMade)) {
		if (!encoding.bitnesses.includes(64) || !OF_THE_SYSTEM.test(encoding.name)) continue;
		const instance = rareInstance(encoding);
		if (instance === null) continue;
		ran++;
		const { kind } = endOf(vendor, instance.bytes, instance.pinned);
		if (!["halted", "triple-fault", "budget"].includes(kind)) ended.push(`${encoding.name}: ${kind}`);
	}
	expect(ended).toEqual([]);
	expect(ran).toBeGreaterThan(100);
});
