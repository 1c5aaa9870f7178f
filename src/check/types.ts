/** What a check is asked and what it answers. */
import type { MceHandler } from "../host/mce.ts";
import type { Tree } from "../kvm/flow/flow.ts";
import type { CpuModel, Vendor } from "../silicon/models/model.ts";
import type { Configuration } from "./configuration.ts";

/** The kinds of event that a check injects. */
export type EventKind =
	| "mce"
	| "mce-entry"
	| "text-poke"
	| "perf"
	| "td-busy"
	| "nmi"
	| "irq"
	| "irq-fpu"
	| "tick"
	| "preempt"
	| "signal"
	| "kick"
	| "smi"
	| "perf-nmi"
	| "breakpoint"
	| "zap"
	| "ioctl"
	| "guest-irq"
	| "vcpu";

/** One event at one op of the run, counted from the first KVM_RUN. */
export interface Injection {
	readonly event: EventKind;
	readonly at: number;
	/** Behind the VM entry at that op, before the guest's first instruction, instead of before the op. */
	readonly inGuest?: boolean;
}

export interface CheckOptions {
	readonly tree: Tree;
	/** The tree to compare with, for naming the step that a violating run left out. */
	readonly base: Tree;
	readonly vendor: Vendor;
	readonly model: CpuModel;
	readonly mceHandler: MceHandler;
	/** The only configuration to look at. Default: the default one with the #MC handler above. */
	readonly configuration?: Configuration;
	/** Kinds to inject. Default: all. */
	readonly events?: readonly EventKind[];
	/** For a replay: the guest. Default: the vendor's `mixed`. */
	readonly guest?: string;
	/** Only this schedule: a replay. */
	readonly only?: readonly Injection[];
	/** Called now and then with the runs done and the total. */
	readonly onProgress?: (done: number, total: number) => void;
}

/** One line of a counterexample: a step or an event, and what changed by it. */
export interface TraceLine {
	/** The op count at which it stands. */
	readonly at: number;
	/** Kernel function that the step belongs to. */
	readonly flow: string;
	/** The step's name, or the event's. */
	readonly step: string;
	readonly kind: "step" | "event" | "violation";
	/** `name: before → after`, for what changed since the line before. */
	readonly changes: readonly string[];
}

/** What a trace watches, by name. */
export type WatchedState = Readonly<Record<string, string>>;

export interface Violation {
	/** Name of the property. */
	readonly property: string;
	/** One sentence: what happened, and the step that did or skipped it. */
	readonly summary: string;
	/** The exact command that shows it again. */
	readonly replay: string;
	readonly schedule: readonly Injection[];
	/** What shows the same with less; absent if nothing does. */
	readonly minimised?: { readonly schedule: readonly Injection[]; readonly replay: string };
	/** Call stack at the violation, innermost first. */
	readonly callStack: readonly string[];
	readonly trace: readonly TraceLine[];
	/** What the trace watches, before its first line. */
	readonly initial: WatchedState;
}

export interface CheckResult {
	readonly tree: string;
	readonly vendor: Vendor;
	/** The vendor module that was loaded, if it is a patch's. */
	readonly module?: string;
	readonly cpu: string;
	/** `vacuous`: nothing is violated, and something that must occur did not. */
	readonly verdict: "holds" | "violated" | "vacuous";
	/** One for each property that was violated, with the shortest schedule found. */
	readonly violations: readonly Violation[];
	/** What the kernel survives but should not do; does not fail the check. */
	readonly findings: readonly Violation[];
	/** What the runs reached, and how often. A pass says nothing about what was never reached. */
	readonly sometimes: Readonly<Record<string, number>>;
	/** What was looked at. */
	readonly bounds: {
		readonly eventsMax: number;
		/** Only the schedule that was asked for was run. */
		readonly replayed: boolean;
		readonly kinds: readonly EventKind[];
		readonly points: number;
		readonly runs: number;
		readonly exits: number;
		readonly guest: string;
		readonly mceHandler: MceHandler;
		readonly configurations: readonly string[];
		/** Of a search: states that were told apart, and schedules that came to a state that was known. */
		readonly states?: number;
		readonly pruned?: number;
	};
}

/** What a search is asked besides. */
export interface SearchOptions extends CheckOptions {
	/** Events of a run, at most. */
	readonly eventsMax: number;
	/** A set that covers all pairs of values, or all of them. A `configuration` is the only one. */
	readonly configurations: "pairs" | "all";
}
