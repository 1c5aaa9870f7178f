/**
 * Every NMI reaches its handler, and one that ended the guest's run does before anything else goes on: before interrupts are
 * enabled, another task runs, or the guest does again. Until then the processor blocks all others.
 *
 * Two NMIs that come while one is blocked are one: the processor holds a single one.
 *
 * Not covered: what the handler finds of the registers (perf-callchain, nmi-blocking and the host's own look at that).
 */
import { PENDING } from "../../silicon/cpu/cpu.ts";
import { OP } from "../../silicon/ops.ts";
import { GUEST_ENTRIES } from "./guest-entry.ts";
import type { Property } from "./property.ts";

export const nmiDelivered: Property = {
	name: "nmi-delivered",
	title: "an NMI reaches the host's handler",
	degree: "violation",
	ops: ["sti", "switch_to", "user_transition", ...GUEST_ENTRIES],
	onOp(context, op) {
		const { cpu, kernel } = context.machine;
		if (op === OP.sti && !cpu.gif) return null;
		if (kernel.handlerDepth > 0 || (cpu.pending & PENDING.nmi) !== 0) return null;
		if (context.owed("nmi") + context.owed("perf-nmi") <= 0) return null;
		return "an NMI that ended the guest's run has not been handed to the host's handler";
	},
	onEnd(context) {
		if (context.owed("nmi") > 0) return "an NMI never reached its handler";
		return (context.machine.cpu.pending & PENDING.nmi) === 0
			? null
			: "an NMI is still pending when the guest has ended";
	},
};
