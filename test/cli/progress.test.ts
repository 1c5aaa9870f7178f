import { expect, it } from "vitest";
import { checkProgress } from "../../src/cli/progress.ts";
import { SERVICES } from "../../src/cli/services.ts";
import { makeStyle } from "../../src/cli/style.ts";
import { processIo } from "../../src/cli/process-io.ts";

/** Erases what is right of the cursor. */
const CLEAR = "\x1b[K";

function linesOf(progressColumns: number | null): string[] {
	const lines: string[] = [];
	const io = { ...processIo, progressColumns, err: (text: string) => void lines.push(text) };
	let seconds = 0;
	const services = { ...SERVICES, clock: { ...SERVICES.clock, now: () => seconds++ * 1e9 } };
	const tell = checkProgress({ io, services, style: makeStyle(false) }, "v6.18 on vmx, svm, tdx");
	for (const done of [0.1, 0.5, 1]) tell({ done, schedules: 1e5 * done, states: 5e6 * done });
	return lines;
}

it("the line that says how far a check is fits a terminal, and is gone at the end", () => {
	expect(linesOf(null)).toEqual([]);
	const said = linesOf(200)[1]!;
	expect(said.slice(1, -CLEAR.length)).toMatch(
		/^checking v6\.18 .*50 %, 50 k schedules, 2\.5 M states, .*s left$/,
	);
	const widths = linesOf(40).map((line) => {
		expect(line.startsWith("\r") && line.endsWith(CLEAR)).toBe(true);
		return line.length - 1 - CLEAR.length;
	});
	expect(widths).toEqual([39, 39, 0]);
});
