/** #UD of a guest whose CPUID names the other maker, and what firmware leaves behind. */
import { expect, test } from "vitest";
import { loadImage } from "../../../src/guests/load.ts";
import { findProgram, programBytes } from "../../../src/guests/programs.ts";
import { leaveAsFirmware } from "../../../src/kvm/api/firmware.ts";
import { applyGuestCpu, parseGuestCpu } from "../../../src/kvm/api/guest-cpu.ts";
import { createMachine } from "../../../src/kvm/api/kvm.ts";
import { hostRamBytesFor, Vmm } from "../../../src/kvm/api/vmm.ts";
import { readGuestPhysical, writeGuestPhysical } from "../../../src/kvm/emulate/guest-memory.ts";
import { kvmSetMsr } from "../../../src/kvm/emulate/msr.ts";
import { handleUd } from "../../../src/kvm/emulate/undefined-opcode.ts";
import { kernelIrqchip, kernelPioRead } from "../../../src/kvm/irqchip/irqchip.ts";
import { findTree } from "../../../src/kvm/trees/trees.ts";
import type { Vcpu } from "../../../src/kvm/vcpu.ts";
import * as L from "../../../src/silicon/cpu/layout.ts";
import { MSR } from "../../../src/silicon/cpu/msr.ts";
import { FLAG } from "../../../src/silicon/cpu/rflags.ts";
import { findModel } from "../../../src/silicon/models/models.ts";

const CODE = 0x10_0000;
const RAM = 2 << 20;

function machineOf(vendor: "vmx" | "svm") {
	return createMachine({
		model: findModel(vendor === "vmx" ? "emerald-rapids" : "turin")!,
		vendor,
		tree: findTree("v6.18"),
		ramBytes: hostRamBytesFor(RAM),
	});
}

/** A vCPU in long mode, with code at CODE, that its guest's CPU may be another maker's. */
function vcpuWith(vendor: "vmx" | "svm", words: string, code: readonly number[]): Vcpu {
	const machine = machineOf(vendor);
	const vmm = new Vmm(machine, { guestRamBytes: RAM });
	const { vcpu } = machine;
	applyGuestCpu(vcpu, parseGuestCpu(words));
	vmm.load(loadImage(programBytes(findProgram("empty")!)), { parameters: { iterations: 1 } });
	writeGuestPhysical(vcpu.vm, CODE, Uint8Array.from(code));
	vcpu.vm.ops.setRip(vcpu, BigInt(CODE));
	return vcpu;
}

const SYSCALL = [0x0f, 0x05];
const SYSENTER = [0x0f, 0x34];

test("SYSCALL of 32-bit code, which is AMD's, is emulated for a guest of AMD's on VMX", () => {
	const run = (words: string) => {
		const vcpu = vcpuWith("vmx", words, SYSCALL);
		const { ops } = vcpu.vm;
		for (const [msr, value] of [
			[MSR.IA32_EFER, vcpu.efer | 1n],
			[MSR.IA32_CSTAR, 0x1234_5678n],
			[MSR.IA32_STAR, 0x0008_0000_0000n],
			[MSR.IA32_FMASK, BigInt(FLAG.TF)],
		] as const) {
			expect(kvmSetMsr(vcpu, msr, value)).toBe(true);
		}
		ops.setSegment(vcpu, L.CS, { base: 0n, limit: 0xffff_ffff, attributes: 0xc0fb, selector: 0x23 });
		ops.setSegment(vcpu, L.SS, { base: 0n, limit: 0xffff_ffff, attributes: 0xc0f3, selector: 0x1b });
		ops.setRflags(vcpu, 2 | FLAG.TF);
		expect(handleUd(vcpu)).toBe(1);
		return vcpu;
	};
	const amd = run("max,vendor=AuthenticAMD");
	expect(amd.exception.pending).toBe(false);
	expect(amd.vm.ops.getRip(amd)).toBe(0x1234_5678n);
	expect(amd.vm.ops.getCpl(amd)).toBe(0);
	expect([amd.regs[L.RCX], amd.regs[11]]).toEqual([BigInt(CODE + 2), BigInt(2 | FLAG.TF)]);
	const intel = run("max");
	expect(intel.exception).toMatchObject({ pending: true, vector: 6 });
	expect(intel.vm.ops.getRip(intel)).toBe(BigInt(CODE));
});

