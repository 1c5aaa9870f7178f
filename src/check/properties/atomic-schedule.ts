/**
 * schedule() is called with preemption and interrupts enabled.
 *
 * With preemption off the kernel says "BUG: scheduling while atomic", is tainted, and panics where panic_on_warn is set; and it
 * takes the count for that of a caller who was right: schedule_debug() stores PREEMPT_DISABLED, so that whoever had disabled
 * preemption goes on without, and its preempt_enable() makes the count negative (kernel/sched/core.c, v6.18: schedule_debug(),
 * __schedule_bug()). With interrupts off the scheduler enables them: finish_lock_switch() ends with raw_spin_rq_unlock_irq(). What
 * the run loop does next to the guest relies on both. So it is a violation.
 *
 * Not covered here: the #MC handler of before 2020, which sleeps on its own account (machine-check-sleeps.ts); vcpu_block(), whose
 * sleep is asserted by the engine (`Kernel.idle`); functions that might sleep and do not (might_sleep()); atomic context
 * by locks, which the model has none of.
 */
import type { Kernel } from "../../host/kernel.ts";
import type { Cpu } from "../../silicon/cpu/cpu.ts";
import { symbol } from "../../silicon/cpu/symbols.ts";
import type { Property } from "./property.ts";

const SCHEDULE = symbol("schedule");
const DO_MACHINE_CHECK = symbol("do_machine_check");

/** Whether a function that is entered is schedule() in a context that may not sleep. @param entered its symbol */
export function isAtomicSchedule(kernel: Kernel, entered: number): boolean {
	return entered === SCHEDULE && kernel.atomic;
}

/** Whether do_machine_check() is on the call stack. */
export function isMachineChecks(cpu: Cpu): boolean {
	for (let depth = 0; depth < cpu.stackDepth; depth++) if (cpu.stack[depth] === DO_MACHINE_CHECK) return true;
	return false;
}

export const atomicSchedule: Property = {
	name: "atomic-schedule",
	title: "schedule() is called with preemption and interrupts enabled",
	degree: "violation",
	onEnter({ machine: { kernel } }, entered) {
		if (!isAtomicSchedule(kernel, entered) || isMachineChecks(kernel.cpu)) return null;
		const interrupts = kernel.cpu.interruptFlag ? "on" : "off";
		return `scheduling while atomic: preempt_count ${kernel.preemptCount}, interrupts ${interrupts}`;
	},
};
