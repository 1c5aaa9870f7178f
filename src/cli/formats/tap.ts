/** TAP version 14; a consumer of version 13 reads it too. */
import type { TestPoint } from "./points.ts";

/** A description in which nothing is taken for a directive. */
const description = (text: string) => text.replace(/[\\#]/g, "\\$&");
/** A YAML scalar: JSON's strings are YAML's. */
const scalar = (text: string) => JSON.stringify(text);

function yaml(details: TestPoint["details"]): string[] {
	const lines = Object.entries(details).flatMap(([field, value]) => {
		if (typeof value === "string") return [`${field}: ${scalar(value)}`];
		return value.length === 0 ? [`${field}: []`] : [`${field}:`, ...value.map((one) => `  - ${scalar(one)}`)];
	});
	return lines.length === 0 ? [] : ["  ---", ...lines.map((line) => `  ${line}`), "  ..."];
}

/** The points, numbered. A finding is `not ok … # todo`, which fails nothing. */
export function tapText(points: readonly TestPoint[]): string {
	const lines = ["TAP version 14", `1..${points.length}`];
	for (const [at, { suite, name, outcome, details }] of points.entries()) {
		const word = outcome === "ok" ? "ok" : "not ok";
		const directive = outcome === "finding" ? " # todo survived, not as it should be" : "";
		lines.push(`${word} ${at + 1} - ${description(`${suite}: ${name}`)}${directive}`, ...yaml(details));
	}
	return `${lines.join("\n")}\n`;
}
