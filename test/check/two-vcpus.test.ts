/** Two vCPUs that interrupt each other: what is lost between a request and a VM entry when either side has its order wrong. */
import { describe, expect, it } from "vitest";
import { parseConfiguration } from "../../src/check/configuration.ts";
import { search } from "../../src/check/search/search.ts";
import type { EventKind } from "../../src/check/types.ts";
import { type Edit, applyPatches, move, remove } from "../../src/kvm/flow/patch.ts";
import { linkTree } from "../../src/kvm/flow/program.ts";
import { v618 } from "../../src/kvm/trees/base.ts";
import { defaultModel } from "../../src/review/review.ts";
import type { Vendor } from "../../src/silicon/models/model.ts";

const ENTER = "vcpu_enter_guest";

/** What a search of two vCPUs finds, each property with its least schedule's length. */
function found(
	vendor: Vendor,
	edits: readonly Edit[],
	eventsMax: number,
	kinds: readonly EventKind[] = ["vcpu"],
): string[] {
	const model = defaultModel(vendor);
	const tree = applyPatches(v618, [{ title: "test", source: "", edits }], "test", "");
	const setup = {
		program: linkTree(tree, vendor),
		model,
		configuration: parseConfiguration("vcpus=2", vendor, model),
	};
	return search({ setup, eventsMax, kinds, stopAtFirst: true }).found.map(
		({ failure, schedule }) => `${failure.property}, ${schedule.length} slices: ${failure.detail}`,
	);
}

describe("two vCPUs that send each other interrupts", () => {
	it.each(["vmx", "svm"] as const)("%s: nothing is lost in v6.18, whoever runs when", (vendor) => {
		expect(found(vendor, [], 2)).toEqual([]);
	});

	it("lose a request that comes before the mode says that the guest runs, if the mode is set behind the last look", () => {
		const edits = [
			move("mode = IN_GUEST_MODE", ENTER, ENTER, { after: "kvm_vcpu_exit_request (before entry)" }),
		];
		expect(found("vmx", edits, 3)).toContainEqual(
			expect.stringMatching(/^requests-seen, 3 slices: the guest runs while KVM_REQ_EVENT is pending/),
		);
	});

	it("lose a request that is made behind the kick", () => {
		const edits = [
			move("kvm_make_request", "kvm_request_and_kick", "kvm_request_and_kick", { after: "kvm_vcpu_kick" }),
		];
		expect(found("vmx", edits, 2)).toContainEqual(
			expect.stringMatching(
				/^requests-seen, 2 slices: vCPU 1: the guest runs while KVM_REQ_EVENT is pending/,
			),
		);
	});

	it("run on when nobody kicks them", () => {
		const edits = [remove("kvm_vcpu_kick", "kvm_request_and_kick")];
		expect(found("svm", edits, 0)).toContainEqual(
			expect.stringMatching(
				/^requests-seen, 0 slices: vCPU 1: the guest runs while KVM_REQ_EVENT is pending/,
			),
		);
	});
});
