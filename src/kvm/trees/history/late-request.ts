/** A request that is made between the serving of requests and the entry (commit d4acf7e7abe4, 2008). */
import { applyPatches, replace } from "../../flow/patch.ts";
import { VCPU_MODE } from "../../requests.ts";
import type { Vcpu } from "../../vcpu.ts";
import { bailOutWhen } from "../../x86/vcpu-enter-guest.ts";
import { xferToGuestModeWorkPending } from "../../x86/work.ts";
import { v618 } from "../base.ts";
import type { HistoryCase } from "./case.ts";

const withoutRequests = (v: Vcpu) => v.mode === VCPU_MODE.EXITING_GUEST_MODE || xferToGuestModeWorkPending(v);

export const lateRequest: HistoryCase = {
	name: "late-request",
	title: "A request that comes behind the serving of requests is not seen before the next exit",
	fix: { commits: ["d4acf7e7abe4"], date: "2008-05", author: "Marcelo Tosatti" },
	vendors: ["vmx", "svm", "tdx"],
	state: "requests",
	story:
		"KVM served a vCPU's requests, disabled interrupts, and then looked for signals and for rescheduling only. A thread " +
		"that moved to another CPU in between had a new request, to take its timer along, which nobody looked at: the " +
		"guest's timer interrupt stayed on the old CPU until some host interrupt ended the run. The fix gives up the entry " +
		"if any request is pending once interrupts are off.",
	differs:
		"Shown with a request from another CPU, which sends no interrupt to a vCPU that is not in the guest yet; the run " +
		"loop's modes, by which it knows, are of 2011.",
	before: applyPatches(
		v618,
		[
			{
				title: "",
				source: "v2.6.25",
				edits: [
					replace(
						"kvm_vcpu_exit_request (before entry)",
						"vcpu_enter_guest",
						bailOutWhen("signal or need_resched (before entry)", withoutRequests),
					),
				],
			},
		],
		"late-request-before",
		"requests are not looked for with interrupts off",
	),
	after: v618,
	shows: {
		events: ["kick"],
		configuration: {},
		property: "requests-seen",
		tells: [/KVM_REQ_OUTSIDE_GUEST_MODE is pending/],
	},
};
