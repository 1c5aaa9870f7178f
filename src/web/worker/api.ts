/** What the page asks of the engine, and what it answers: plain data, which crosses from the worker to the page as it is. */
import type { JobResult } from "../../check/conclude.ts";
import type { CheckResult, Injection } from "../../check/types.ts";
import type { PathRow } from "../../kvm/flow/path.ts";
import type { BuiltInTree } from "../../kvm/trees/trees.ts";
import type { FlameLayout } from "../../profile/flame.ts";
import type { ReportRow } from "../../profile/report.ts";
import type { Recording } from "../../review/recording/recording.ts";
import type { Survey } from "../../review/survey.ts";
import type { CostResult } from "../../review/types.ts";
import type { Cost, Vendor } from "../../silicon/models/model.ts";

/** A tree as the page names it: a built-in one, and a patch file's text on top of it. */
export interface TreeReference {
	readonly tree: string;
	/** JSON, or "" for none. */
	readonly patch: string;
}

/** The machine that a tree runs on. */
export interface Setting {
	readonly vendor: Vendor;
	/** A built-in CPU model's name, or the text of a model file; "" or a model of another vendor: the vendor's usual one. */
	readonly cpu: string;
	/** Factors of the check's configurations that are set, as `reenter check --config` takes them; "" for none. */
	readonly configuration: string;
}

/** A tree on a machine. */
export interface Target extends TreeReference, Setting {}

/** What a vendor's machine can be made of. */
export interface MachineView {
	/** The model that the setting leads to. */
	readonly cpu: string;
	readonly title: string;
	/** Factors of the configuration that exist there, each with its values, the one that is usual first. */
	readonly factors: readonly {
		readonly factor: string;
		readonly title: string;
		readonly values: readonly string[];
		/** Whether it changes what an exit costs. */
		readonly isInCost: boolean;
	}[];
}

/** A tree of the casebook: before a fix, or behind it. */
export interface CaseTree {
	readonly name: string;
	/** The bug. */
	readonly title: string;
	readonly isFixed: boolean;
	/** Where it shows: on these vendors, with these factors of the configuration, by so many events. */
	readonly vendors: readonly Vendor[];
	readonly configuration: string;
	readonly eventsMax: number;
}

/** What there is to choose from. */
export interface Catalogue {
	readonly trees: readonly BuiltInTree[];
	/** Trees of the casebook. */
	readonly cases: readonly CaseTree[];
	readonly guests: readonly {
		readonly name: string;
		readonly description: string;
		readonly vendors: readonly string[];
	}[];
	readonly events: readonly {
		readonly kind: string;
		readonly title: string;
		readonly vendors: readonly string[];
	}[];
	readonly models: readonly {
		readonly name: string;
		readonly title: string;
		readonly vendors: readonly string[];
	}[];
	readonly workloads: readonly {
		readonly name: string;
		readonly label: string;
		readonly vendors: readonly string[];
	}[];
}

/** One tree as the tab "Loop" draws it. */
export interface LoopView {
	readonly name: string;
	readonly title: string;
	readonly cpu: string;
	readonly rows: readonly PathRow[];
	readonly survey: Survey;
	/** Cycles of an exit that the fastpath handles, or of a TD's hypercall. */
	readonly cost: CostResult;
	/** Factors of the setting that the vendor or model does not have. */
	readonly without: readonly string[];
}

/** What the build has worked out: answers about `FIRST_TARGET`. */
export interface FirstView {
	readonly catalogue: Catalogue;
	readonly machine: MachineView;
	readonly loop: LoopView;
}

/** A vendor's verdict. */
export interface Verdict {
	readonly vendor: Vendor;
	readonly check: CheckResult;
	/** Factors of the setting that the vendor does not have. */
	readonly without: readonly string[];
}

/** A share of a check: `part` of `parts`. How many there are is the page's to say, whoever works on them. */
export interface ShareQuestion extends Target {
	readonly part: number;
	readonly parts: number;
}

/** A workload's profile. */
export interface ProfileView {
	readonly tree: string;
	readonly cpu: string;
	readonly exits: number;
	readonly periodCycles: number;
	/** As `perf top` has them. */
	readonly rows: readonly ReportRow[];
	readonly flame: FlameLayout;
	/** By symbol, why it is there, as `reenter top --explain` prints it. */
	readonly reasons: Readonly<Record<string, string>>;
}

/** A run to be recorded. */
export interface RunQuestion extends Target {
	/** A guest program's name, "script" for the check's own guest, or a file's name with its bytes. */
	readonly guest: string;
	readonly image: Uint8Array | null;
	readonly schedule: readonly Injection[];
}

/** The engine's methods: what each is given and what it gives. */
export interface Engine {
	catalogue(): Catalogue;
	loop(target: Target): LoopView;
	machine(setting: Setting): MachineView;
	/** Makes ready what a check of a vendor needs: its tree compiled, its guest decoded. */
	warm(target: Target): null;
	share(question: ShareQuestion): readonly JobResult[];
	conclude(question: Target & { readonly results: readonly JobResult[] }): Verdict;
	record(question: RunQuestion): Recording;
	cost(question: Target & { readonly guest: string }): CostResult;
	profile(question: Target & { readonly workload: string }): ProfileView;
	/** What each op costs on the vendor's model, with its source; ops of the patch's own among them. */
	costs(target: Target): Readonly<Record<string, Cost>>;
}

/** A message to the worker. */
export interface Request {
	readonly id: number;
	readonly method: keyof Engine;
	readonly argument: unknown;
}

/** Its answer: a value, or one line of what is wrong. */
export type Answer =
	| { readonly id: number; readonly value: unknown }
	| { readonly id: number; readonly error: string };
