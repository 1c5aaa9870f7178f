/** `reenter casebook`. */
import { Option } from "commander";
import { CASE_BOUNDS, type CaseBounds, type CaseResult, isAsTold } from "../../check/casebook.ts";
import type { HistoryCase } from "../../kvm/trees/history/case.ts";
import { HISTORY } from "../../kvm/trees/history/cases.ts";
import { hint } from "../../kvm/flow/patch.ts";
import type { CommonOptions, Context } from "../context.ts";
import { EXIT, UsageError } from "../io.ts";
import { casebookPoints } from "../formats/casebook-points.ts";
import { junitText } from "../formats/junit.ts";
import { tapText } from "../formats/tap.ts";
import { emitText } from "../output.ts";
import { checkProgress } from "../progress.ts";
import { type JobsArguments, jobsOption, type Registry } from "../registry.ts";
import { caseText, casebookJson, casebookText } from "../text/casebook.ts";

function chosen(names: readonly string[]): readonly HistoryCase[] {
	if (names.length === 0) return HISTORY;
	return names.map((name) => {
		const entry = HISTORY.find((candidate) => candidate.name === name);
		if (entry !== undefined) return entry;
		const all = HISTORY.map((candidate) => candidate.name);
		throw new UsageError(`no case "${name}"${hint(name, all)} (reenter casebook lists them)`);
	});
}

const FORMATS = ["text", "json", "tap", "junit"] as const;

interface CasebookArguments extends CommonOptions, JobsArguments {
	readonly bounds: CaseBounds;
	readonly format?: (typeof FORMATS)[number];
}

async function casebookCommand(
	context: Context,
	names: readonly string[],
	options: CasebookArguments,
): Promise<number> {
	const { io, services } = context;
	const entries = chosen(names);
	const pairs = entries.flatMap((entry) => entry.vendors.map((vendor) => ({ entry, vendor })));
	const results = await services.runCases(io, pairs, options.bounds, {
		threads: options.jobs ?? services.threads,
		onProgress: checkProgress(context, "the casebook"),
	});
	emitText(io, options, () => textOf(context, results, names.length > 0, options));
	return results.every(isAsTold) ? EXIT.holds : EXIT.violated;
}

function textOf(
	{ style }: Context,
	results: readonly CaseResult[],
	isChosen: boolean,
	options: CasebookArguments,
): string {
	const format = options.json === true ? "json" : (options.format ?? "text");
	switch (format) {
		case "text":
			return isChosen
				? results.map((result) => caseText(result, style)).join("\n")
				: casebookText(results, style);
		case "json":
			return `${JSON.stringify(casebookJson(results), null, "\t")}\n`;
		case "tap":
			return tapText(casebookPoints(results));
		case "junit":
			return junitText("reenter casebook", casebookPoints(results));
		default:
			return format satisfies never;
	}
}

/** Adds `reenter casebook`. */
export function registerCasebook({ context, command, action }: Registry): void {
	command(
		"casebook [case...]",
		"bugs of KVM's past: each is reported before its fix, and not behind it; a case tells its story",
	)
		.addOption(
			new Option(
				"--bounds <bounds>",
				"own: the events and the configuration that a case names; default: those of reenter check, minutes",
			)
				.choices(CASE_BOUNDS)
				.default("own"),
		)
		.addOption(new Option("--format <format>", "how results are printed (docs/check.md)").choices(FORMATS))
		.addOption(jobsOption())
		.action(
			action((names: string[], options: CasebookArguments) => casebookCommand(context, names, options)),
		);
}
