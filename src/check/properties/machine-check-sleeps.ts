/**
 * The #MC handler does not sleep with preemption off.
 *
 * The one of before commit 5567d11c21a1 (2020; `--mce-handler schedule`) does, under every tree: for an #MC in what it takes for user
 * space do_machine_check() balances what ist_enter() disabled (ist_begin_non_atomic()), enables interrupts, and waits in
 * memory_failure() for the page's lock (arch/x86/kernel/cpu/mce/core.c, v5.6). KVM calls it with frames that say user space
 * (kvm_machine_check()) and preemption off, by a count of its own that the handler does not know of. Kernels of that time without
 * CONFIG_PREEMPT_COUNT, as distributions built them, kept no count and went on, until something else broke, as XCR0 did in
 * 1811d979c716. No order of steps in KVM avoids that sleep: this is a finding, and what breaks by it is found by the other properties.
 *
 * Not covered: any other schedule(), which is a violation (atomic-schedule.ts).
 */
import { isAtomicSchedule, isMachineChecks } from "./atomic-schedule.ts";
import type { Property } from "./property.ts";

export const machineCheckSleeps: Property = {
	name: "machine-check-sleeps",
	title: "the #MC handler does not sleep with preemption off",
	degree: "finding",
	onEnter({ machine: { kernel } }, entered) {
		if (!isAtomicSchedule(kernel, entered) || !isMachineChecks(kernel.cpu)) return null;
		return `memory_failure() sleeps: scheduling while atomic, preempt_count ${kernel.preemptCount}`;
	},
};
