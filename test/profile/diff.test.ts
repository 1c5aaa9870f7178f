import { describe, expect, it } from "vitest";
import { type DiffOptions, diffRows, diffText } from "../../src/profile/diff.ts";
import type { ReportRow } from "../../src/profile/report.ts";

/** Periods of two runs of dash that perf 6.1 recorded and compared, with their totals. */
const TOTALS = { base: 61_000_000, data: 58_000_000 };
const rowsOf = (periods: Readonly<Record<string, number>>, total: number): ReportRow[] =>
	Object.entries(periods).map(([symbol, weight]) => ({
		symbol,
		object: "[kernel]",
		mode: "k",
		weight,
		overheadPercent: (100 * weight) / total,
	}));
const BASE = rowsOf({ strpbrk: 500_000, strcmp: 14_000_000, malloc: 1_000_000, only: 250_000 }, TOTALS.base);
const DATA = rowsOf({ strpbrk: 3_000_000, strcmp: 14_250_000, malloc: 250_000, plt: 500_000 }, TOTALS.data);

const valuesOf = (options: DiffOptions) =>
	diffRows(BASE, DATA, options).map(({ symbol, value }) => [
		symbol,
		value === null ? null : Math.round(value * 100) / 100,
	]);

describe("the difference of two recordings", () => {
	it("delta-abs: what perf diff computed, by how much it changed; a symbol that is gone has no delta", () => {
		expect(valuesOf({ method: "delta-abs" })).toEqual([
			["strpbrk", 4.35],
			["strcmp", 1.62],
			["malloc", -1.21],
			["plt", 0.86],
			["only", null],
		]);
	});

	it("delta: those that grew first", () => {
		expect(valuesOf({ method: "delta" }).map(([symbol]) => symbol)).toEqual([
			"strpbrk",
			"strcmp",
			"plt",
			"malloc",
			"only",
		]);
	});

	it("ratio and wdiff: as perf diff has them, for symbols of both", () => {
		expect(valuesOf({ method: "ratio" })).toEqual([
			["strpbrk", 6],
			["strcmp", 1.02],
			["malloc", 0.25],
			["only", null],
			["plt", null],
		]);
		expect(valuesOf({ method: "wdiff", weights: [1, 2] }).slice(0, 2)).toEqual([
			["strcmp", 14_500_000],
			["strpbrk", 5_500_000],
		]);
	});

	it("ordered by the baseline on request", () => {
		const rows = diffRows(BASE, DATA, { method: "delta-abs", byBaseline: true });
		expect(rows.map(({ symbol }) => symbol)).toEqual(["strcmp", "malloc", "strpbrk", "only", "plt"]);
	});

	it("is printed in perf diff's columns", () => {
		const options = { method: "delta-abs", cyclesPerWeight: [1, 1] } as const;
		expect(
			diffText(diffRows(BASE, DATA, options), options)
				.split("\n")
				.slice(0, 7),
		).toEqual([
			"# Event 'cycles'",
			"#",
			"# Baseline  Delta Abs  Shared Object  Symbol",
			"# ........  .........  .............  ...........",
			"#",
			"     0.82%     +4.35%  [kernel]       [k] strpbrk",
			"    22.95%     +1.62%  [kernel]       [k] strcmp",
		]);
		const periods = diffText(diffRows(BASE, DATA, options), { ...options, periods: true });
		expect(periods).toContain("   0.82%          500000     +4.35%         3000000  [kernel]");
		expect(periods).toContain("                       0     +0.86%          500000  [kernel]       [k] plt");
	});
});
