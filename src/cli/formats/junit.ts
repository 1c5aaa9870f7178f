/** JUnit XML, as CI systems read it. */
import type { TestPoint } from "./points.ts";

const ENTITIES: Readonly<Record<string, string>> = {
	"&": "&amp;",
	"<": "&lt;",
	">": "&gt;",
	'"': "&quot;",
	"\n": "&#10;",
	"\t": "&#9;",
};

/** Text of an element or attribute. What XML 1.0 cannot hold becomes U+FFFD. */
function xml(text: string): string {
	return (
		text
			// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what XML has no place for
			.replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, "\ufffd")
			.replace(/[&<>"\n\t]/g, (character) => ENTITIES[character]!)
	);
}

function detailsText(details: TestPoint["details"]): string {
	return Object.entries(details)
		.map(([field, value]) =>
			typeof value === "string"
				? `${field}: ${value}`
				: `${field}:\n${value.map((one) => `  ${one}`).join("\n")}`,
		)
		.join("\n");
}

function testcase({ suite, name, outcome, details }: TestPoint): string[] {
	const open = `    <testcase classname="${xml(suite)}" name="${xml(name)}"`;
	if (outcome === "ok") return [`${open}/>`];
	const text = xml(detailsText(details)).replaceAll("&#10;", "\n");
	if (outcome === "finding") return [`${open}>`, `      <system-out>${text}</system-out>`, "    </testcase>"];
	const message = xml(typeof details.message === "string" ? details.message : name);
	return [`${open}>`, `      <failure message="${message}">${text}</failure>`, "    </testcase>"];
}

/** The points as one file, a suite for each of theirs. @param name of the whole */
export function junitText(name: string, points: readonly TestPoint[]): string {
	const suites = new Map<string, TestPoint[]>();
	for (const point of points) suites.set(point.suite, [...(suites.get(point.suite) ?? []), point]);
	const failed = (list: readonly TestPoint[]) => list.filter(({ outcome }) => outcome === "failed").length;
	const lines = [
		'<?xml version="1.0" encoding="UTF-8"?>',
		`<testsuites name="${xml(name)}" tests="${points.length}" failures="${failed(points)}">`,
	];
	for (const [suite, list] of suites) {
		lines.push(
			`  <testsuite name="${xml(suite)}" tests="${list.length}" failures="${failed(list)}">`,
			...list.flatMap(testcase),
			"  </testsuite>",
		);
	}
	return `${[...lines, "</testsuites>"].join("\n")}\n`;
}
