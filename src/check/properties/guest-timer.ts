/**
 * A guest's timer that the VMX preemption timer stands for makes the guest exit at its deadline, and one that has expired is an
 * interrupt of the local APIC's before the guest runs on.
 *
 * KVM writes what is left until the deadline into the VMCS before each entry: the processor counts down from there. A value
 * that is left from an entry before, or none, lets the guest run past its deadline. Expiry is noted, from an interrupt's handler or the
 * fastpath, and a request made; vcpu_run() puts it into IRR (kvm_inject_pending_timer_irqs()).
 *
 * Not covered: hrtimers, which the host's timer interrupt ends; deadlines that the guest has not reached when it ends.
 */
import { PIN, PREEMPTION_TIMER_RATE } from "../../silicon/vmx/controls.ts";
import { O } from "../../silicon/vmx/fields.ts";
import { leavesAtOnce } from "./guest-entry.ts";
import type { Property } from "./property.ts";

export const guestTimer: Property = {
	name: "guest-timer",
	title: "the guest exits at the deadline of its timer, and gets its interrupt",
	degree: "violation",
	onGuestEntry(context) {
		const { cpu, vcpu } = context.machine;
		const { vmx, apic } = vcpu;
		if (apic?.timerPending === true && vcpu.requests === 0 && !leavesAtOnce(context))
			return "the guest's timer has expired, and the local APIC has not been told";
		if (vmx === null || vmx.hvDeadlineTsc < 0) return null;
		const { u32 } = vmx.vmcs;
		const left = Math.max(vmx.hvDeadlineTsc - (cpu.cycles + vcpu.tscOffset), 0);
		const counts = (u32[O.PIN_BASED_VM_EXEC_CONTROL >> 2]! & PIN.preemptionTimer) !== 0;
		const units = u32[O.VMX_PREEMPTION_TIMER_VALUE >> 2]!;
		if (counts && units * 2 ** PREEMPTION_TIMER_RATE <= left) return null;
		return `the guest's timer expires in ${left} cycles, and the preemption timer ${counts ? `in ${units * 2 ** PREEMPTION_TIMER_RATE}` : "is off"}`;
	},
};
