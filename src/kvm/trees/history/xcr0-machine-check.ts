/** XCR0, and a machine check whose handler sleeps (commit 1811d979c716, 2019). */
import type { Node } from "../../flow/flow.ts";
import { type Edit, applyPatches, insert, move } from "../../flow/patch.ts";
import { v618 } from "../base.ts";
import { SERIES } from "../series.ts";
import type { HistoryCase } from "./case.ts";

/**
 * Where the handler runs, and by which step. The handler of that time slept with the host's breakpoints still off, since
 * vcpu_enter_guest() turns them on again behind it: a bug of its own, which ended when handlers no longer slept (5567d11c21a1).
 * Both trees do without it.
 */
const HANDLERS = [
	["vmx_vcpu_run", "kvm_machine_check"],
	["vmx_vcpu_run", "kvm_machine_check (during entry)"],
	["svm_vcpu_run", "svm_handle_mce"],
] as const;
const BREAKPOINTS = ["KVM_DEBUGREG_WONT_EXIT", "hw_breakpoint_active"] as const;

const nodeOf = (name: string): Node => ({
	...v618.flows.get("vcpu_enter_guest")!.body.find((node) => node.name === name)!,
});

/** The host's debug registers are its own again where a machine check is handled. */
const breakpointsBack: readonly Edit[] = HANDLERS.flatMap(([flow, handler]) =>
	BREAKPOINTS.map((name) => insert(nodeOf(name), flow, { before: handler })),
);

/** All machine checks are handled in the vendor's run function, on VMX as on SVM. */
const after = applyPatches(
	v618,
	[
		{
			title: "vmx_complete_atomic_exit()",
			source: "v5.0",
			edits: [
				move("EXCEPTION_NMI: #MC", "vmx_handle_exit_irqoff", "vmx_vcpu_run", { after: "launched = true" }),
			],
		},
		{ title: "hw_breakpoint_restore() before #MC is handled", source: "", edits: breakpointsBack },
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
		"order of steps is allowed again, and patch 3 of the series returns to it. While it slept the host's breakpoints were " +
		"off as well, which the fix left and 5567d11c21a1 ended: here both trees turn them on before they handle a machine " +
		"check. Processors had no AMX then.",
	mceHandler: "schedule",
	lacks: ["xfd"],
	before,
	after,
	shows: {
		events: ["mce"],
		configuration: {},
		property: "host-fault",
		tells: [/#GP/, /memory_failure/, /__switch_to|switch_fpu_return/],
	},
};
