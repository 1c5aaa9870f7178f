/** CET as KVM offers it to guests (arch/x86/kvm/x86.c, v6.18). */
import { describe, expect, it } from "vitest";
import { applyGuestCpu, parseGuestCpu } from "../../../src/kvm/api/guest-cpu.ts";
import { createMachine } from "../../../src/kvm/api/kvm.ts";
import { hostRamBytesFor } from "../../../src/kvm/api/vmm.ts";
import { cetForbidsEmulation } from "../../../src/kvm/emulate/cet.ts";
import { kvmSetCr0, kvmSetCr4 } from "../../../src/kvm/emulate/control.ts";
import { buildGuestCpuid, kvmFindCpuidEntry } from "../../../src/kvm/emulate/cpuid.ts";
import { kvmGetMsr, kvmSetMsr } from "../../../src/kvm/emulate/msr.ts";
import { kvmVcpuReset } from "../../../src/kvm/emulate/reset.ts";
import { v618 } from "../../../src/kvm/trees/base.ts";
import type { Vcpu } from "../../../src/kvm/vcpu.ts";
import { CR0, CR4 } from "../../../src/silicon/cpu/control.ts";
import { MSR } from "../../../src/silicon/cpu/msr.ts";
import { findModel } from "../../../src/silicon/models/models.ts";
import { decode } from "../../../src/silicon/translate/decode.ts";
import { SoftKvm } from "../../../src/softkvm/system.ts";

/** A vCPU in protected mode with the CPUID of QEMU's words. */
function vcpuOf(vendor: "vmx" | "svm", words = "max"): Vcpu {
	const { vcpu } = createMachine({
		model: findModel(vendor === "vmx" ? "emerald-rapids" : "turin")!,
		vendor,
		tree: v618,
		ramBytes: hostRamBytesFor(2 << 20),
	});
	buildGuestCpuid(vcpu);
	applyGuestCpu(vcpu, parseGuestCpu(words));
	kvmSetCr0(vcpu, BigInt(CR0.PE | CR0.WP));
	return vcpu;
}

const CET4 = BigInt(CR4.CET);
const WITHOUT = "max,-shstk,-ibt";

