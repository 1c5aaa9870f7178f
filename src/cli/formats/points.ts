/** Results as test points: what TAP and JUnit XML are made of. */
import type { CheckResult, Violation } from "../../check/types.ts";
import { scheduleText } from "../../check/schedule.ts";
import { GUEST_ENDS, HOST_FAULT, HOST_INVARIANT, PROPERTIES } from "../../check/properties/properties.ts";

/** One thing that was tested. */
export interface TestPoint {
	/** What it was tested on: `series-v1 on tdx`. */
	readonly suite: string;
	readonly name: string;
	/** `finding`: not as it should be, and no failure. */
	readonly outcome: "ok" | "failed" | "finding";
	/** What there is to say of it, by field. */
	readonly details: Readonly<Record<string, string | readonly string[]>>;
}

const NAMES: readonly string[] = [
	...PROPERTIES.map(({ name }) => name),
	HOST_FAULT,
	HOST_INVARIANT,
	GUEST_ENDS,
];

/** One point for each property and each thing that must be reached, on each vendor. */
export function checkPoints(results: readonly CheckResult[]): readonly TestPoint[] {
	return results.flatMap((result) => {
		const suite = `${result.tree} on ${result.module ?? result.vendor}`;
		const properties = NAMES.map((name): TestPoint => {
			const violation = result.violations.find(({ property }) => property === name);
			const finding = result.findings.find(({ property }) => property === name);
			if (violation !== undefined) return { suite, name, outcome: "failed", details: detailsOf(violation) };
			if (finding !== undefined) return { suite, name, outcome: "finding", details: detailsOf(finding) };
			return { suite, name, outcome: "ok", details: {} };
		});
		const sometimes = Object.entries(result.sometimes).map(([what, count]): TestPoint => {
			const name = `sometimes ${what}`;
			if (count > 0) return { suite, name, outcome: "ok", details: {} };
			return { suite, name, outcome: "failed", details: { message: "never reached: the check is vacuous" } };
		});
		return result.bounds.replayed ? properties : [...properties, ...sometimes];
	});
}

function detailsOf({ summary, callStack, replay, schedule }: Violation): TestPoint["details"] {
	const events = schedule.map((one) => scheduleText([one]));
	return { message: summary, events, "call trace": callStack, replay };
}
