/**
 * Every NMI reaches its handler. Two NMIs that come while one is blocked are one: the processor holds a single one.
 */
import { PENDING } from "../../silicon/cpu/cpu.ts";
import type { Property } from "./property.ts";

export const nmiDelivered: Property = {
	name: "nmi-delivered",
	title: "an NMI reaches the host's handler",
	degree: "violation",
	onEnd(context) {
		if (context.owed("nmi") > 0) return "an NMI never reached its handler";
		return (context.machine.cpu.pending & PENDING.nmi) === 0
			? null
			: "an NMI is still pending when the guest has ended";
	},
};