test("SYSENTER in long mode, which is Intel's, is emulated for a guest of Intel's on SVM", () => {
	const run = (words: string) => {
		const vcpu = vcpuWith("svm", words, SYSENTER);
		kvmSetMsr(vcpu, MSR.IA32_SYSENTER_CS, 8n);
		kvmSetMsr(vcpu, MSR.IA32_SYSENTER_ESP, 0x7000n);
		kvmSetMsr(vcpu, MSR.IA32_SYSENTER_EIP, 0x8000n);
		handleUd(vcpu);
		return vcpu;
	};
	const intel = run("max,vendor=GenuineIntel");
	const { ops } = intel.vm;
	expect([intel.exception.pending, ops.getRip(intel), ops.getRsp(intel)]).toEqual([false, 0x8000n, 0x7000n]);
	expect(run("max").exception).toMatchObject({ pending: true, vector: 6 });
});

const VMCALL = [0x0f, 0x01, 0xc1];
const VMMCALL = [0x0f, 0x01, 0xd9];
const codeOf = (vcpu: Vcpu) => {
	const code = new Uint8Array(4);
	readGuestPhysical(vcpu.vm, CODE, code);
	return [...code];
};
const HYPERCALLS_OF = { vmx: [VMMCALL, VMCALL], svm: [VMCALL, VMMCALL] } as const;

test.each(["vmx", "svm"] as const)(
	"the other maker's hypercall is written over by this one's on %s, and executed again",
	(vendor) => {
		const [foreign, own] = HYPERCALLS_OF[vendor];
		const vcpu = vcpuWith(vendor, "max", [...foreign, 0xf4]);
		expect(handleUd(vcpu)).toBe(1);
		expect([vcpu.exception.pending, vcpu.vm.ops.getRip(vcpu), codeOf(vcpu)]).toEqual([
			false,
			BigInt(CODE),
			[...own, 0xf4],
		]);
	},
);

test("VMCALL at level 3 on SVM is #GP(0), and LOCK VMMCALL on VMX #UD: nothing is written", () => {
	const user = vcpuWith("svm", "max", VMCALL);
	user.vm.ops.setSegment(user, L.CS, {
		...user.vm.ops.getSegment(user, L.CS),
		selector: 0x33,
		attributes: 0xa0fb,
	});
	user.vm.ops.setSegment(user, L.SS, {
		...user.vm.ops.getSegment(user, L.SS),
		selector: 0x2b,
		attributes: 0xc0f3,
	});
	const locked = vcpuWith("vmx", "max", [0xf0, ...VMMCALL.slice(0, 2), 0xd9]);
	for (const [vcpu, vector] of [
		[user, 13],
		[locked, 6],
	] as const) {
		const code = codeOf(vcpu);
		handleUd(vcpu);
		expect([vcpu.exception.pending, vcpu.exception.vector, codeOf(vcpu)]).toEqual([true, vector, code]);
	}
});

test("any other undefined instruction is the guest's #UD", () => {
	const vcpu = vcpuWith("vmx", "max,vendor=AuthenticAMD", [0x0f, 0x0b]);
	handleUd(vcpu);
	expect(vcpu.exception).toMatchObject({ pending: true, vector: 6 });
});

test("firmware leaves the PICs at vectors 08H and 70H, the timer running, and handlers that return", () => {
	const machine = machineOf("vmx");
	new Vmm(machine, { guestRamBytes: RAM });
	const { vm } = machine;
	leaveAsFirmware(vm, 0);
	expect([0x21, 0xa1].map((port) => kernelPioRead(vm, port, 0))).toEqual([0xb8, 0x20]);
	const { pic } = kernelIrqchip(vm)!;
	pic.setIrq(11, true);
	pic.setIrq(11, false);
	expect(pic.acknowledge()).toBe(0x73);
	const table = new Uint8Array(1024);
	readGuestPhysical(vm, 0, table);
	const vector = new DataView(table.buffer).getUint32(0x73 * 4, true);
	const code = new Uint8Array(9);
	readGuestPhysical(vm, (vector >>> 16) * 16 + (vector & 0xffff), code);
	expect([...code]).toEqual([0x50, 0xb0, 0x20, 0xe6, 0xa0, 0xe6, 0x20, 0x58, 0xcf]);
});
