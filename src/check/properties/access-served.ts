/**
 * A guest does not run while an access of its own waits for user space.
 *
 * An instruction whose access is user space's is completed by the next KVM_RUN. One that accesses a device twice, or across two
 * pages, goes to user space a second time from there: KVM_RUN has to return again. If the run loop goes on instead, the guest
 * runs behind an instruction that was done by half, and what the device should have got is lost.
 *
 * Not covered: what user space answers.
 */
import type { Property } from "./property.ts";

export const accessServed: Property = {
	name: "access-served",
	title: "the guest runs with no access of its own under way",
	degree: "violation",
	onGuestEntry({ machine: { vcpu } }) {
		if (vcpu.completeUserspaceIo === null) return null;
		return "the guest runs while complete_userspace_io is set: user space has not been asked, or not been heard";
	},
};
