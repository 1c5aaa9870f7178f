/**
 * Every #MC reaches the kernel's handler before interrupts or preemption are enabled.
 *
 * The processor sets MCG_STATUS.MCIP with the #MC and the handler clears it; a second #MC while it is set
 * shuts the machine down (SDM Vol. 3B, 16.3.1.2).
 *
 * Not covered: what the handler does with the banks.
 */
import { MCG_STATUS_MCIP } from "../../host/mce.ts";
import * as L from "../../silicon/cpu/layout.ts";
import type { Property } from "./property.ts";

export const machineCheckHandled: Property = {
	name: "machine-check-handled",
	title: "an #MC reaches the kernel's handler before interrupts or preemption are enabled",
	degree: "violation",
	ops: ["sti", "preempt_enable"],
	onOp({ machine: { cpu, kernel } }) {
		if (kernel.handlerDepth > 0 || !cpu.gif) return null;
		if ((cpu.read32(L.MCG_STATUS) & MCG_STATUS_MCIP) === 0) return null;
		return "an #MC was taken and never handed to do_machine_check()";
	},
	onEnd(context) {
		const owed = context.owed("mce");
		if (owed === 0) return null;
		return owed > 0 ? "an #MC never reached do_machine_check()" : "do_machine_check() ran without an #MC";
	},
};
