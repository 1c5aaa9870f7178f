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
	| "perf-rdpmc"
	| "td-busy"
	| "nmi"
	| "irq"
	| "irq-fpu"
	| "irq-xfd"
	| "tick"
	| "preempt"
	| "signal"
	| "kick"
	| "smi"
	| "perf-nmi"
	| "breakpoint"
	| "zap"
	| "ioctl"
	| "triple-fault"
	| "guest-irq"
	| "vcpu"
	| "init"
	| "vm-dead";

/** One event at one op of the run, counted from the first KVM_RUN. */
export interface Injection {
	readonly event: EventKind;
	readonly at: number;
	/** Behind the VM entry at that op, before the guest's first instruction, instead of before the op. */
	readonly inGuest?: boolean;
}

/** Guests of the check: a script of exits, carried out, or the same bytes as any guest's code, translated. */
export const CHECK_GUESTS = ["script", "code"] as const;
export type CheckGuest = (typeof CHECK_GUESTS)[number];

/** Something that went wrong in a run. */
export interface Failure {
	readonly property: string;
	readonly degree: "violation" | "finding";
	readonly detail: string;
	/** Op count at which it was seen. */
	readonly at: number;
	/** VM entries before it. */
	readonly exits: number;
	/** Innermost first. */
	readonly callStack: readonly string[];
}

/** How far a check is. */
export interface Progress {
	/** From 0 to 1, by an estimate of what each part takes. */
	readonly done: number;
	/** Schedules that were run, and states that were told apart, so far. */
	readonly schedules: number;
	readonly states: number;
}

export interface CheckOptions {
	readonly tree: Tree;
	/** The tree to compare with, for naming the step that a violating run left out. */
	readonly base: Tree;
	readonly vendor: Vendor;
	readonly model: CpuModel;
	readonly mceHandler: MceHandler;
	/** Events of a run, at most. Default: 1. */
	readonly eventsMax?: number;
	/**
	 * `wide`, the default: up to `eventsMax` events in the default configuration (of a TD also with `neighbour=vm`), and up to
	 * one in each of a set in which all pairs of factors' values occur. `pairs`: up to `eventsMax` in each of that set. `all`: in each that there is.
	 */
	readonly configurations?: "wide" | "pairs" | "all";
	/** The only configuration to look at. */
	readonly configuration?: Configuration;
	/** Kinds to inject. Default: all. */
	readonly events?: readonly EventKind[];
	/** Default: `script`. */
	readonly guest?: CheckGuest;
	/** Only this schedule: a replay. */
	readonly only?: readonly Injection[];
	/** Called now and then. */
	readonly onProgress?: (progress: Progress) => void;
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
	/** The base, if the vendor runs nothing in which the tree differs from it. */
	readonly unchangedFrom?: string;
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
		/** Events of a run, at most, in the configuration that was looked at closest. */
		readonly eventsMax: number;
		/** Only the schedule that was asked for was run. */
		readonly replayed: boolean;
		readonly kinds: readonly EventKind[];
		/** Ops of the runs without events, of all configurations. */
		readonly points: number;
		/** Schedules that were run. */
		readonly runs: number;
		/** VM exits of the runs without events. */
		readonly exits: number;
		readonly guest: CheckGuest;
		readonly mceHandler: MceHandler;
		/** Configurations, by the events of a run in them; the default one is named `default`. */
		readonly searches: readonly { readonly eventsMax: number; readonly configurations: readonly string[] }[];
		/** States that were told apart, and schedules that came to a state that was known; 0 for a replay. */
		readonly states: number;
		readonly pruned: number;
	};
}
