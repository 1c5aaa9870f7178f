/** `reenter casebook`. */
import { isAsTold } from "../../check/casebook.ts";
import type { HistoryCase } from "../../kvm/trees/history/case.ts";
import { HISTORY } from "../../kvm/trees/history/cases.ts";
import { hint } from "../../kvm/flow/patch.ts";
import type { CommonOptions, Context } from "../context.ts";
import { EXIT, UsageError } from "../io.ts";
import { emit } from "../output.ts";
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

async function casebookCommand(
	context: Context,
	names: readonly string[],
	options: CommonOptions & JobsArguments,
): Promise<number> {
	const { io, services, style } = context;
	const entries = chosen(names);
	const pairs = entries.flatMap((entry) => entry.vendors.map((vendor) => ({ entry, vendor })));
	const results = await services.runCases(io, pairs, {
		threads: options.jobs ?? services.threads,
		onProgress: checkProgress(context, "the casebook"),
	});
	const text = () =>
		names.length === 0
			? casebookText(results, style)
			: results.map((result) => caseText(result, style)).join("\n");
	emit(io, options, text, () => casebookJson(results));
	return results.every(isAsTold) ? EXIT.holds : EXIT.violated;
}

/** Adds `reenter casebook`. */
export function registerCasebook({ context, command, action }: Registry): void {
	command(
		"casebook [case...]",
		"bugs of KVM's past: each is reported before its fix, and not behind it; a case tells its story",
	)
		.addOption(jobsOption())
		.action(
			action((names: string[], options: CommonOptions & JobsArguments) =>
				casebookCommand(context, names, options),
			),
		);
}
