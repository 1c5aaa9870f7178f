/**
 * Every SMI is taken: an exit that one causes on SVM does not swallow it. It waits for STGI there.
 *
 * Not covered: what happens in SMM.
 */
import type { Property } from "./property.ts";

export const smiTaken: Property = {
	name: "smi-taken",
	title: "an SMI is taken",
	degree: "violation",
	onEnd(context) {
		return context.owed("smi") > 0 ? "an SMI was never taken" : null;
	},
};
