/**
 * Every NMI reaches its handler. Two NMIs that come while one is blocked are one: the processor holds a single one.
 */
import { PENDING } from "../../silicon/cpu/cpu.ts";
import type { Property } from "./property.ts";

export const nmiDelivered: Property = {
	name: "nmi-delivered",
	title: "an NMI reaches the host's handler",
	degree: "violation",
	onEnd({ machine: { cpu, kernel }, schedule }) {
		const injected = schedule.filter(({ event }) => event === "nmi").length;
		if (injected > 0 && kernel.nmis === 0) return "the NMI never reached its handler";
		return (cpu.pending & PENDING.nmi) === 0 ? null : "an NMI is still pending when the guest has ended";
	},
};
