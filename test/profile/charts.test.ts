import { describe, expect, it } from "vitest";
import { barChart } from "../../src/profile/charts/bars.ts";
import { lineChart } from "../../src/profile/charts/lines.ts";
import { linearScale, logScale } from "../../src/profile/charts/scale.ts";
import { findingsCharts } from "../../src/profile/findings/charts.ts";
import { type Findings, SHARE_GROUPS } from "../../src/profile/findings/run.ts";
import { findingsText } from "../../src/profile/findings/text.ts";

const BARS = {
	title: "a < b",
	description: "two rows",
	axis: "time, %",
	series: ["mail", "ours"],
	digits: 2,
	rows: [
		{ name: "vmx_vmexit", values: [10, 20] },
		{ name: "fput", values: [5, -2.5] },
	],
};
const LINES = {
	title: "by rate",
	description: "two lines",
	xAxis: "switches a second",
	yAxis: "time saved, %",
	lines: [
		{ name: "keys", points: [[1000, 0] as const, [100_000, 50] as const, [10_000_000, 100] as const] },
		{ name: "series", points: [[1000, 0] as const, [10_000_000, 5] as const] },
	],
};
const FINDINGS: Findings = {
	cpu: "a-model",
	hz: 2e9,
	gains: ["invd", "halt-poll"].map((workload, at) => ({
		workload,
		label: "",
		runs: 1 + 4 * at,
		baseCycles: 1000,
		seriesCycles: 770 + at * 200,
		gainPercent: 23 - 20 * at,
		spreadPercent: [23 - 20 * at, 23 - 19 * at],
		sharesPercent: SHARE_GROUPS.map(() => 25),
	})),
	rates: [100, 1000].map((workTurns) => ({
		workTurns,
		piecesPerSecond: 2e9 / workTurns,
		pages: { baseCycles: 17_000 + workTurns, seriesCycles: 16_000 + workTurns },
		keys: { baseCycles: 100 + workTurns, seriesCycles: 100 + workTurns },
	})),
	seeds: {
		"halt-poll": {
			rows: [{ symbol: "vmx_vmexit", seed: 15.65, ours: 20 }],
			rankCorrelation: 1,
			meanDifference: 4.35,
		},
	},
	withoutCauses: [
		{
			cause: "",
			workload: "halt-poll",
			comparison: {
				rows: [{ symbol: "vmx_vmexit", seed: 15.65, ours: 20 }],
				rankCorrelation: 1,
				meanDifference: 4.35,
			},
		},
	],
};

