/**
 * The Informal Trace Format of Apalache (ADR 015): `#meta`, `vars`, and `states`, of which each gives every variable.
 * One file is one trace: that of the least counterexample.
 */
import type { CheckResult, Violation } from "../../check/types.ts";
import { traceStates, untilViolated } from "./states.ts";

type ItfValue = string | boolean | { readonly "#bigint": string };

/** Numbers as big integers, on and off as booleans, the rest as it is. */
function value(text: string): ItfValue {
	if (/^(0x[0-9a-f]+|\d+)$/.test(text)) return { "#bigint": BigInt(text).toString() };
	if (text === "on" || text === "yes") return true;
	if (text === "off" || text === "no") return false;
	return text;
}

/** A name that TLA+ takes. */
const variable = (name: string) => name.replace(/\W+/g, "_").replace(/^_|_$/g, "");

/** The least counterexample: fewest events, then the earliest. */
function least(results: readonly CheckResult[]): { result: CheckResult; violation: Violation } | null {
	const all = results.flatMap((result) =>
		[...result.violations, ...result.findings].map((violation) => ({ result, violation })),
	);
	const rank = ({ result, violation }: (typeof all)[number]) =>
		(result.violations.includes(violation) ? 0 : 1e9) +
		violation.schedule.length * 1e6 +
		(violation.schedule[0]?.at ?? 0);
	return all.reduce<(typeof all)[number] | null>(
		(best, one) => (best === null || rank(one) < rank(best) ? one : best),
		null,
	);
}

/** A check's least counterexample as ITF; without one there are no states. */
export function itfText(results: readonly CheckResult[]): string {
	const found = least(results);
	const names = found === null ? [] : Object.keys(found.violation.initial);
	const trace = found === null ? [] : untilViolated(found.violation);
	const states =
		found === null
			? []
			: traceStates({ ...found.violation, trace }).map(({ line, state }, index) => ({
					"#meta": { index },
					op: { "#bigint": String(line.at) },
					flow: line.flow,
					step: line.step,
					kind: line.kind,
					...Object.fromEntries(names.map((name) => [variable(name), value(state[name]!)])),
				}));
	const meta = {
		format: "ITF",
		"format-description": "https://apalache-mc.org/docs/adr/015adr-trace.html",
		...(found === null
			? { description: "no counterexample" }
			: {
					source: `${found.result.tree} on ${found.result.module ?? found.result.vendor}`,
					description: found.violation.summary,
					property: found.violation.property,
					replay: found.violation.replay,
				}),
	};
	const vars = found === null ? [] : ["op", "flow", "step", "kind", ...names.map(variable)];
	return `${JSON.stringify({ "#meta": meta, vars, states }, null, "\t")}\n`;
}
