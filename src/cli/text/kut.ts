/** What `reenter kut` prints: lines as kvm-unit-tests' runner's, TAP, and JUnit's XML. */
import type { KutResult } from "../../review/kut/plan.ts";
import type { Style } from "../style.ts";

/** `PASS name (N tests)`, `SKIP name (reason)`. */
export function kutLine({ status, name, detail }: KutResult, style: Style): string {
	const color = { PASS: style.good, FAIL: style.bad, SKIP: style.event }[status];
	return `${color(status)} ${name}${detail === "" ? "" : ` (${detail})`}\n`;
}

/** How many of each. */
export function kutCounts(results: readonly KutResult[]): string {
	const count = (status: KutResult["status"]) => results.filter((result) => result.status === status).length;
	return `${results.length} tests: ${count("PASS")} passed, ${count("FAIL")} failed, ${count("SKIP")} skipped\n`;
}

/** The reports of a test's log, one line each, as "PASS: what" and the like. */
function reports(log: string): { readonly status: string; readonly what: string }[] {
	return log.split(/\r?\n/).flatMap((line) => {
		const match = /^(PASS|FAIL|SKIP|XPASS|XFAIL|KFAIL): (.*)$/.exec(line);
		return match === null ? [] : [{ status: match[1]!, what: match[2]! }];
	});
}

/** TAP version 13: a line for each report of each test, and one for a test that has none. */
export function kutTap(results: readonly KutResult[]): string {
	const lines: string[] = [];
	const add = (ok: boolean, what: string) =>
		lines.push(`${ok ? "ok" : "not ok"} ${lines.length + 1} - ${what.replaceAll("#", "\\#")}`);
	for (const { name, status, detail, log } of results) {
		const found = reports(log);
		for (const report of found) {
			const skip = report.status === "SKIP" ? " # skip" : "";
			add(report.status !== "FAIL", `${name}: ${report.what}`);
			lines[lines.length - 1] += skip;
		}
		if (status === "FAIL" && !found.some((report) => report.status === "FAIL"))
			add(false, `${name}: ${detail}`);
		else if (found.length === 0) {
			add(true, name);
			if (status === "SKIP") lines[lines.length - 1] += ` # skip ${detail}`;
		}
	}
	return `TAP version 13\n1..${lines.length}\n${lines.map((line) => `${line}\n`).join("")}`;
}

function xml(text: string): string {
	return (
		text
			.replace(/[&<>"]/g, (char) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[char]!)
			// biome-ignore lint/suspicious/noControlCharactersInRegex: XML 1.0 has no place for them
			.replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f]/g, "\ufffd")
	);
}

/** JUnit's XML: a case for each test. */
export function kutJunit(results: readonly KutResult[]): string {
	const count = (status: KutResult["status"]) => results.filter((result) => result.status === status).length;
	const cases = results.map(({ name, status, detail, seconds, log }) => {
		const inner =
			status === "PASS"
				? ""
				: status === "SKIP"
					? `<skipped message="${xml(detail)}"/>`
					: `<failure message="${xml(detail)}">${xml(log)}</failure>`;
		return `\t<testcase classname="kvm-unit-tests" name="${xml(name)}" time="${seconds.toFixed(3)}">${inner}</testcase>\n`;
	});
	return `<?xml version="1.0" encoding="UTF-8"?>\n<testsuite name="kvm-unit-tests" tests="${results.length}" failures="${count("FAIL")}" skipped="${count("SKIP")}">\n${cases.join("")}</testsuite>\n`;
}
