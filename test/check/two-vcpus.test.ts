/** Two vCPUs that interrupt each other: what is lost between a request and a VM entry when either side has its order wrong. */
import { describe, expect, it } from "vitest";
import { move, remove } from "../../src/kvm/flow/patch.ts";
import { found } from "./support/found.ts";

const ENTER = "vcpu_enter_guest";
/** Two vCPUs, of which the second runs in slices. */
const SLICES = { configuration: "vcpus=2", kinds: ["vcpu"], stopAtFirst: true } as const;

describe("two vCPUs that send each other interrupts", () => {
	it.each(["vmx", "svm"] as const)("%s: nothing is lost in v6.18, whoever runs when", (vendor) => {
		expect(found({ vendor, eventsMax: 2, ...SLICES })).toEqual([]);
	});

	it("lose a request that comes before the mode says that the guest runs, if the mode is set behind the last look", () => {
		const edits = [
			move("mode = IN_GUEST_MODE", ENTER, ENTER, { after: "kvm_vcpu_exit_request (before entry)" }),
		];
		expect(found({ vendor: "vmx", edits, eventsMax: 3, ...SLICES })).toContainEqual(
			expect.stringMatching(/^requests-seen, 3 events: the guest runs while KVM_REQ_EVENT is pending/),
		);
	});

	it("lose a request that is made behind the kick", () => {
		const edits = [
			move("kvm_make_request", "kvm_request_and_kick", "kvm_request_and_kick", { after: "kvm_vcpu_kick" }),
		];
		expect(found({ vendor: "vmx", edits, eventsMax: 2, ...SLICES })).toContainEqual(
			expect.stringMatching(
				/^requests-seen, 2 events: vCPU 1: the guest runs while KVM_REQ_EVENT is pending/,
			),
		);
	});

	it("run although INIT has stopped one, if the way into the guest does not look for it", () => {
		const edits = [remove("KVM_MP_STATE_INIT_RECEIVED", ENTER)];
		const options = { configuration: "vcpus=2", kinds: ["init"], stopAtFirst: true } as const;
		expect(found({ vendor: "svm", edits, eventsMax: 1, ...options })).toContainEqual(
			expect.stringMatching(
				/^guest-runs, 1 event.*: vCPU 1: the guest runs while its vCPU is KVM_MP_STATE_INIT_RECEIVED/,
			),
		);
	});

	it("run on when nobody kicks them", () => {
		const edits = [remove("kvm_vcpu_kick", "kvm_request_and_kick")];
		expect(found({ vendor: "svm", edits, eventsMax: 0, ...SLICES })).toContainEqual(
			expect.stringMatching(
				/^requests-seen, 0 events: vCPU 1: the guest runs while KVM_REQ_EVENT is pending/,
			),
		);
	});
});
