/** HOST_CR3, noted too early (commit 15ad9762d69f of 2021, reverted by 1a71581012dd and bca06b85fcaf). */
import { step } from "../../flow/flow.ts";
import { insert, remove } from "../../flow/patch.ts";
import { refreshHostCr3 } from "../../vmx/flows.ts";
import { v618 } from "../base.ts";
import type { HistoryCase } from "./case.ts";
import { patched } from "./patched.ts";

export const hostCr3: HistoryCase = {
	name: "host-cr3",
	title: "The CR3 that a VM exit loads was noted before the kernel changed it",
	fix: { commits: ["1a71581012dd", "bca06b85fcaf"], date: "2022-02", author: "Sean Christopherson" },
	vendors: ["vmx"],
	state: "host CR3",
	story:
		"To save a comparison at each entry, KVM wrote HOST_CR3 into the VMCS once, in vmx_prepare_switch_to_guest(). " +
		"CR3 holds a PCID besides the page table, and that can change without the thread leaving the CPU: when a static " +
		"key is flipped, an interrupt pokes text through an address space of its own, and switching back may choose " +
		"another PCID. The next VM exit then loaded the old one, with translations in it that had been flushed. The fix " +
		"goes back to looking at CR3 right before the entry.",
	differs: "",
	before: patched(
		v618,
		"host-cr3-before",
		"HOST_CR3 is written by vmx_prepare_switch_to_guest()",
		"15ad9762d69f",
		[
			remove("refresh HOST_CR3", "vmx_vcpu_run"),
			insert(step("HOST_CR3 = CR3", refreshHostCr3, 6), "vmx_prepare_switch_to_guest", {
				before: "guest_state_loaded = true",
			}),
		],
	),
	after: { ...v618, name: "host-cr3-after" },
	shows: {
		events: ["text-poke"],
		configuration: {},
		property: "host-address-space",
		tells: [/CR3 is 0x100\d, the kernel loaded 0x100\d/, /sysvec_call_function|code patched/],
	},
};