describe.each(["vmx", "svm"] as const)("on %s", (vendor) => {
	it("CR4.CET goes with CR0.WP, and is reserved where the guest's CPUID has neither half of CET", () => {
		const v = vcpuOf(vendor);
		kvmSetCr0(v, BigInt(CR0.PE));
		expect(kvmSetCr4(v, CET4)).toBe(false);
		kvmSetCr0(v, BigInt(CR0.PE | CR0.WP));
		expect(kvmSetCr4(v, CET4)).toBe(true);
		expect(kvmSetCr0(v, BigInt(CR0.PE))).toBe(false);
		expect(kvmSetCr4(vcpuOf(vendor, WITHOUT), CET4)).toBe(false);
	});

	it("IA32_XSS takes CET_U and CET_S, and CPUID says so, where the guest has CET", () => {
		for (const [words, bits] of [
			["max", 0x1800],
			[WITHOUT, 0],
		] as const) {
			const v = vcpuOf(vendor, words);
			expect(kvmFindCpuidEntry(v, 0xd, 1)!.ecx).toBe(bits);
			expect([11, 12].map((index) => kvmFindCpuidEntry(v, 0xd, index)?.eax ?? 0)).toEqual(
				bits === 0 ? [0, 0] : [16, 24],
			);
			expect(kvmSetMsr(v, MSR.IA32_XSS, 0x1800n)).toBe(bits !== 0);
		}
	});

	it("MSRs keep what was written, those of the FPU image too, with the manual's reserved bits", () => {
		const v = vcpuOf(vendor);
		const values = [
			[MSR.IA32_U_CET, 1n],
			[MSR.IA32_S_CET, 3n],
			[MSR.IA32_PL0_SSP, 0x1000n],
			[MSR.IA32_PL1_SSP, 0x2000n],
			[MSR.IA32_PL2_SSP, 0x3000n],
			[MSR.IA32_PL3_SSP, 0x4004n],
			[MSR.IA32_INTERRUPT_SSP_TABLE, 0x5001n],
		] as const;
		for (const [index, value] of values) expect(kvmSetMsr(v, index, value)).toBe(true);
		for (const [index, value] of values) expect(kvmGetMsr(v, index)).toBe(value);
		expect(kvmSetMsr(v, MSR.IA32_U_CET, 0x40n)).toBe(false);
		expect(kvmSetMsr(v, MSR.IA32_U_CET, 4n)).toBe(vendor === "vmx");
		expect(kvmSetMsr(v, MSR.IA32_PL0_SSP, 2n)).toBe(false);
		expect(kvmSetMsr(v, MSR.IA32_PL0_SSP, 1n << 60n)).toBe(false);
		// MSR_KVM_INTERNAL_GUEST_SSP is not the guest's.
		expect(kvmGetMsr(v, 0x4b56_4dff)).toBe(undefined);
		kvmVcpuReset(v, true);
		for (const [index] of values) expect(kvmGetMsr(v, index)).toBe(0n);
	});

	it("a guest without CET in its CPUID has none of the MSRs", () => {
		const v = vcpuOf(vendor, WITHOUT);
		for (let index = 0x6a0; index <= 0x6a8; index++) expect(kvmGetMsr(v, index)).toBe(undefined);
		expect(kvmSetMsr(v, MSR.IA32_U_CET, 0n)).toBe(false);
	});

	it("branches are not emulated where a shadow stack or tracking is on", () => {
		const v = vcpuOf(vendor);
		const insn = (...bytes: number[]) => decode(Uint8Array.from(bytes), 0n, 64);
		const [call, jump, indirect] = [insn(0xff, 0x10), insn(0xeb, 0), insn(0xff, 0x20)];
		const refused = () => [call, jump, indirect].map((one) => cetForbidsEmulation(v, one));
		expect(refused()).toEqual([false, false, false]);
		kvmSetCr4(v, CET4);
		kvmSetMsr(v, MSR.IA32_S_CET, 1n);
		expect(refused()).toEqual([true, false, false]);
		if (vendor === "svm") return;
		kvmSetMsr(v, MSR.IA32_S_CET, 4n);
		expect(refused()).toEqual([true, false, true]);
	});

	it("user space saves and restores CET's MSRs", () => {
		const kvm = SoftKvm.open({
			model: findModel(vendor === "vmx" ? "emerald-rapids" : "turin")!,
			ramBytes: 16 << 20,
		});
		const vcpu = kvm.createVm().createVcpu(0);
		vcpu.setCpuid2(kvm.supportedCpuid());
		const list = kvm.msrIndexList().filter((index) => index >= 0x6a0 && index <= 0x6a8);
		expect(list).toEqual([0x6a0, 0x6a2, 0x6a4, 0x6a5, 0x6a6, 0x6a7, 0x6a8]);
		const msrs = list.map((index, at) => ({ index, data: index < 0x6a4 ? 1n : BigInt(0x1000 * at) }));
		vcpu.setMsrs(msrs);
		expect(vcpu.getMsrs(list)).toEqual(msrs);
		kvm.close();
	});

	it("a guest in KVM_RUN writes them without an exit, and finds them again after one", () => {
		const kvm = SoftKvm.open({
			model: findModel(vendor === "vmx" ? "emerald-rapids" : "turin")!,
			ramBytes: 16 << 20,
		});
		const vm = kvm.createVm();
		// In real mode: MOV ECX, 6A7H; MOV EAX, 1230H; CDQ; WRMSR; HLT; RDMSR; HLT
		const code = [
			0x66, 0xb9, 0xa7, 6, 0, 0, 0x66, 0xb8, 0x30, 0x12, 0, 0, 0x66, 0x99, 0x0f, 0x30, 0xf4, 0x0f, 0x32, 0xf4,
		];
		vm.addMemory({ slot: 0, gpa: 0, bytes: 0x10000 }).write(0x1000, Uint8Array.from(code));
		const vcpu = vm.createVcpu(0);
		vcpu.setCpuid2(kvm.supportedCpuid());
		const sregs = vcpu.getSregs();
		vcpu.setSregs({ ...sregs, cs: { ...sregs.cs, base: 0n, selector: 0 } });
		vcpu.setRegs({ ...vcpu.getRegs(), rip: 0x1000n });
		expect(vcpu.run().reason).toBe("hlt");
		expect(vcpu.getMsrs([0x6a7])).toEqual([{ index: 0x6a7, data: 0x1230n }]);
		vcpu.setMsrs([{ index: 0x6a7, data: 0x4560n }]);
		expect(vcpu.run().reason).toBe("hlt");
		expect(vcpu.getRegs().rax).toBe(0x4560n);
		kvm.close();
	});
});
