/** No interrupt is lost: when the guest has ended, all that were raised have run their handlers. */
import { HOST_VECTOR } from "../../host/kernel.ts";
import type { Property } from "./property.ts";

export const interruptDelivered: Property = {
	name: "interrupt-delivered",
	title: "an external interrupt reaches its handler once",
	degree: "violation",
	onEnd({ machine: { kernel }, schedule }) {
		for (const [event, vector] of [
			["irq", HOST_VECTOR.device],
			["irq-fpu", HOST_VECTOR.deviceFpu],
		] as const) {
			const raised = schedule.filter((injection) => injection.event === event).length;
			const handled = kernel.interruptCounts[vector]!;
			if (handled !== raised)
				return `vector 0x${vector.toString(16)} was raised ${raised} times and handled ${handled} times`;
		}
		return null;
	},
};
