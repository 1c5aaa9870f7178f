/** The text of `reenter casebook`. */
import { type CaseResult, isAsTold } from "../../check/casebook.ts";
import { configurationName } from "../../check/configuration.ts";
import { scheduleText } from "../../check/schedule.ts";
import type { Injection } from "../../check/types.ts";
import type { Style } from "../style.ts";
import { wrap } from "./format.ts";

/** `irq-fpu@197`, `td-busy@60,preempt@72`; a dash for none. */
const eventsText = (schedule: readonly Injection[]) => (schedule.length === 0 ? "–" : scheduleText(schedule));

function cells(result: CaseResult): readonly string[] {
	const { entry, vendor, found, left } = result;
	return [
		entry.name,
		vendor,
		entry.state,
		`${entry.fix.commits[0]} ${entry.fix.date}`,
		found === null ? "not found" : entry.shows.property,
		found === null ? "" : eventsText(found.schedule),
		left.length === 0 ? "holds" : left.map(({ property }) => property).join(", "),
		String(result.eventsMax),
		String(result.runs),
		found === null ? "" : configurationName(found.configuration),
	];
}

const HEAD = [
	"case",
	"vendor",
	"state",
	"fix",
	"before the fix",
	"events",
	"behind it",
	"k",
	"schedules",
	"configuration",
];

const NUMBERS = new Set(["k", "schedules"]);

/** All cases as a table, and what did not come out as told. */
export function casebookText(results: readonly CaseResult[], style: Style): string {
	const rows = [HEAD, ...results.map(cells)];
	const widths = HEAD.map((_, at) => Math.max(...rows.map((row) => row[at]!.length)));
	const lines = rows.map((row) =>
		row
			.map((cell, at) => (NUMBERS.has(HEAD[at]!) ? cell.padStart(widths[at]!) : cell.padEnd(widths[at]!)))
			.join("  ")
			.trimEnd(),
	);
	lines[0] = style.bold(lines[0]!);
	const wrong = results.filter((result) => !isAsTold(result));
	const names = new Set(results.map(({ entry }) => entry.name));
	const states = new Set(results.map(({ entry }) => entry.state));
	lines.push(
		"",
		wrong.length === 0
			? style.good(
					`✔ ${names.size} bugs of ${states.size} kinds of state: reported before the fix, none behind it${results[0]?.bounds === "default" ? ", within the default bounds" : ""}`,
				)
			: style.bad(
					`✘ not as told: ${wrong.map(({ entry, vendor }) => `${entry.name} on ${vendor}`).join(", ")}`,
				),
	);
	return `${lines.join("\n")}\n`;
}

/** One case with its story and its counterexample. */
export function caseText(result: CaseResult, style: Style): string {
	const { entry, vendor, found, left } = result;
	const lines = [
		style.bold(
			`${entry.name}  ${vendor}  ${entry.fix.commits.join(", ")}  ${entry.fix.date}  ${entry.fix.author}`,
		),
		...wrap(entry.title, 2),
		"",
		...wrap(entry.story, 2),
	];
	if (entry.differs !== "") lines.push("", ...wrap(`Here: ${entry.differs}`, 2));
	lines.push("");
	if (found === null) lines.push(style.bad("  ✘ not found before the fix"));
	else {
		lines.push(
			`  before: ${style.bad(found.failure.property)}, events: ${eventsText(found.schedule)}`,
			...wrap(found.failure.detail, 4),
			"  Call Trace:",
			...found.failure.callStack.map((name) => `   ${name}`),
		);
		for (const pattern of found.untold) lines.push(style.bad(`  ✘ does not tell ${pattern}`));
	}
	lines.push(
		left.length === 0 ? "  behind the fix: holds" : style.bad(`  ✘ behind the fix: ${left[0]!.detail}`),
	);
	const configuration = found === null ? "default" : configurationName(found.configuration);
	if (configuration !== "default") lines.push(`  configuration: ${configuration}`);
	lines.push(`  reenter diff ${entry.name}-before ${entry.name}-after`);
	return `${lines.join("\n")}\n`;
}

/** The documented JSON. */
export function casebookJson(results: readonly CaseResult[]): object {
	return {
		cases: results.map(({ entry, vendor, found, left, bounds, eventsMax, runs }) => ({
			name: entry.name,
			title: entry.title,
			vendor,
			state: entry.state,
			fix: entry.fix,
			property: entry.shows.property,
			events: entry.shows.events,
			configuration: entry.shows.configuration,
			before:
				found === null
					? null
					: {
							schedule: found.schedule,
							configuration: configurationName(found.configuration),
							detail: found.failure.detail,
							trace: found.trace,
						},
			behind: left.map(({ property, detail }) => ({ property, detail })),
			bounds,
			eventsMax,
			runs,
		})),
	};
}
