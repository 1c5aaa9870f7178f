/**
 * Every host interrupt that a VM exit acknowledged is serviced before interrupts are enabled.
 *
 * With "acknowledge interrupt on exit" the vector has left the local APIC's IRR when KVM sees the exit: if
 * KVM does not call its handler, nobody will, and without the handler's EOI the APIC holds back every vector
 * of the same or a lower priority class.
 *
 * Not covered: interrupts that are pending and not acknowledged; the processor keeps those.
 */
import type { Property } from "./property.ts";

export const interruptServiced: Property = {
	name: "interrupt-serviced",
	title: "an acknowledged host interrupt is serviced before interrupts are enabled",
	degree: "violation",
	ops: ["sti"],
	onOp({ machine: { apic, kernel } }) {
		if (kernel.handlerDepth > 0) return null;
		const vector = apic.highestInService();
		return vector < 0
			? null
			: `vector 0x${vector.toString(16)}, acknowledged at the exit, was never serviced`;
	},
};
