/**
 * At every VM entry of SVM the task priority in the VMCB is the guest's.
 *
 * Under V_INTR_MASKING a guest moves to CR8 without an exit, and V_TPR has what it wrote. KVM's local APIC has it only once the
 * run loop has copied it there, and decides by it which interrupts may be delivered; what the guest writes through the APIC's
 * registers has to get into V_TPR the same way. Where one of the copies is missing the older value comes back.
 *
 * Not covered: VMX, where MOV to CR8 exits or the register page is the processor's own; TDs.
 */
import type { Property } from "./property.ts";

/** The property's words: whether the priority is known, and what it is. */
const KNOWN = 0;
const PRIORITY = 1;

export const guestTaskPriority: Property = {
	name: "guest-task-priority",
	title: "at VM entry V_TPR is the guest's task priority",
	degree: "violation",
	words: 2,
	onGuestWrite(_context, register, value, memory) {
		if (register !== "CR8") return;
		memory[KNOWN] = 1;
		memory[PRIORITY] = Number(value);
	},
	onGuestExit({ machine: { vcpu } }, memory) {
		if (vcpu.svm === null) return;
		memory[KNOWN] = 1;
		memory[PRIORITY] = vcpu.svm.vmcb.vTpr;
	},
	onGuestEntry({ machine: { vcpu } }, memory) {
		if (vcpu.svm === null || memory[KNOWN] === 0) return null;
		const { vTpr } = vcpu.svm.vmcb;
		if (vTpr === memory[PRIORITY]) return null;
		return `the guest enters with CR8 ${vTpr}, its own is ${memory[PRIORITY]}`;
	},
};
