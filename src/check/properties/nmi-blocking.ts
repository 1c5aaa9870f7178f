/**
 * The handler of an NMI runs with NMIs blocked.
 *
 * A VM exit for an NMI leaves NMIs blocked, as delivery through the IDT does, and any IRET ends it. So between the exit
 * and the handler no code may run that a tracer can put a breakpoint into: its IRET lets the next NMI in before this one
 * was handled, on a stack that is not made for it (commit 11df586d774f).
 *
 * Not covered: FRED, where an IRET does not unblock NMIs.
 */
import { symbol } from "../../silicon/cpu/symbols.ts";
import type { Property } from "./property.ts";

const NMI = symbol("exc_nmi");

export const nmiBlocking: Property = {
	name: "nmi-blocking",
	title: "an NMI is handled with further NMIs blocked",
	degree: "violation",
	onEnter({ machine: { cpu } }, entered) {
		if (entered !== NMI || cpu.nmiBlocked) return null;
		return "the handler of an NMI that a VM exit reported runs with NMIs unblocked";
	},
};
