/**
 * The casebook: real bugs of KVM's run loop, each as the tree before its fix and the tree behind it. They measure
 * the check: it must report a violation before, and none behind.
 *
 * A case's trees are edits on a built-in tree, and stand for the order of steps that had the bug, not for the whole
 * of KVM at that time. Where today's code is shaped otherwise, the case says so in `differs`.
 */
import type { MceHandler } from "../../../host/mce.ts";
import type { Vendor } from "../../../silicon/models/model.ts";
import type { Tree } from "../../flow/flow.ts";

/** What the bug got wrong: the column by which the casebook is sorted. */
export type StateKind =
	| "XCR0"
	| "PKRU"
	| "XFD"
	| "FPU registers"
	| "debug registers"
	| "DEBUGCTL"
	| "SPEC_CTRL"
	| "user-return MSRs"
	| "host CR3"
	| "guest time"
	| "interrupt shadow"
	| "interrupts"
	| "NMIs"
	| "machine checks"
	| "SRCU"
	| "branch predictor"
	| "steal time"
	| "exits to user space"
	| "timer"
	| "injection"
	| "requests";

/** The fix, as the kernel's history has it. */
export interface Fix {
	/** Abbreviated commit ids, the decisive one first. */
	readonly commits: readonly string[];
	/** Date of the decisive commit, YYYY-MM-DD or as much of it as is known. */
	readonly date: string;
	readonly author: string;
}

/** What a run must contain for the bug to show. Named by words that the room `check/` defines and verifies. */
export interface Shows {
	/** Kinds of event of the shortest counterexample, in order (EventKind of check/types.ts); none: it shows at once. */
	readonly events: readonly string[];
	/** Fields of a configuration that it needs, besides the defaults (check/configuration.ts). */
	readonly configuration: Readonly<Record<string, boolean | number | string>>;
	/** Name of the property that is violated. */
	readonly property: string;
	/** What the violation's summary, call stack or trace must say for the counterexample to tell the commit's story. */
	readonly tells: readonly RegExp[];
}

/** One bug. */
export interface HistoryCase {
	/** Kebab-case; names the case on the command line and, with `-before` and `-after`, its trees. */
	readonly name: string;
	/** One line. */
	readonly title: string;
	readonly fix: Fix;
	/** Vendors on which it is shown here. */
	readonly vendors: readonly Vendor[];
	readonly state: StateKind;
	/** What happened, in two to five sentences of our own. */
	readonly story: string;
	/** Where the trees here are shaped otherwise than the code was then; empty if they are not. */
	readonly differs: string;
	/** Features of the CPU model that the processor must not have for it to show. */
	readonly lacks?: readonly ("vSpecCtrl" | "nrips" | "lbrv" | "xfd")[];
	/** The #MC handler of that time. Default: task-work. */
	readonly mceHandler?: MceHandler;
	readonly before: Tree;
	readonly after: Tree;
	readonly shows: Shows;
}
