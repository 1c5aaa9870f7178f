/** A vCPU that is reported as preempted while KVM emulates for it (commit 6cd88243c7e0, 2022; CVE-2022-39189). */
import { step, when } from "../../flow/flow.ts";
import { insert } from "../../flow/patch.ts";
import { v618 } from "../base.ts";
import type { HistoryCase } from "./case.ts";
import { patched } from "./patched.ts";

export const preemptedMark: HistoryCase = {
	name: "preempted-mark",
	title: "A vCPU is reported as preempted in the middle of an instruction",
	fix: { commits: ["6cd88243c7e0"], date: "2022-06", author: "Paolo Bonzini" },
	vendors: ["vmx", "svm"],
	state: "steal time",
	story:
		"A guest can read in shared memory which of its vCPUs are preempted. Linux leaves those out when it has translations " +
		"flushed: KVM does that for them before they run again. KVM reported a vCPU whenever its thread was switched out, also " +
		"while KVM itself executed an instruction for it. Such a vCPU is not between two instructions: what KVM has translated " +
		"of the guest's addresses stays in use behind the switch, though the guest takes it for flushed, and the page may be " +
		"another process's by then. The fix reports a vCPU only where an interrupt ended the guest's run.",
	differs:
		"Steal time itself is not there: the mark by which KVM decides is looked at when the thread is switched out.",
	before: patched(v618, "preempted-mark-before", "preemption is reported wherever it takes place", "v5.18", [
		insert(
			when("it has run", (v) => v.lastVmentryCpu >= 0, [
				step("st->preempted = KVM_VCPU_PREEMPTED", (v) => {
					v.atInstructionBoundary = true;
				}),
			]),
			"kvm_arch_vcpu_put",
			{ at: "start" },
		),
	]),
	after: { ...v618, name: "preempted-mark-after" },
	shows: {
		events: ["preempt"],
		configuration: {},
		property: "preemption-reported",
		tells: [/KVM executes an instruction in its place/, /__vmx_vcpu_run|__svm_vcpu_run|vcpu_enter_guest/],
	},
};
