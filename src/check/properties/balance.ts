/**
 * Interrupts and preemption are off where KVM enters a guest, and what KVM_RUN turned off is on again in user space.
 *
 * With interrupts on at the entry (under GIF on SVM) an interrupt could move the thread to another CPU, or use the FPU,
 * between the loading of the guest's registers and the guest. An enable too many or too few is asserted by the kernel at
 * once (host-invariant); this looks at the ends. A preempt notifier that outlives KVM_RUN has the scheduler put and load a
 * vCPU that does not run.
 *
 * Not covered: locks, and what other tasks of the host turn off.
 */
import { VCPU_MODE } from "../../kvm/requests.ts";
import { OP } from "../../silicon/ops.ts";
import { GUEST_ENTRIES, isGuestEntry } from "./guest-entry.ts";
import type { Property } from "./property.ts";

export const balance: Property = {
	name: "balance",
	title: "interrupts and preemption are off at VM entry and on again in user space",
	degree: "violation",
	ops: [...GUEST_ENTRIES, "user_transition"],
	onOp({ machine: { cpu, kernel, vcpu } }, op) {
		if (isGuestEntry(op)) {
			if (cpu.gif && cpu.interruptFlag) return "the guest is entered with interrupts on";
			if (op === OP.vmrun && !cpu.interruptFlag)
				return "VMRUN with IF 0: interrupts of the host do not make the guest exit";
			if (kernel.preemptCount === 0) return "the guest is entered with preemption on";
		} else if (op === OP.user_transition && kernel.current === kernel.vcpuTask) {
			if (kernel.preemptCount > 0) return `preempt_count is ${kernel.preemptCount} on the way to user space`;
			if (kernel.current.preemptNotifier !== null)
				return "the preempt notifier is registered on the way to user space: switches would put the vCPU";
			if (vcpu.mode !== VCPU_MODE.OUTSIDE_GUEST_MODE)
				return "vcpu->mode says that the guest runs on the way to user space";
		}
		return null;
	},
};
