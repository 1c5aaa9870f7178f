/** Work that must be done before a task enters a guest (kernel/entry/virt.c, kernel/entry/kvm.c before v6.18). */
import type { Vcpu } from "../vcpu.ts";
import { KVM_EXIT } from "../requests.ts";

/** __xfer_to_guest_mode_work_pending(): a signal, a reschedule, or task work waits. */
export function xferToGuestModeWorkPending(v: Vcpu): boolean {
	const task = v.kernel.current;
	return task.signalPending || task.needResched || task.taskWork.length > 0;
}

/**
 * kvm_xfer_to_guest_mode_handle_work(). May sleep.
 * @returns 0 to go on, -EINTR for a signal
 */
export function xferToGuestModeHandleWork(v: Vcpu): number {
	const { kernel } = v;
	while (xferToGuestModeWorkPending(v)) {
		if (kernel.current.signalPending) {
			v.run.exitReason = KVM_EXIT.INTR;
			return -4;
		}
		if (kernel.current.needResched) kernel.schedule();
		kernel.runTaskWork(kernel.current);
	}
	return 0;
}
