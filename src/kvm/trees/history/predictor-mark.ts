/** Branch predictions of a guest in user space: VMSCAPE (commit 2f8f173413f1, 2025). */
import { applyPatches, remove } from "../../flow/patch.ts";
import { v618 } from "../base.ts";
import type { HistoryCase } from "./case.ts";

export const predictorMark: HistoryCase = {
	name: "predictor-mark",
	title: "User space runs on branch predictions that the guest has left",
	fix: { commits: ["2f8f173413f1"], date: "2025-09", author: "Pawan Gupta" },
	vendors: ["vmx", "svm", "tdx"],
	state: "branch predictor",
	story:
		"The branch predictors keep guest and kernel apart, but not guest and user space: a guest could steer the " +
		"speculation of the process that runs it, and read its memory. Since then KVM marks the CPU behind each exit, " +
		"while preemption is still off, and the way to user space does an indirect branch prediction barrier where the " +
		"mark is set. Set any later, the mark could land on another CPU than the one the guest has used.",
	differs: "",
	before: applyPatches(
		v618,
		[{ title: "", source: "v6.16", edits: [remove("X86_FEATURE_IBPB_EXIT_TO_USER", "vcpu_enter_guest")] }],
		"predictor-mark-before",
		"no barrier between a guest and user space",
	),
	after: v618,
	shows: {
		events: [],
		configuration: {},
		property: "predictor-barrier",
		tells: [/goes to user space on the guest's branch predictions/],
	},
};
