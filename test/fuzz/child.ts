/** The fuzzer's child process: runs cases from one on, and tells its parent of each when it begins and how it ended. */
import { setImmediate } from "node:timers/promises";
import { fuzzCase } from "./cases.ts";

/** The cases that a child runs, as its argument. A case's ordinal counts all kinds of a number, then the next number. */
export interface Task {
	readonly kinds: readonly string[];
	/** Number of the cases with the first ordinals. */
	readonly seed: number;
	readonly ordinal: number;
	/** Wall time after which no case begins. */
	readonly milliseconds: number;
	/** Cases after which the child ends, and resident memory above which it does: its parent starts another. */
	readonly cases: number;
	readonly rssBytes: number;
}

/** What a child says. */
export type Message =
	| { readonly type: "begin"; readonly ordinal: number }
	| { readonly type: "ending"; readonly text: string; readonly rssBytesMax: number }
	| { readonly type: "failure"; readonly text: string };

/** Kind and number of a case. */
export function caseOf(task: Task, ordinal: number): { readonly kind: string; readonly number: number } {
	const { kinds, seed } = task;
	return { kind: kinds[ordinal % kinds.length]!, number: seed + Math.floor(ordinal / kinds.length) };
}

/** Runs a task to its end. @param post sends a message to the parent */
export async function runTask(task: Task, post: (message: Message) => void): Promise<void> {
	const until = performance.now() + task.milliseconds;
	for (let { ordinal } = task; ordinal < task.ordinal + task.cases; ordinal++) {
		if (performance.now() >= until || process.memoryUsage.rss() > task.rssBytes) break;
		post({ type: "begin", ordinal });
		const { kind, number } = caseOf(task, ordinal);
		try {
			const text = `${kind}: ${fuzzCase(kind, number)}`;
			post({ type: "ending", text, rssBytesMax: process.resourceUsage().maxRSS * 1024 });
		} catch (error) {
			post({
				type: "failure",
				text: error instanceof Error ? (error.stack ?? error.message) : String(error),
			});
		}
		// So that messages go out, and a parent that is gone is noticed.
		await setImmediate();
	}
}
