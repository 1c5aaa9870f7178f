/** The casebook as test points: each case before its fix and behind it, on each of its vendors. */
import type { CaseResult } from "../../check/casebook.ts";
import { configurationName } from "../../check/configuration.ts";
import { scheduleText } from "../../check/schedule.ts";
import type { TestPoint } from "./points.ts";

/** Two points a case and vendor. */
export function casebookPoints(results: readonly CaseResult[]): readonly TestPoint[] {
	return results.flatMap((result): TestPoint[] => {
		const { entry, vendor, left } = result;
		const suite = `${entry.name} on ${vendor}`;
		const fix = `${entry.fix.commits[0]} (${entry.fix.date})`;
		const behind = left.map(({ property, detail }) => `${property}: ${detail}`);
		return [
			beforeFix(result, suite, `${entry.shows.property} is reported before ${fix}`),
			behind.length === 0
				? { suite, name: `nothing is reported behind ${fix}`, outcome: "ok", details: {} }
				: {
						suite,
						name: `nothing is reported behind ${fix}`,
						outcome: "failed",
						details: { message: behind[0]!, violations: behind },
					},
		];
	});
}

function beforeFix({ found, bounds }: CaseResult, suite: string, name: string): TestPoint {
	if (found === null)
		return { suite, name, outcome: "failed", details: { message: "not found before the fix", bounds } };
	const { failure, schedule, configuration, untold } = found;
	const details = {
		message: untold.length === 0 ? failure.detail : `the counterexample does not tell ${untold.join(", ")}`,
		events: schedule.map((one) => scheduleText([one])),
		configuration: configurationName(configuration),
		"call trace": failure.callStack,
	};
	return { suite, name, outcome: untold.length === 0 ? "ok" : "failed", details };
}
