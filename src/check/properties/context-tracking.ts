/**
 * Context tracking says "guest" exactly while a guest runs: guest_state_enter_irqoff() and guest_state_exit_irqoff() are
 * done once an entry, next to it, and nothing that needs RCU or may be instrumented is between them.
 *
 * In the guest RCU does not watch the CPU. A CPU that is left in that state frees what it still reads; one that enters
 * the guest without it holds up every grace period for as long as the guest runs. An interrupt or NMI handler in between
 * enters RCU itself; what KVM calls there does not.
 *
 * Not covered: tracepoints and other code without ops.
 */
import { OP } from "../../silicon/ops.ts";
import { isGuestEntry } from "./guest-entry.ts";
import type { Property } from "./property.ts";

/** Ops that use RCU, or whose code is instrumented. */
const NEED_RCU: ReadonlySet<number> = new Set([
	OP.srcu_read_lock,
	OP.srcu_read_unlock,
	OP.srcu_dereference,
	OP.preempt_enable,
	OP.switch_to,
	OP.task_work_add,
	OP.task_work_run,
	OP.hrtimer_start,
	OP.guest_timing_enter,
	OP.guest_timing_exit,
	OP.user_transition,
]);

export const contextTracking: Property = {
	name: "context-tracking",
	title: "context tracking is in the guest state while a guest runs, and never while the kernel needs RCU",
	degree: "violation",
	onOp({ machine: { cpu, kernel } }, op) {
		const { inGuest } = kernel.guestContext;
		const changes = op === OP.context_tracking_enter || op === OP.context_tracking_exit;
		if (changes && cpu.interruptFlag && cpu.gif) return "context tracking changes with interrupts on";
		if (op === OP.context_tracking_enter && inGuest) return "guest_state_enter_irqoff() runs twice";
		if (op === OP.context_tracking_exit && !inGuest)
			return "guest_state_exit_irqoff() runs without guest_state_enter_irqoff()";
		if (isGuestEntry(op) && !inGuest) return "the guest is entered while RCU watches this CPU";
		if (inGuest && kernel.handlerDepth === 0 && NEED_RCU.has(op))
			return "RCU is used while it does not watch this CPU";
		return null;
	},
};
