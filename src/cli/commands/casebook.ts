/** `reenter casebook`. */
import { type CaseResult, isAsTold } from "../../check/casebook.ts";
import type { HistoryCase } from "../../kvm/trees/history/case.ts";
import { HISTORY } from "../../kvm/trees/history/cases.ts";
import { hint } from "../../kvm/flow/patch.ts";
import { defaultModel } from "../../silicon/models/models.ts";
import type { CommonOptions, Context } from "../context.ts";
import { EXIT, UsageError } from "../io.ts";
import { emit, progressLine } from "../output.ts";
import type { Registry } from "../registry.ts";
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

function casebookCommand(context: Context, names: readonly string[], options: CommonOptions): number {
	const { io, services, style } = context;
	const entries = chosen(names);
	const pairs = entries.flatMap((entry) => entry.vendors.map((vendor) => ({ entry, vendor })));
	const progress = progressLine(io, "casebook");
	const results: CaseResult[] = pairs.map(({ entry, vendor }, done) => {
		progress(done, pairs.length);
		return services.runCase(entry, vendor, defaultModel(vendor));
	});
	progress(pairs.length, pairs.length);
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
	).action(action((names: string[], options: CommonOptions) => casebookCommand(context, names, options)));
}
