/** DR6, loaded again at each fastpath re-entry (commit c2fee09fc167, 2025, CVE-2025-21839). */
import { moveToDr } from "../../../host/access.ts";
import { DR6_RESERVED } from "../../../host/hw-breakpoint.ts";
import * as L from "../../../silicon/cpu/layout.ts";
import { step, when } from "../../flow/flow.ts";
import { replace } from "../../flow/patch.ts";
import { DEBUGREG } from "../../requests.ts";
import type { Vcpu } from "../../vcpu.ts";
import { v618 } from "../base.ts";
import type { HistoryCase } from "./case.ts";
import { patched } from "./patched.ts";

const wontExit = (v: Vcpu) => (v.switchDbRegs & DEBUGREG.WONT_EXIT) !== 0;

export const dr6Reentry: HistoryCase = {
	name: "dr6-reentry",
	title: "A fastpath re-entry overwrites the guest's DR6 with an old copy",
	fix: { commits: ["c2fee09fc167"], date: "2025-01", author: "Sean Christopherson" },
	vendors: ["vmx", "svm"],
	state: "debug registers",
	story:
		"Once a guest uses debug registers they are its own, without exits, until KVM leaves the fastpath loop and reads " +
		"them back. The vendors' run functions loaded DR6 from KVM's copy at each iteration of the loop. An exit that the " +
		"fastpath handles, such as the preemption timer, changes nothing of that copy: what the guest had in DR6 by then " +
		"was lost, and gdb in the guest missed its single steps. The fix loads DR6 once, before the loop; today a run flag " +
		"says so, which is cleared for re-entries.",
	differs: "",
	before: patched(v618, "dr6-reentry-before", "DR6 is loaded at every entry", "v6.13", [
		replace(
			"KVM_RUN_LOAD_GUEST_DR6",
			"vmx_vcpu_run",
			when("KVM_DEBUGREG_WONT_EXIT (DR6)", wontExit, [
				step("DR6 = guest", (v) => moveToDr(v.cpu, L.DR6, v.dr6)),
			]),
		),
		replace(
			"DR6 of the VMCB",
			"svm_vcpu_run",
			step("DR6 of the VMCB", (v) => {
				v.svm!.vmcb.dr6 = wontExit(v) ? v.dr6 : DR6_RESERVED;
			}),
		),
	]),
	after: { ...v618, name: "dr6-reentry-after" },
	shows: {
		events: [],
		configuration: { debugRegs: "used" },
		property: "guest-debug-registers",
		tells: [/enters with DR6 0xffff0ff0, its own is 0xffff0ff1/, /run_flags = 0/],
	},
};
