/** SPEC_CTRL, put back after the first return (commit 9f2febf3f04d, 2022). */
import { step } from "../../flow/flow.ts";
import { insert, replace } from "../../flow/patch.ts";
import { svmRestoreHostSpecCtrl, svmVcpuRunStep } from "../../svm/flows.ts";
import { v618 } from "../base.ts";
import type { HistoryCase } from "./case.ts";
import { patched } from "./patched.ts";

export const specCtrlInC: HistoryCase = {
	name: "spec-ctrl-in-c",
	title: "The host returns from the entry's assembly under the guest's SPEC_CTRL",
	fix: { commits: ["9f2febf3f04d"], date: "2022-11", author: "Paolo Bonzini" },
	vendors: ["svm"],
	state: "SPEC_CTRL",
	story:
		"Where the processor does not virtualize SPEC_CTRL, SVM put the host's value back in C, behind the assembly that runs " +
		"the guest. That assembly ends in a return instruction, and returns are what attacks on speculation (retbleed) " +
		"steer: for a few instructions the host was open to what its own SPEC_CTRL protects it from. The fix writes the " +
		"register in assembly, right behind the VM exit.",
	differs: "",
	lacks: ["vSpecCtrl"],
	before: patched(v618, "spec-ctrl-in-c-before", "SPEC_CTRL is restored in C", "v6.0", [
		replace("__svm_vcpu_run", "svm_vcpu_enter_exit", svmVcpuRunStep(false)),
		insert(step("x86_spec_ctrl_restore_host", svmRestoreHostSpecCtrl, 8), "svm_vcpu_run", {
			after: "svm_vcpu_enter_exit",
		}),
	]),
	after: { ...v618, name: "spec-ctrl-in-c-after" },
	shows: {
		events: [],
		configuration: { msrs: "own" },
		property: "host-returns",
		tells: [/a return is predicted under SPEC_CTRL 0x6, the host's is 0x0/, /__svm_vcpu_run/],
	},
};
