/**
 * No return instruction behind a VM exit runs with the guest's SPEC_CTRL.
 *
 * Returns are predicted. What keeps a guest from steering them, IBRS or STIBP in the host's SPEC_CTRL, must be in force
 * at the first one, by which the assembly around the entry goes back to C.
 *
 * Not covered: indirect branches and returns further on, where host-msrs looks at SPEC_CTRL; the predictors themselves.
 */
import * as L from "../../silicon/cpu/layout.ts";
import type { Property } from "./property.ts";

const hex = (value: number) => `0x${value.toString(16)}`;

export const hostReturns: Property = {
	name: "host-returns",
	title: "no return instruction behind a VM exit runs with the guest's SPEC_CTRL",
	degree: "violation",
	ops: ["ret"],
	onOp({ machine: { cpu, kernel } }) {
		const loaded = cpu.read32(L.SPEC_CTRL);
		return loaded === kernel.specCtrl
			? null
			: `a return is predicted under SPEC_CTRL ${hex(loaded)}, the host's is ${hex(kernel.specCtrl)}`;
	},
};
