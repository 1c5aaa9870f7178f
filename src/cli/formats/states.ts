/** A trace as states: behind each line, what the trace watches. Every format is made of these. */
import type { TraceLine, Violation, WatchedState } from "../../check/types.ts";

/** One line of a trace, with the state behind it. */
export interface TraceState {
	readonly line: TraceLine;
	readonly state: WatchedState;
}

/** The states of a counterexample, one a line of its trace. */
export function traceStates({ trace, initial }: Pick<Violation, "trace" | "initial">): TraceState[] {
	let state = initial;
	return trace.map((line) => {
		const next: Record<string, string> = { ...state };
		for (const { name, after } of line.changes.map(readChange)) next[name] = after;
		state = next;
		return { line, state };
	});
}

/** `name: before → after`, taken apart. */
export function readChange(change: string): {
	readonly name: string;
	readonly before: string;
	readonly after: string;
} {
	const [, name = "", before = "", after = ""] = /^(.*?): (.*) → (.*)$/.exec(change) ?? [];
	return { name, before, after };
}

/** The lines up to the one that says that this counterexample's property is violated. */
export function untilViolated({
	trace,
	property,
}: Pick<Violation, "trace" | "property">): readonly TraceLine[] {
	const at = trace.findIndex(({ kind, step }) => kind === "violation" && step.startsWith(`${property}: `));
	return at < 0 ? trace : trace.slice(0, at + 1);
}
