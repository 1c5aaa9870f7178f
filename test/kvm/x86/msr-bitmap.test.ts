import { describe, expect, it } from "vitest";
import { applyGuestCpu, parseGuestCpu } from "../../../src/kvm/api/guest-cpu.ts";
import { createMachine, type Machine } from "../../../src/kvm/api/kvm.ts";
import { buildGuestCpuid } from "../../../src/kvm/emulate/cpuid.ts";
import { v618 } from "../../../src/kvm/trees/base.ts";
import { setMsrIntercept } from "../../../src/kvm/x86/msr-bitmap.ts";
import { defaultModel } from "../../../src/review/review.ts";

const machineOf = (vendor: "vmx" | "svm"): Machine =>
	createMachine({ model: defaultModel(vendor), vendor, tree: v618 });

/** Whether an access exits, read from the bitmap as SDM Vol. 3C 25.6.9 and APM Vol. 2 15.11 lay it out. */
function exits({ cpu, vcpu, vm }: Machine, index: number, write: boolean): boolean {
	const at = cpu.memory.ramBase + vcpu.msrBitmap!.hpa;
	if (vm.vendor === "vmx") {
		const quarter = (index >= 0xc0000000 ? 0x400 : 0) + (write ? 0x800 : 0);
		const low = index & 0x1fff;
		return ((cpu.memory.u8[at + quarter + Math.floor(low / 8)]! >> (low % 8)) & 1) === 1;
	}
	const range = index >= 0xc0010000 ? 0x1000 : index >= 0xc0000000 ? 0x800 : 0;
	const low = index & 0x1fff;
	return ((cpu.memory.u8[at + range + Math.floor(low / 4)]! >> ((low % 4) * 2 + (write ? 1 : 0))) & 1) === 1;
}

const both = (machine: Machine, index: number) => [exits(machine, index, false), exits(machine, index, true)];

describe.each(["vmx", "svm"] as const)("MSR intercepts on %s", (vendor) => {
	it("IA32_XSS, IA32_APIC_BASE, EFER and the TSC deadline exit both ways", () => {
		const machine = machineOf(vendor);
		for (const index of [0xda0, 0x1b, 0xc0000080, 0x6e0]) expect(both(machine, index)).toEqual([true, true]);
	});

	it("FS, GS and KERNEL_GS bases and the SYSENTER MSRs are the guest's own", () => {
		const machine = machineOf(vendor);
		for (const index of [0xc0000100, 0xc0000101, 0xc0000102, 0x174, 0x175, 0x176]) {
			expect(both(machine, index)).toEqual([false, false]);
		}
	});

	it("setting one intercept leaves its neighbours alone", () => {
		const machine = machineOf(vendor);
		setMsrIntercept(machine.vcpu, 0x1c4, true, false);
		expect(both(machine, 0x1c4)).toEqual([true, false]);
		expect(both(machine, 0x1c3)).toEqual([true, true]);
		expect(both(machine, 0x1c5)).toEqual([true, true]);
		setMsrIntercept(machine.vcpu, 0x1c4, true, true);
		expect(both(machine, 0x1c4)).toEqual([true, true]);
	});
});

describe.each(["vmx", "svm"] as const)("CET's MSRs on %s", (vendor) => {
	const saved = [0x6a0, 0x6a4, 0x6a5, 0x6a6, 0x6a7];
	const owned = (words: string) => {
		const machine = machineOf(vendor);
		buildGuestCpuid(machine.vcpu);
		applyGuestCpu(machine.vcpu, parseGuestCpu(words));
		return [0x6a0, 0x6a2, ...saved.slice(1), 0x6a8].filter((index) => !exits(machine, index, true));
	};

	it("are the guest's own where XSAVES saves them, with IA32_S_CET; the SSP table exits", () => {
		expect(owned("max")).toEqual([0x6a0, 0x6a2, 0x6a4, 0x6a5, 0x6a6, 0x6a7]);
	});

	it("exit where the guest's CPUID has no CET", () => {
		expect(owned("max,-shstk,-ibt")).toEqual([]);
	});

	it("are IA32_U_CET and IA32_S_CET alone with indirect-branch tracking alone, which AMD's do not have", () => {
		expect(owned("max,-shstk")).toEqual(vendor === "vmx" ? [0x6a0, 0x6a2] : []);
	});
});

it("the SYSCALL MSRs are the guest's own on SVM, where VMLOAD switches them, and exit on VMX", () => {
	expect(both(machineOf("svm"), 0xc0000082)).toEqual([false, false]);
	expect(both(machineOf("vmx"), 0xc0000082)).toEqual([true, true]);
});

it("a VMX guest reads the TSC without an exit and cannot write it", () => {
	expect(both(machineOf("vmx"), 0x10)).toEqual([false, true]);
});
