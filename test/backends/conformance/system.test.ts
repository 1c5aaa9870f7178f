import { expect } from "vitest";
import { KvmError } from "../../../src/uapi/api.ts";
import { ASM, onEachMachine, realModeGuest } from "./driver.ts";

onEachMachine("the system", (bench) => {
	bench.states("has version 12 of the API", () => {
		expect(bench.kvm.apiVersion()).toBe(12);
	});

	bench.states("says what it can, on the system and on a VM alike", () => {
		const vm = bench.kvm.createVm();
		for (const cap of ["USER_MEMORY", "IRQCHIP", "XSAVE", "XCRS", "VCPU_EVENTS", "IMMEDIATE_EXIT"] as const) {
			expect(bench.kvm.checkExtension(cap), cap).toBe(1);
			expect(vm.checkExtension(cap), cap).toBe(1);
		}
		expect(bench.kvm.checkExtension("NR_MEMSLOTS")).toBeGreaterThan(32);
		expect(bench.kvm.checkExtension("XSAVE2")).toBeGreaterThanOrEqual(4096);
	});

	bench.states("offers its CPUID with each leaf once, and with KVM's signature", () => {
		const entries = bench.kvm.supportedCpuid();
		const keys = entries.map(({ function: leaf, index }) => `${leaf}.${index}`);
		expect(new Set(keys).size).toBe(keys.length);
		const kvm = entries.find((entry) => entry.function === 0x4000_0000)!;
		const text = [kvm.ebx, kvm.ecx, kvm.edx].map((word) =>
			String.fromCharCode(...[0, 8, 16, 24].map((shift) => (word >>> shift) & 0xff)),
		);
		expect(text.join("")).toBe("KVMKVMKVM\0\0\0");
	});

	bench.states("lists MSRs, each of which a vCPU has", () => {
		const list = bench.kvm.msrIndexList();
		expect(list).toContain(0x10);
		const { vcpu } = realModeGuest(bench.kvm, ASM.hlt);
		const read = vcpu.getMsrs(list);
		expect(read.map(({ index }) => index)).toEqual(list);
		expect(bench.kvm.msrFeatureIndexList()).toContain(0x8b);
	});

	bench.states("gives a VM a vCPU of each id once", () => {
		const vm = bench.kvm.createVm();
		expect(vm.createVcpu(0).id).toBe(0);
		expect(() => vm.createVcpu(0)).toThrow(/KVM_CREATE_VCPU: EEXIST/);
		expect(() => vm.createVcpu(100_000)).toThrow(/KVM_CREATE_VCPU: EINVAL/);
	});

	bench.states("closes what was made by it", () => {
		const { vcpu } = realModeGuest(bench.kvm, ASM.hlt);
		bench.kvm.close();
		expect(() => vcpu.getRegs()).toThrow(KvmError);
	});
});
