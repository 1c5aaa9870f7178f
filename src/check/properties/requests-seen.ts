/**
 * No request is missed at a VM entry: the guest runs with none pending, unless an interrupt is on its way that ends the
 * run at once.
 *
 * Whoever makes a request of a vCPU sends an IPI only if the vCPU's mode says that it is in the guest. So the vCPU first
 * says so and then looks for requests, with interrupts off; on a fastpath re-entry too. A request that falls between is
 * not served until the guest happens to exit.
 *
 * Not covered: signals and rescheduling, whose sender always interrupts the CPU.
 */
import { KVM_REQ } from "../../kvm/requests.ts";
import { leavesAtOnce } from "./guest-entry.ts";
import type { Property } from "./property.ts";

const NAMES = Object.entries(KVM_REQ);

export const requestsSeen: Property = {
	name: "requests-seen",
	title: "no request that is pending at VM entry is missed",
	degree: "violation",
	onGuestEntry(context) {
		const { vcpu } = context.machine;
		if (vcpu.requests === 0 || leavesAtOnce(context)) return null;
		const names = NAMES.filter(([, bit]) => (vcpu.requests & bit) !== 0).map(([name]) => `KVM_REQ_${name}`);
		return `the guest runs while ${names.join(", ")} is pending, and nothing will make it exit`;
	},
};
