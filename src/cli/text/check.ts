/** The text of `reenter check`. */
import type { CheckResult, TraceLine, Violation } from "../../check/types.ts";
import type { Style } from "../style.ts";
import { wrap } from "./format.ts";

/** Steps before the event that a counterexample shows. */
const CONTEXT_LINES = 3;

/** One check as text. @param full every step, also those in which nothing changed */
export function checkText(result: CheckResult, style: Style, full: boolean): string {
	const { bounds } = result;
	const verdict = result.verdict === "holds" ? style.good("✔ holds") : style.bad("✘ violated");
	const lines = [`${style.bold(result.tree)}  ${result.module ?? result.vendor}  ${result.cpu}  ${verdict}`];
	const shown = new Set<string>();
	const add = (violation: Violation, word: string) => {
		lines.push("", ...violationLines(violation, word, style, full, shown.has(violation.replay)));
		shown.add(violation.replay);
	};
	for (const violation of result.violations) add(violation, "violated");
	for (const finding of result.findings) add(finding, "finding");
	lines.push("");
	if (bounds.replayed) {
		lines.push(`  replayed one schedule on guest ${bounds.guest}: ${bounds.exits} VM exits`);
		return `${lines.join("\n")}\n`;
	}
	for (const [what, count] of Object.entries(result.sometimes)) {
		lines.push(`  sometimes ${what}: ${count === 0 ? "never reached" : `reached ${count} times`}`);
	}
	lines.push(
		`  checked: no event, and one event at a time of ${bounds.kinds.join(", ")}`,
		`           at each of ${bounds.points} ops of guest ${bounds.guest}: ${bounds.runs} runs, ${bounds.exits} VM exits`,
		`           ${bounds.configurations.join("; ")}; #MC handler ${bounds.mceHandler}`,
		"  not checked: two events in one run, SMIs, several vCPUs, other guest configurations",
	);
	return `${lines.join("\n")}\n`;
}

/** @param seen the run's steps were printed already, for another property that it violates */
function violationLines(
	violation: Violation,
	word: string,
	style: Style,
	full: boolean,
	seen: boolean,
): string[] {
	const lines = [style.bad(`${word}: ${violation.property}`), ...wrap(violation.summary, 2), ""];
	if (seen) lines.push("  in the run above");
	else for (const line of chooseLines(violation.trace, full)) lines.push(...traceLines(line, style));
	if (violation.callStack.length > 0) lines.push("", "  Call Trace:");
	for (const name of violation.callStack) lines.push(`   ${name}`);
	lines.push(`  replay: ${violation.replay}`);
	return lines;
}

/** From shortly before the event to the violation; of the rest, steps that changed something. */
function chooseLines(trace: readonly TraceLine[], full: boolean): readonly TraceLine[] {
	if (full) return trace;
	const event = trace.findIndex(({ kind }) => kind === "event");
	const failed = trace.findIndex(({ kind }) => kind === "violation");
	const end = failed < 0 ? trace.length : failed + 1;
	const start = Math.max(0, event - CONTEXT_LINES);
	return trace.slice(start, end);
}

function traceLines(line: TraceLine, style: Style): string[] {
	const at = String(line.at).padStart(5);
	const changes = line.changes.map((change) => `          ${style.dim(change)}`);
	if (line.kind === "event") return [style.event(`⚡${at}  ${line.step}`), ...changes];
	if (line.kind === "violation") return [...wrap(style.bad(`► violated here: ${line.step}`), 8), ...changes];
	return [` ${at}  ${line.flow}: ${line.step}`, ...changes];
}

/** The documented JSON of a check. */
export function checkJson(results: readonly CheckResult[]): object {
	return { checks: results };
}
