/** What a guest's CPUID takes away is gone: as far as the hardware can take it away. */
import { describe, expect, test } from "vitest";
import { applyGuestCpu, parseGuestCpu } from "../../../src/kvm/api/guest-cpu.ts";
import { createMachine } from "../../../src/kvm/api/kvm.ts";
import { hostRamBytesFor } from "../../../src/kvm/api/vmm.ts";
import { buildGuestCpuid, guestCpuCapHas, kvmFindCpuidEntry } from "../../../src/kvm/emulate/cpuid.ts";
import { kvmSetCr4, kvmSetXcr } from "../../../src/kvm/emulate/control.ts";
import { findTree } from "../../../src/kvm/trees/trees.ts";
import type { Vcpu } from "../../../src/kvm/vcpu.ts";
import { CR4 } from "../../../src/silicon/cpu/control.ts";
import { CPUID_FEATURES, featureBit } from "../../../src/silicon/cpu/cpuid-features.ts";
import { standardSize } from "../../../src/silicon/cpu/state-components.ts";
import { findModel } from "../../../src/silicon/models/models.ts";
import { EXIT_CODE } from "../../../src/silicon/svm/exit-codes.ts";
import { SECONDARY } from "../../../src/silicon/vmx/controls.ts";

/** A vCPU with the CPUID of QEMU's words; without words all that the host has. */
function vcpuOf(vendor: "vmx" | "svm", words?: string): Vcpu {
	const { vcpu } = createMachine({
		model: findModel(vendor === "vmx" ? "emerald-rapids" : "turin")!,
		vendor,
		tree: findTree("v6.18"),
		ramBytes: hostRamBytesFor(2 << 20),
	});
	buildGuestCpuid(vcpu);
	if (words !== undefined) applyGuestCpu(vcpu, parseGuestCpu(words));
	return vcpu;
}

const VENDORS = ["vmx", "svm"] as const;

describe.each(VENDORS)("on %s", (vendor) => {
	test("a guest is offered what the processor has but MONITOR, virtualization and RDPRU", () => {
		const vcpu = vcpuOf(vendor);
		const missing = CPUID_FEATURES.filter(
			(feature) => feature.offered(vcpu.cpu.model) && !guestCpuCapHas(vcpu, feature),
		);
		const own = vendor === "vmx" ? ["vmx"] : ["svm", "rdpru"];
		expect(missing.map(({ name }) => name).sort()).toEqual(["monitor", ...own].sort());
	});

	test("leaf 0DH has the components and the size of what is left", () => {
		const leaf = (words?: string) => kvmFindCpuidEntry(vcpuOf(vendor, words), 0xd, 0)!;
		const { model } = vcpuOf(vendor).cpu;
		for (const words of ["max", "max,-pku", "max,-avx", "IvyBridge"]) {
			const { eax, ecx } = leaf(words);
			expect(ecx).toBe(standardSize(model, eax));
		}
		expect(leaf("max,-avx").eax & 0xe4).toBe(0);
		expect(leaf("max,-pku").eax & 0x200).toBe(0);
		expect(leaf("IvyBridge").eax & 0x2ff).toBe(7);
		expect(leaf("qemu64").eax).toBe(0);
	});

	test("XCR0 and CR4 refuse what CPUID hides", () => {
		const vcpu = vcpuOf(vendor, "max,-avx,-fsgsbase,-smep");
		expect(kvmSetXcr(vcpu, 0, 3)).toBe(true);
		expect(kvmSetXcr(vcpu, 0, 7)).toBe(false);
		expect(kvmSetCr4(vcpu, BigInt(CR4.PAE | CR4.FSGSBASE))).toBe(false);
		expect(kvmSetCr4(vcpu, BigInt(CR4.PAE | CR4.SMEP))).toBe(false);
		expect(kvmSetCr4(vcpu, BigInt(CR4.PAE | CR4.OSXSAVE))).toBe(true);
	});
});

describe("instructions that CPUID hides", () => {
	test.each([
		["-rdtscp,-rdpid", SECONDARY.rdtscp],
		["-rdtscp", 0],
		["-invpcid", SECONDARY.invpcid],
		["-xsaves", SECONDARY.xsaves],
		["-xsave", SECONDARY.xsaves],
	])("on VMX %s clears the control that enables them", (words, cleared) => {
		const controls = (text: string) => Number(vcpuOf("vmx", text).vmx!.vmcs.get("SECONDARY_VM_EXEC_CONTROL"));
		expect(controls("max") & ~controls(`max,${words}`)).toBe(cleared);
	});

	test("on SVM RDTSCP and INVPCID are intercepted, to be #UD; XSAVES cannot be", () => {
		const has = vcpuOf("svm");
		const lacks = vcpuOf("svm", "max,-rdtscp,-invpcid,-xsaves");
		for (const code of [EXIT_CODE.rdtscp, EXIT_CODE.invpcid]) {
			expect([has, lacks].map(({ svm }) => svm!.vmcb.intercepted(code))).toEqual([false, true]);
		}
		expect(lacks.guestCanUseXsaves).toBe(true);
		expect(guestCpuCapHas(lacks, featureBit("xsaves"))).toBe(false);
		expect(vcpuOf("svm", "max,-xsave").guestCanUseXsaves).toBe(false);
	});
});
