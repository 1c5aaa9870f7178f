/** A debugger's single step over an instruction that the fastpath handles (commit f7f39c50edb9, 2024). */
import { dropGuard } from "../../flow/patch.ts";
import { v618 } from "../base.ts";
import type { HistoryCase } from "./case.ts";
import { patched } from "./patched.ts";

export const fastpathStep: HistoryCase = {
	name: "fastpath-step",
	title: "The fastpath goes back to the guest although user space wants to see the step",
	fix: { commits: ["f7f39c50edb9"], date: "2024-08", author: "Sean Christopherson" },
	vendors: ["vmx", "svm"],
	state: "exits to user space",
	story:
		"When KVM skips an instruction that it has emulated, and a debugger in user space steps the guest, the skipping writes " +
		"KVM_EXIT_DEBUG into the shared page and says by its result that KVM_RUN has to return. The fastpath's handlers did not " +
		"look at the result: they entered the guest again. The debugger missed the step, and what stood in the shared page came " +
		"back with whatever ended KVM_RUN next. The fix gives the fastpath a result of its own for that.",
	differs: "INVD's handler, which is of 2025, has the mistake as well.",
	before: patched(
		v618,
		"fastpath-step-before",
		"the fastpath does not look at what skipping an instruction returns",
		"v6.11",
		["handle_fastpath_wrmsr", "handle_fastpath_hlt", "handle_fastpath_invd"].map((handler) =>
			dropGuard("user space wants the step", handler, "never"),
		),
	),
	after: { ...v618, name: "fastpath-step-after" },
	shows: {
		events: [],
		configuration: { debugger: "steps" },
		property: "exit-reported",
		tells: [/exit reason 4 for user space/],
	},
};
