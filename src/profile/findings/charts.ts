/** The findings as charts: SVG files by name. */
import { barChart } from "../charts/bars.ts";
import { lineChart } from "../charts/lines.ts";
import { type Findings, SHARE_GROUPS, savedPercent } from "./run.ts";

/** A file of a chart, and what stands in its place where it cannot be shown. */
export interface ChartFile {
	readonly name: string;
	readonly alternative: string;
	readonly svg: string;
}

function sharesChart({ gains }: Findings): ChartFile {
	const title = "Samples of the host on v6.18, by workload";
	return {
		name: "findings-shares.svg",
		alternative: title,
		svg: barChart({
			title,
			description: "Stacked bars: VM exits, swaps of XCR0, XSS and PKRU, waiting for locks, and all else.",
			axis: "share of the host's samples, %",
			series: SHARE_GROUPS,
			rows: gains.map(({ workload, sharesPercent }) => ({ name: workload, values: sharesPercent })),
			stacked: true,
			digits: 1,
		}),
	};
}

function seriesChart({ gains }: Findings): ChartFile {
	const title = "What the series saves of each workload's time";
	return {
		name: "findings-series.svg",
		alternative: title,
		svg: barChart({
			title,
			description: "Bars with the spread over runs. Only the loop of INVD gains much.",
			axis: "time saved by series-v2, %; whiskers: least and greatest run",
			series: ["series-v2"],
			rows: gains.map(({ workload, gainPercent, spreadPercent }) => ({
				name: workload,
				values: [gainPercent],
				spread: [spreadPercent],
			})),
			digits: 2,
		}),
	};
}

function keysChart({ rates }: Findings): ChartFile {
	const title = "What each change saves of guarded work, by its rate";
	const lineOf = (name: string, saved: (rate: Findings["rates"][number]) => number) => ({
		name,
		points: [...rates].reverse().map((rate) => [rate.piecesPerSecond, saved(rate)] as const),
	});
	return {
		name: "findings-keys.svg",
		alternative: title,
		svg: lineChart({
			title,
			description:
				"Lines over the rate of pieces of guarded work: keys instead of page permissions save more and more, the series little.",
			xAxis: "pieces of guarded work a second, with protection keys",
			yAxis: "time saved, %",
			lines: [
				lineOf("keys instead of page permissions", ({ pages, keys }) =>
					savedPercent(pages.baseCycles, keys.baseCycles),
				),
				lineOf("series, with page permissions", ({ pages }) =>
					savedPercent(pages.baseCycles, pages.seriesCycles),
				),
				lineOf("series, with keys", ({ keys }) => savedPercent(keys.baseCycles, keys.seriesCycles)),
			],
		}),
	};
}

function seedCharts({ seeds }: Findings): ChartFile[] {
	return Object.entries(seeds).map(([workload, { rows }]) => {
		const title = `${workload}: the mail's table beside ours`;
		return {
			name: `findings-${workload}.svg`,
			alternative: title,
			svg: barChart({
				title,
				description: "Pairs of bars, one pair a symbol of the mail's table.",
				axis: "overhead, %",
				series: ["mail", "ours"],
				rows: rows.map(({ symbol, seed, ours }) => ({ name: symbol, values: [seed, ours] })),
				digits: 2,
			}),
		};
	});
}

/** All charts. */
export function findingsCharts(findings: Findings): ChartFile[] {
	return [sharesChart(findings), seriesChart(findings), keysChart(findings), ...seedCharts(findings)];
}
