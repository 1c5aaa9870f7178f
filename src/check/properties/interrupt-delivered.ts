/**
 * No interrupt is lost: when the guest has ended, all that were raised have run their handlers.
 *
 * A device that is not answered waits: a disk's queue stands still, a timer's tick is missing. Whoever acknowledged the interrupt
 * and did not call its handler is told by interrupt-serviced; this finds those that nobody acknowledged.
 *
 * Not covered: how late a handler runs; interrupts of other kinds than the two of devices.
 */
import type { Property } from "./property.ts";

export const interruptDelivered: Property = {
	name: "interrupt-delivered",
	title: "an external interrupt reaches its handler once",
	degree: "violation",
	onEnd(context) {
		for (const event of ["irq", "irq-fpu"] as const) {
			const owed = context.owed(event);
			if (owed > 0) return `${owed} of kind ${event} never reached their handler`;
			if (owed < 0) return `the handler of kind ${event} ran ${-owed} times too often`;
		}
		return null;
	},
};
