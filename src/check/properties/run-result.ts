/**
 * KVM_RUN tells user space what it came back for: it returns 0 with an exit reason, or -EINTR for a signal.
 *
 * A VMM acts on nothing else. Without a reason it has nothing to do and calls KVM_RUN again at best; a reason of the exit
 * before is acted on twice.
 *
 * Not covered: what is in kvm_run besides the reason.
 */
import { KVM_EXIT } from "../../kvm/requests.ts";
import type { Property } from "./property.ts";

const EINTR = -4;

export const runResult: Property = {
	name: "run-result",
	title: "KVM_RUN returns 0 with an exit reason, or -EINTR",
	degree: "violation",
	ops: ["user_transition"],
	onOp({ machine: { kernel, vcpu }, kvmRunResult }) {
		if (kernel.current !== kernel.vcpuTask || kvmRunResult === null) return null;
		const { exitReason } = vcpu.run;
		if (kvmRunResult === EINTR)
			return exitReason === KVM_EXIT.INTR
				? null
				: "KVM_RUN returns -EINTR, and its exit reason is not KVM_EXIT_INTR";
		if (
			kvmRunResult < 0 ||
			(kvmRunResult === 0 && exitReason !== KVM_EXIT.UNKNOWN && exitReason !== KVM_EXIT.INTR)
		)
			return null;
		return `KVM_RUN returns ${kvmRunResult} with exit reason ${exitReason}: user space does not learn what it came back for`;
	},
};
