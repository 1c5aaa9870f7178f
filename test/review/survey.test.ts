import { describe, expect, it } from "vitest";
import { treePath } from "../../src/kvm/flow/path.ts";
import { findTree } from "../../src/kvm/trees/trees.ts";
import { surveyTree } from "../../src/review/survey.ts";
import { defaultModel } from "../../src/silicon/models/models.ts";
import type { Vendor } from "../../src/silicon/models/model.ts";

function survey(spec: string, vendor: Vendor) {
	const tree = findTree(spec);
	const seen = surveyTree(tree, vendor, defaultModel(vendor));
	const rows = treePath(tree, vendor);
	const lane = (name: string) => seen.lanes.findIndex((one) => one.name === name);
	return {
		seen,
		/** What a lane holds behind the step of this name in this flow. */
		behind: (flow: string, name: string, of: string) => {
			const row = rows.find((one) => one.flow === flow && one.reference === name)!;
			return seen.steps[row.place]!.lanes[lane(of)];
		},
		guest: (of: string) => seen.guest[lane(of)],
		cycles: (flow: string, name: string) =>
			seen.steps[rows.find((one) => one.flow === flow && one.reference === name)!.place]!.cycles,
	};
}

describe("a survey of a tree", () => {
	it("of v6.18 on VMX: the guest's XCR0 is loaded by its XSETBV and not yet before", () => {
		const { behind, guest } = survey("v6.18", "vmx");
		expect(behind("vmx_vcpu_run", "refresh HOST_CR4", "XCR0")).toBe("host");
		expect(behind("kvm_load_guest_xsave_state", "XSETBV(guest XCR0)", "XCR0")).toBe("guest");
		expect(guest("XCR0")).toBe("guest");
		expect(guest("PKRU")).toBe("guest");
		expect(behind("vmx_vcpu_run", "trace_kvm_exit", "XCR0")).toBe("host");
	});

	it("of series-v2: the fastpath loop runs with the guest's XCR0, and the host's is back before interrupts are on", () => {
		const { behind } = survey("series-v2", "vmx");
		expect(behind("vmx_vcpu_run", "trace_kvm_exit", "XCR0")).toBe("guest");
		expect(behind("vcpu_enter_guest", "run_flags = 0", "XCR0")).toBe("guest");
		expect(behind("vcpu_enter_guest", "local_irq_enable", "XCR0")).toBe("host");
		expect(behind("vcpu_enter_guest", "local_irq_enable", "IF")).toBe("on");
	});

	it("of SVM: GIF is off from CLGI to STGI", () => {
		const { behind, guest } = survey("v6.18", "svm");
		expect(behind("svm_vcpu_run", "clgi", "GIF")).toBe("off");
		expect(behind("svm_vcpu_run", "stgi", "GIF")).toBe("on");
		expect(guest("preempt")).toBe("off");
	});

	it("charges a step what its ops cost on the model", () => {
		const { cycles } = survey("v6.18", "vmx");
		const { costs } = defaultModel("vmx");
		const plain = 3 * costs.code.cycles;
		expect(cycles("kvm_load_guest_xsave_state", "XSETBV(guest XCR0)")).toBeCloseTo(
			costs.xsetbv.cycles + plain,
			6,
		);
	});
});
