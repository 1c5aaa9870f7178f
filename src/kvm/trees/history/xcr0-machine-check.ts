/** XCR0, and a machine check whose handler sleeps (commit 1811d979c716, 2019). */
import { applyPatches, move } from "../../flow/patch.ts";
import { MC_ON_ENTRY } from "../../vmx/machine-check.ts";
import { v618 } from "../base.ts";
import { SERIES } from "../series.ts";
import type { HistoryCase } from "./case.ts";

/** All machine checks are handled in the vendor's run function, on VMX as on SVM. */
const after = applyPatches(
	v618,
	[
		{
			title: "vmx_complete_atomic_exit()",
			source: "v5.0",
			edits: [move("EXCEPTION_NMI: #MC", "vmx_handle_exit_irqoff", "vmx_vcpu_run", { before: MC_ON_ENTRY })],
		},
	],
	"xcr0-machine-check-after",
	"XCR0 swapped next to the VM entry, before machine checks are handled",
);

/** XCR0 swapped in vcpu_enter_guest(), around the vendor's run function: what patch 3 of the series returned to. */
const before = applyPatches(
	after,
	[SERIES["series-v2"]!.patches[2]!],
	"xcr0-machine-check-before",
	"XCR0 swapped in vcpu_enter_guest(), machine checks handled in the vendor's run function",
);

export const xcr0MachineCheck: HistoryCase = {
	name: "xcr0-machine-check",
	title: "A machine check in the guest is handled with the guest's XCR0 loaded, and the handler sleeps",
	fix: { commits: ["1811d979c716"], date: "2019-04", author: "WANG Chao" },
	vendors: ["vmx", "svm"],
	state: "XCR0",
	story:
		"A memory error hit a guest. KVM called the #MC handler right behind the VM exit, while XCR0 still was the " +
		"guest's 0xff and not the host's 0x2ff. The handler of that time recovered in place: it waited for a page lock, " +
		"so the scheduler ran, and XRSTORS of the next task's image, which has PKRU's component, took a #GP in the " +
		"kernel. The fix swaps XCR0 next to the entry, so that the handler runs with the host's.",
	differs:
		"The handler's own mistake, sleeping in atomic context, was found a year later (5567d11c21a1); since then this " +
		"order of steps is allowed again, and patch 3 of the series returns to it.",
	mceHandler: "schedule",
	before,
	after,
	shows: {
		events: ["mce"],
		configuration: {},
		property: "host-fault",
		tells: [/#GP/, /memory_failure/, /__switch_to|switch_fpu_return/],
	},
};
