/** User-return MSRs behind a TDH.VP.ENTER that did not enter (commit c0711f8c610e, 2025). */
import { TDX_MODULE_USER_RETURN_MSRS } from "../../../silicon/tdx/module.ts";
import { step, when } from "../../flow/flow.ts";
import { insert, remove } from "../../flow/patch.ts";
import type { Vcpu } from "../../vcpu.ts";
import { v618 } from "../base.ts";
import type { HistoryCase } from "./case.ts";
import { patched } from "./patched.ts";

const ENTERED = "guest_entered";
const mark = (entered: number) => (v: Vcpu) => {
	v.extra.set(ENTERED, entered);
};

export const tdxUserReturn: HistoryCase = {
	name: "tdx-user-return-msrs",
	title: "KVM takes MSRs for clobbered by a TD entry that never happened",
	fix: { commits: ["c0711f8c610e"], date: "2025-10-30", author: "Sean Christopherson" },
	vendors: ["tdx"],
	state: "user-return MSRs",
	story:
		"A TD exit leaves fixed values in STAR, LSTAR, SYSCALL_MASK and TSC_AUX. Behind TDH.VP.ENTER KVM noted these as what " +
		"the processor holds, and left it to the way back to user space to write what differs. A TDH.VP.ENTER that returns " +
		"early, because another CPU holds a lock of the module's say, clobbers nothing, and the note is wrong. If a " +
		"register still holds the value of another VM's guest, and the host's value is the one that was noted, user space " +
		"runs with the guest's. The fix writes the module's values before the entry, so that it does not matter whether it " +
		"takes place.",
	differs: "",
	before: patched(
		v618,
		"tdx-user-return-msrs-before",
		"the note of user-return MSRs is updated behind TDH.VP.ENTER",
		"e0b4f31a3c65",
		[
			remove("kvm_set_user_return_msr", "tdx_prepare_switch_to_guest"),
			insert(step("guest_entered = true", mark(1), 1), "tdx_vcpu_run", {
				after: "tdx_load_host_xsave_state",
			}),
			insert(
				when("guest_entered", (v) => (v.extra.get(ENTERED) ?? 0) !== 0, [
					step(
						"tdx_user_return_msr_update_cache",
						(v) => v.kernel.userReturn.updateCache(TDX_MODULE_USER_RETURN_MSRS),
						12,
					),
					step("guest_entered = false", mark(0), 1),
				]),
				"tdx_prepare_switch_to_host",
				{ before: "guest_state_loaded = false" },
			),
		],
	),
	after: { ...v618, name: "tdx-user-return-msrs-after" },
	shows: {
		events: ["preempt", "td-busy"],
		configuration: { neighbour: "vm" },
		property: "host-msrs",
		tells: [/user space runs with TSC_AUX 0x55/, /tdx_user_return_msr_update_cache/],
	},
};
