/**
 * The guest's time is the guest's: guest_timing_enter_irqoff() before it runs, guest_timing_exit_irqoff() behind the
 * interrupts that came while it ran, once each.
 *
 * With tick-based accounting a tick is charged to the guest if PF_VCPU is set when its handler runs. Interrupts are off
 * around the guest, so that the handler of a tick that came in the guest runs a good deal later. A mark that is gone by
 * then charges the host, and a guest that computes shows no time at all (commit 160457140187).
 *
 * Not covered: accounting by the time stamp counter (CONFIG_VIRT_CPU_ACCOUNTING_GEN), which needs no ticks.
 */
import { symbol } from "../../silicon/cpu/symbols.ts";
import { OP } from "../../silicon/ops.ts";
import { GUEST_ENTRIES, isGuestEntry } from "./guest-entry.ts";
import type { Property } from "./property.ts";

const TIMER = symbol("sysvec_apic_timer_interrupt");

/** The property's word: a tick has come in the guest and its handler has not run. */
const TICK_IN_GUEST = 0;

export const guestTime: Property = {
	name: "guest-time",
	title: "guest time is entered and left once, and a tick that comes in the guest is charged to it",
	degree: "violation",
	words: 1,
	ops: ["guest_timing_enter", "guest_timing_exit", ...GUEST_ENTRIES, "user_transition"],
	onOp({ machine: { cpu, kernel } }, op) {
		const { pfVcpu } = kernel.guestContext;
		const changes = op === OP.guest_timing_enter || op === OP.guest_timing_exit;
		if (changes && cpu.interruptFlag && cpu.gif)
			return "guest time is entered or left with interrupts on: ticks between it and the guest are charged wrong";
		if (op === OP.guest_timing_enter && pfVcpu) return "guest time is entered twice";
		if (op === OP.guest_timing_exit && !pfVcpu) return "guest time is left and was not entered";
		if (isGuestEntry(op) && !pfVcpu) return "the guest runs outside of guest time";
		// The mark is the task's: one that was switched out keeps it.
		const leaves = op === OP.user_transition && kernel.current === kernel.vcpuTask;
		if (leaves && pfVcpu) return "guest time goes on in user space";
		return null;
	},
	onEvent({ machine: { cpu } }, event, memory) {
		if (event === "tick" && cpu.guest !== null) memory[TICK_IN_GUEST] = 1;
	},
	onEnter({ machine: { kernel } }, entered, memory) {
		if (entered !== TIMER || memory[TICK_IN_GUEST] === 0) return null;
		memory[TICK_IN_GUEST] = 0;
		return kernel.guestContext.pfVcpu ? null : "a tick that came while the guest ran is charged to the host";
	},
};
