/**
 * IA32_DEBUGCTL is as perf set it on this CPU whenever interrupts are enabled, at a context switch and in user space.
 *
 * VMX clears it at a VM exit, TDX keeps some bits, SVM none of its business. KVM writes back what it noted before the
 * entry; perf may change the register from an interrupt after that. A bit that is lost stops branch records or the
 * freezing of counters, one that comes back enables what perf has switched off.
 *
 * Not covered: NMIs between the VM exit and the write, which may see the cleared register.
 */
import * as L from "../../silicon/cpu/layout.ts";
import { OP } from "../../silicon/ops.ts";
import type { Property } from "./property.ts";

const hex = (value: number) => `0x${value.toString(16)}`;

export const hostDebugctl: Property = {
	name: "host-debugctl",
	title: "DEBUGCTL is what perf set when interrupts are enabled, at context switches and in user space",
	degree: "violation",
	ops: ["sti", "switch_to", "user_transition"],
	onOp({ machine: { cpu, kernel } }, op) {
		if (op === OP.sti && !cpu.gif) return null;
		const loaded = cpu.readNumber(L.DEBUGCTL);
		return loaded === kernel.perf.debugctl
			? null
			: `DEBUGCTL is ${hex(loaded)}, perf set it to ${hex(kernel.perf.debugctl)}`;
	},
};
