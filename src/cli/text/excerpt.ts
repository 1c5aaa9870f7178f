/** What of a long counterexample is printed: where it begins, what comes to what is wrong, and how it ends. */
import type { TraceLine, Violation } from "../../check/types.ts";
import { untilViolated } from "../formats/states.ts";

/** Lines up to which all is printed. */
const LINES_MAX = 120;
/** Of more: those behind each event, and the last ones. */
const BEHIND_EVENT = 12;
const LAST = 60;

/** A line, or how many steps are left out. */
export type ExcerptLine = TraceLine | { readonly leftOut: number };

/**
 * From shortly before the first event to the violation; in a long run only what stands near its events and its end, and each
 * change of a register or flag that the summary names.
 * @param context lines before an event
 */
export function excerpt(violation: Violation, context: number): readonly ExcerptLine[] {
	const all = untilViolated(violation);
	const first = all.findIndex(({ kind }) => kind === "event");
	const lines = all.slice(Math.max(0, first - context));
	if (lines.length <= LINES_MAX) return lines;
	const named = Object.keys(violation.initial).filter((name) => namesWord(violation.summary, name));
	const kept = lines.map(({ changes }) =>
		changes.some((change) => named.some((name) => change.startsWith(`${name}: `))),
	);
	for (const [at, { kind }] of lines.entries())
		if (kind === "event") kept.fill(true, Math.max(0, at - context), at + BEHIND_EVENT + 1);
	kept.fill(true, lines.length - LAST);
	const shown: ExcerptLine[] = [];
	let leftOut = 0;
	for (const [at, line] of lines.entries()) {
		if (!kept[at]) {
			leftOut++;
			continue;
		}
		if (leftOut > 0) shown.push({ leftOut });
		leftOut = 0;
		shown.push(line);
	}
	return shown;
}

/** Whether a sentence has the name as a word of its own, or as an MSR's. */
function namesWord(sentence: string, name: string): boolean {
	const at = sentence.indexOf(name);
	if (at < 0) return false;
	const before = sentence.slice(0, at);
	const isWord = !/\w$/.test(before) || before.endsWith("IA32_");
	return isWord && !/\w/.test(sentence[at + name.length] ?? " ");
}
