/** An NMI's handler behind code that may be instrumented (commit 11df586d774f, 2022). */
import { move } from "../../flow/patch.ts";
import { v618 } from "../base.ts";
import type { HistoryCase } from "./case.ts";
import { patched } from "./patched.ts";

export const nmiOrder: HistoryCase = {
	name: "nmi-order",
	title: "A breakpoint between a VM exit for an NMI and the NMI's handler lets the next NMI in",
	fix: { commits: ["11df586d774f"], date: "2022-12", author: "Sean Christopherson" },
	vendors: ["vmx"],
	state: "NMIs",
	story:
		"A VM exit for an NMI leaves NMIs blocked until an IRET, as delivery by the IDT does. KVM called the handler a good " +
		"deal later, where it also calls those of interrupts. If a tracer's breakpoint was hit on the way, the IRET of its " +
		"handler ended the blocking, and the next NMI came while the first was not handled: NMIs nested, on a stack that is " +
		"made for one. The fix calls the handler next to the exit, where nothing may be instrumented.",
	differs: "The handler is called first in vmx_handle_exit_irqoff(); then that was a case of its own there.",
	before: patched(v618, "nmi-order-before", "NMI exits are handled in vmx_handle_exit_irqoff()", "v6.1", [
		move("is_nmi", "vmx_vcpu_enter_exit", "vmx_handle_exit_irqoff", { at: "start" }),
	]),
	after: { ...v618, name: "nmi-order-after" },
	shows: {
		events: ["nmi", "breakpoint"],
		configuration: {},
		property: "nmi-blocking",
		tells: [/runs with NMIs unblocked/, /vmx_handle_nmi/],
	},
};
