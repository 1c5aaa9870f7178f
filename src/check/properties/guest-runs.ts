/**
 * A guest runs only if its vCPU is to run: not between INIT and SIPI, not while it is halted, not behind a triple fault, and not
 * once KVM has given the VM up.
 *
 * What another CPU or a device has for a vCPU wakes it from each of these, by a request; the run loop then decides what
 * becomes of it. A processor that goes on without having been started does what the last operating system left to it.
 *
 * Not covered: INIT and SIPI of a TD, which KVM blocks.
 */
import { KVM_EXIT, KVM_REQ, MP_STATE } from "../../kvm/requests.ts";
import { leavesAtOnce } from "./guest-entry.ts";
import type { Property } from "./property.ts";

const STATES = new Map<number, string>(Object.entries(MP_STATE).map(([name, value]) => [value, name]));

export const guestRuns: Property = {
	name: "guest-runs",
	title: "a guest runs only if its vCPU is to run",
	degree: "violation",
	onGuestEntry(context) {
		const { vcpu, vm } = context.machine;
		if (vm.dead && (vcpu.requests & KVM_REQ.VM_DEAD) === 0)
			return "the guest of a VM that KVM has given up runs on";
		const isUnserved = (vcpu.requests & KVM_REQ.EVENT) === 0 && !leavesAtOnce(context);
		if (!vcpu.guestStateProtected && vcpu.apic?.hasPendingInitOrSipi === true && isUnserved)
			return "the guest runs on, and INIT has come";
		if (vcpu.run.exitReason === KVM_EXIT.SHUTDOWN) return "the guest runs on behind a triple fault";
		if (vcpu.mpState === MP_STATE.RUNNABLE) return null;
		return `the guest runs while its vCPU is KVM_MP_STATE_${STATES.get(vcpu.mpState)}`;
	},
};
