/** The text of `reenter check`. */
import type { CheckResult, Violation } from "../../check/types.ts";
import type { Style } from "../style.ts";
import { VERSION } from "../../check/token.ts";
import { type ExcerptLine, excerpt } from "./excerpt.ts";
import { wrap } from "./format.ts";

/** How much of a counterexample is shown. */
export interface Shown {
	/** Every step of the run. */
	readonly full: boolean;
	/** Steps before the first event. */
	readonly context: number;
}

/** One check as text. */
export function checkText(result: CheckResult, style: Style, how: Shown): string {
	const { bounds } = result;
	const bad = result.verdict === "violated" ? "✘ violated" : "✘ vacuous";
	const verdict = result.verdict === "holds" ? style.good("✔ holds") : style.bad(bad);
	const lines = [`${style.bold(result.tree)}  ${result.module ?? result.vendor}  ${result.cpu}  ${verdict}`];
	const shown = new Set<string>();
	const add = (violation: Violation, word: string) => {
		lines.push("", ...violationLines(violation, word, style, how, shown.has(violation.replay)));
		shown.add(violation.replay);
	};
	for (const violation of result.violations) add(violation, "violated");
	for (const finding of result.findings) add(finding, "finding");
	lines.push("");
	if (bounds.replayed) {
		lines.push(`  replayed one schedule on guest ${bounds.guest}: ${bounds.exits} VM exits`);
		return `${lines.join("\n")}\n`;
	}
	if (result.unchangedFrom !== undefined)
		lines.push(
			`  unchanged: ${result.vendor} runs nothing in which ${result.tree} differs from ${result.unchangedFrom}`,
		);
	lines.push(...reachedLines(result, 2), ...boundsLines(result, 2));
	lines.push(
		"  not checked: more events in a run, more vCPUs, other configurations and guests (docs/check.md)",
	);
	return `${lines.join("\n")}\n`;
}

/** What must occur, and what of it did not. @param indent in columns */
export function reachedLines({ sometimes }: CheckResult, indent: number): string[] {
	const names = Object.keys(sometimes);
	const never = names.filter((name) => sometimes[name] === 0);
	const blank = " ".repeat(indent);
	return [
		`${blank}reached: ${names.length - never.length} of ${names.length} things that must occur`,
		...never.map((name) => `${blank}never reached: ${name}`),
	];
}

const counted = (count: number, word: string) => `${count} ${word}${count === 1 ? "" : "s"}`;

/**
 * The bounds of a check, which every verdict says.
 * @param indent in columns
 * @param brief the number of kinds of event, for a report that has many of these; otherwise their names
 */
export function boundsLines({ bounds }: CheckResult, indent: number, brief = false): string[] {
	const { searches, kinds, points, guest, runs, states, mceHandler } = bounds;
	const parts = searches.map(({ eventsMax, configurations }) => {
		const [first = ""] = configurations;
		const where =
			configurations.length > 1
				? `each of ${configurations.length} configurations`
				: first === "default"
					? "the default configuration"
					: first;
		return `${eventsMax === 0 ? "no event" : `up to ${counted(eventsMax, "event")}`} in ${where}`;
	});
	const events = brief ? `${counted(kinds.length, "kind")} of event` : `events: ${kinds.join(", ")}`;
	const two = searches.some(({ configurations }) => configurations.some((name) => name.includes("vcpus=2")));
	return wrap(
		`checked: ${parts.join(", ")}, at ${counted(points, "point")} of guest ${guest}; ${events}; ` +
			`${counted(runs, "schedule")}, ${counted(states, "state")}; ${two ? "one vCPU and two" : "one vCPU"}; #MC handler ${mceHandler}`,
		indent,
	);
}

/** @param seen the run's steps were printed already, for another property that it violates */
function violationLines(
	violation: Violation,
	word: string,
	style: Style,
	how: Shown,
	seen: boolean,
): string[] {
	const lines = [style.bad(`${word}: ${violation.property}`), ...wrap(violation.summary, 2), ""];
	if (seen) lines.push("  in the run above");
	else
		for (const line of how.full ? violation.trace : excerpt(violation, how.context))
			lines.push(...traceLines(line, style));
	if (violation.callStack.length > 0) lines.push("", "  Call Trace:");
	for (const name of violation.callStack) lines.push(`   ${name}`);
	const { minimised, schedule } = violation;
	if (minimised !== undefined) {
		const events = `${schedule.length} → ${minimised.schedule.length} events`;
		lines.push(`  minimised ${events}: ${minimised.replay}`);
	}
	lines.push(`  replay: ${violation.replay}`);
	return lines;
}

function traceLines(line: ExcerptLine, style: Style): string[] {
	if ("leftOut" in line)
		return [style.dim(`        … ${counted(line.leftOut, "step")} (--full prints them)`)];
	const at = String(line.at).padStart(5);
	const changes = line.changes.map((change) => `          ${style.dim(change)}`);
	if (line.kind === "event") return [style.event(`⚡${at}  ${line.step}`), ...changes];
	if (line.kind === "violation") return [...wrap(style.bad(`► violated here: ${line.step}`), 8), ...changes];
	return [` ${at}  ${line.flow}: ${line.step}`, ...changes];
}

/** The documented JSON of a check. */
export function checkJson(results: readonly CheckResult[]): object {
	return { checks: results, footer: checkFooter(results) };
}

/** Columns of a mail. */
const MAIL_WIDTH = 72;

/** The line for below a patch's `---`; null unless all of the results hold, or if they are replays. */
export function checkFooter(results: readonly CheckResult[]): string | null {
	if (results.some(({ verdict, bounds }) => verdict !== "holds" || bounds.replayed)) return null;
	const points = results.reduce((sum, { bounds }) => sum + bounds.points, 0);
	// Of several vendors the configurations add up, as the points do.
	const counts = new Map<number, number>();
	for (const { eventsMax, configurations } of results.flatMap(({ bounds }) => bounds.searches))
		counts.set(eventsMax, (counts.get(eventsMax) ?? 0) + configurations.length);
	const events = [...counts].map(
		([eventsMax, count]) => `≤${counted(eventsMax, "event")} in ${counted(count, "configuration")}`,
	);
	const trees = [...new Set(results.map(({ tree }) => tree))].join(" ");
	const parts = [`reenter ${VERSION}`, trees, `${points} points`, ...events];
	// What does not fit goes on in a line that begins with a blank, as a mail's header does.
	const lines = ["Checked-by-model:"];
	for (const [at, part] of parts.entries()) {
		const text = ` ${part}${at === parts.length - 1 ? "" : ","}`;
		if (lines.at(-1)!.length + text.length > MAIL_WIDTH) lines.push(text);
		else lines[lines.length - 1] += text;
	}
	return lines.join("\n");
}
