/**
 * The handler of an NMI that a VM exit reported is called where nothing may be instrumented.
 *
 * The exit leaves NMIs blocked until any IRET. guest_state_exit_irqoff() ends with lockdep's tracing: whoever puts a probe there
 * has NMIs unblocked by the IRET of its handler, before the one that was reported is handled (nmi-blocking shows what comes of
 * it where a tracer's breakpoint can be placed). objtool keeps the rule by the section .noinstr.text; here it is kept by what
 * context tracking says: behind guest_state_exit_irqoff() it no longer takes the CPU for the guest's.
 *
 * Not covered: NMIs that the hardware delivers, SVM's among them.
 */
import { symbol } from "../../silicon/cpu/symbols.ts";
import type { Property } from "./property.ts";

const NMI = symbol("exc_nmi");
/** The stub by which KVM calls it. */
const CALLER = symbol("vmx_do_nmi_irqoff");

export const nmiNoinstr: Property = {
	name: "nmi-noinstr",
	title: "no code that can be traced runs between a VM exit for an NMI and the NMI's handler",
	degree: "violation",
	onEnter({ machine: { cpu, kernel } }, entered) {
		if (entered !== NMI || cpu.stack[cpu.stackDepth - 2] !== CALLER) return null;
		return kernel.guestContext.inGuest
			? null
			: "the handler of an NMI that a VM exit reported is called behind guest_state_exit_irqoff(), which is traced";
	},
};
