/** Guest time that ends before the tick is handled (commit 160457140187, 2021). */
import { applyPatches, insert, remove } from "../../flow/patch.ts";
import { guestTimingEnter, guestTimingExit } from "../../x86/vcpu-enter-guest.ts";
import { v618 } from "../base.ts";
import type { HistoryCase } from "./case.ts";

const VENDOR_FLOWS = ["vmx_vcpu_enter_exit", "svm_vcpu_enter_exit", "tdx_vcpu_enter_exit"];

/** Guest time spans the entry alone, as context tracking does. */
const before = applyPatches(
	v618,
	[
		{
			title: "x86/kvm: Move context tracking where it belongs",
			source: "87fa7f3e98a1",
			edits: [
				remove("guest_timing_enter_irqoff", "vcpu_enter_guest"),
				remove("guest_timing_exit_irqoff", "vcpu_enter_guest"),
				...VENDOR_FLOWS.flatMap((flow) => [
					insert(guestTimingEnter, flow, { at: "start" }),
					insert(guestTimingExit, flow, { at: "end" }),
				]),
			],
		},
	],
	"guest-time-before",
	"guest time begins and ends next to the VM entry",
);

export const guestTime: HistoryCase = {
	name: "guest-time",
	title: "A tick that ends the guest's run is charged to the host",
	fix: {
		commits: ["160457140187", "87fa7f3e98a1"],
		date: "2021-05",
		author: "Wanpeng Li, Sean Christopherson",
	},
	vendors: ["vmx", "svm"],
	state: "guest time",
	story:
		"The mark PF_VCPU, by which the timer interrupt's handler charges a tick to the guest, moved next to the VM entry " +
		"together with context tracking. A tick that comes while the guest runs makes it exit, and its handler runs a good " +
		"deal later: on Intel in handle_exit_irqoff, on AMD in the interrupt window behind it. By then the mark was gone. " +
		"Hosts with tick-based accounting showed guests that used no time at all. The fix ends guest time behind the window.",
	differs: "",
	before,
	after: v618,
	shows: {
		events: ["tick"],
		configuration: {},
		property: "guest-time",
		tells: [/a tick that came while the guest ran is charged to the host/, /sysvec_apic_timer_interrupt/],
	},
};
