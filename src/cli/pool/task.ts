/** What the threads of a check, a review or a casebook have to do, in words that can be sent to a thread. */
import type { CaseBounds, CaseResult } from "../../check/casebook.ts";
import type { Job } from "../../check/plan.ts";
import type { SearchResult } from "../../check/search/search.ts";
import type { CheckOptions } from "../../check/types.ts";
import type { Vendor } from "../../silicon/models/model.ts";

/** A tree on a vendor and CPU model, as a command line names them: functions cannot be sent. */
export interface TargetWords {
	readonly spec: string | undefined;
	readonly patch: readonly string[] | undefined;
	/** A vendor, or a vendor module of the tree. */
	readonly vendor: string;
	readonly cpu: string | undefined;
}

/** The rest of what a search is asked. */
export type Question = Omit<CheckOptions, "tree" | "base" | "model" | "only" | "onProgress">;

export interface CheckWords {
	readonly words: TargetWords;
	readonly question: Question;
}

/** A job of a check, or a case of the casebook. */
export type Task =
	| {
			readonly kind: "search";
			/** Number of the check. */
			readonly check: number;
			readonly job: Job;
			/** Tasks of one group are quicker on one thread: they have work in common. */
			readonly group: number;
			/** Groups of one machine are quicker on one thread, one behind the other: it is made once. */
			readonly machine: number;
			readonly weight: number;
	  }
	| {
			readonly kind: "case";
			readonly name: string;
			readonly vendor: Vendor;
			readonly bounds: CaseBounds;
			readonly group: number;
			readonly machine: number;
			readonly weight: number;
	  };

/** What came out of a task. A case's own words stay where they are. */
export type TaskResult = SearchResult | Omit<CaseResult, "entry">;

/** What a thread is given. */
export interface ThreadData {
	readonly checks: readonly CheckWords[];
	readonly tasks: readonly Task[];
	/** Files of patches, as the first thread has read them. */
	readonly files: ReadonlyMap<string, Uint8Array>;
	/** The queue's words (queue.ts). */
	readonly claims: Int32Array;
	/** COUNTS numbers a thread, for progress. */
	readonly counts: Float64Array;
	readonly thread: number;
}

/** Numbers that a thread counts up: weight of what is done, schedules, states. */
export const COUNTS = 3;

/** What a thread tells. */
export type ThreadMessage =
	| { readonly kind: "result"; readonly task: number; readonly result: TaskResult }
	/** Bad input: one line for the user. */
	| { readonly kind: "refused"; readonly message: string };