/** Throws if tags do not nest; attributes have quotes. */
function checkNesting(svg: string): void {
	const open: string[] = [];
	for (const [, close, name, attributes, empty] of svg.matchAll(
		/<(\/?)([a-z]+)((?:\s+[\w:-]+="[^"<]*")*)\s*(\/?)>/gi,
	)) {
		if (close === "/") {
			expect(attributes).toBe("");
			expect(open.pop()).toBe(name);
		} else if (empty === "") open.push(name!);
	}
	expect(open).toEqual([]);
	expect(svg.replace(/<\/?[a-z]+(?:\s+[\w:-]+="[^"<]*")*\s*\/?>/gi, "")).not.toContain("<");
}

describe("scales", () => {
	it("have round ticks that hold every figure, and 0", () => {
		for (const values of [[0.7, 23.4], [-0.1, 7], [100], [0], [-30, -2], [62.35, 3]]) {
			const { ticks, place } = linearScale(values, 0, 100);
			expect(ticks).toContain(0);
			expect(ticks.length).toBeGreaterThan(1);
			expect(ticks.length).toBeLessThan(10);
			expect(place(ticks[0]!)).toBeCloseTo(0, 9);
			expect(place(ticks.at(-1)!)).toBeCloseTo(100, 9);
			for (const value of values) {
				expect(value).toBeGreaterThanOrEqual(ticks[0]!);
				expect(value).toBeLessThanOrEqual(ticks.at(-1)!);
			}
		}
	});

	it("a logarithmic one has powers of ten at equal distances", () => {
		const { ticks, place } = logScale([6328, 7_786_885], 0, 400);
		expect(ticks).toEqual([1e3, 1e4, 1e5, 1e6, 1e7]);
		expect(ticks.map(place)).toEqual([0, 100, 200, 300, 400]);
	});
});

describe("charts", () => {
	const bars = barChart(BARS);
	const lines = lineChart(LINES);

	it("are well-formed SVG without scripts, outside files or fonts, with a title and a description", () => {
		for (const svg of [bars, lines, ...findingsCharts(FINDINGS).map((chart) => chart.svg)]) {
			checkNesting(svg);
			expect(svg).not.toMatch(/<script|href|@import|url\((?!#)/);
			expect(svg).toMatch(/<title id="title">.+<\/title>\n<desc id="desc">.+<\/desc>/);
		}
		expect(bars).toContain("a &#60; b");
	});

	it("are the same bytes for the same figures", () => {
		expect(barChart(BARS)).toBe(bars);
		expect(lineChart(LINES)).toBe(lines);
	});

	it("bars are as long as their figures, whichever way they point, and say them", () => {
		const widths = new Map(
			[...bars.matchAll(/<rect x="[\d.]+" y="[\d.]+" width="([\d.]+)"[^>]*><title>([^<]+)<\/title>/g)].map(
				([, width, title]) => [title, Number(width)],
			),
		);
		const unit = widths.get("vmx_vmexit, mail: 10.00")! / 10;
		expect(widths.get("vmx_vmexit, ours: 20.00")! / unit).toBeCloseTo(20, 1);
		expect(widths.get("fput, ours: -2.50")! / unit).toBeCloseTo(2.5, 1);
		for (const figure of ["10.00", "20.00", "5.00", "-2.50"]) expect(bars).toContain(`>${figure}</text>`);
	});

	it("stacked bars end where the next begins", () => {
		const svg = barChart({ ...BARS, rows: [{ name: "a", values: [30, 70] }], stacked: true });
		const [first, second] = [
			...svg.matchAll(/<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)"[^>]*><title>/g),
		].map((match) => [Number(match[1]), Number(match[2])] as const);
		expect(first![0] + first![1]).toBeCloseTo(second![0], 1);
		expect(second![1] / first![1]).toBeCloseTo(7 / 3, 2);
	});

	it("axes say what they measure, and in what unit; every series has a name in the legend", () => {
		for (const text of ["time, %", "mail", "ours"]) expect(bars).toContain(`>${text}</text>`);
		for (const text of ["switches a second", "time saved, %", "keys", "series", "10M"])
			expect(lines).toContain(`>${text}</text>`);
	});

	it("series differ without colour: every second fill is hatched, lines have dashes and markers of their own", () => {
		expect(bars).toContain('fill="url(#h1)"');
		const dashes = [...lines.matchAll(/stroke-dasharray="([^"]*)"/g)].map((match) => match[1]);
		expect(new Set(dashes).size).toBe(2);
		expect(lines).toMatch(/<circle[^>]*c0/);
		expect(lines).toMatch(/<polygon[^>]*c1/);
	});

	it("text has 4.5:1 on its background and data 3:1, in light and in dark", () => {
		const schemes = [...bars.matchAll(/svg\{([^}]*)\}/g)].map(
			([, list]) => new Map(list!.split(";").map((pair) => pair.split(":") as [string, string])),
		);
		expect(schemes.length).toBe(2);
		for (const scheme of schemes) {
			for (const [name, colour] of scheme) {
				const least = name === "--text" || name === "--dim" ? 4.5 : /^--c\d$/.test(name) ? 3 : 0;
				expect(contrast(colour, scheme.get("--back")!), name).toBeGreaterThanOrEqual(least);
			}
		}
	});
});

/** WCAG 2.2, "contrast ratio". */
function contrast(a: string, b: string): number {
	const luminance = (hex: string) => {
		const [red, green, blue] = [1, 3, 5].map((at) => {
			const value = Number.parseInt(hex.slice(at, at + 2), 16) / 255;
			return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
		});
		return 0.2126 * red! + 0.7152 * green! + 0.0722 * blue!;
	};
	const [dark, light] = [luminance(a), luminance(b)].sort((x, y) => x - y);
	return (light! + 0.05) / (dark! + 0.05);
}

describe("the page of findings", () => {
	it("shows each chart once, where its table is, by a link from the page; without charts none", () => {
		const charts = findingsCharts(FINDINGS);
		const text = findingsText(FINDINGS, charts, "img/");
		for (const { name } of charts) expect(text.split(`(img/${name})`).length, name).toBe(2);
		expect(findingsText(FINDINGS)).not.toContain("![");
	});

	it("says that the keys account for a gain only if they save more than the series at every rate", () => {
		expect(findingsText(FINDINGS)).toContain("At every rate the keys save more");
		const [first, second] = FINDINGS.rates;
		const reversed = { ...second!, keys: { baseCycles: 17_900, seriesCycles: 17_900 } };
		expect(findingsText({ ...FINDINGS, rates: [first!, reversed] })).toContain("cannot be told apart");
	});
});
