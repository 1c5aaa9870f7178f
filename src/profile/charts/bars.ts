/** Charts of horizontal bars: one or several a row beside each other, or stacked. */
import { linearScale } from "./scale.ts";
import { at, CHARACTER, fillOf, label, sheet } from "./sheet.ts";

/** A row of bars. */
export interface BarRow {
	readonly name: string;
	/** One figure for each of the chart's series. */
	readonly values: readonly number[];
	/** Least and greatest of what each figure is a mean of. */
	readonly spread?: readonly (readonly [least: number, greatest: number])[];
}

export interface BarChart {
	readonly title: string;
	readonly description: string;
	/** What is measured, and its unit. */
	readonly axis: string;
	/** Names of the series, for the legend; one alone has none. */
	readonly series: readonly string[];
	readonly rows: readonly BarRow[];
	/** Lays the figures of a row behind each other instead of below each other. */
	readonly stacked?: boolean;
	/** Decimals of the figures at the bars. */
	readonly digits: number;
}

const WIDTH = 760;
const TOP = 44;
const LEGEND = 24;
const FOOT = 48;
const BAR = 15;
const GAP = 9;
const MARGIN = 16;
/** Room for a figure right of the longest bar. */
const FIGURE = 64;

function legend(series: readonly string[], left: number, y: number): string[] {
	let x = left;
	return series.flatMap((name, index) => {
		const mark = `<rect x="${at(x)}" y="${at(y - 10)}" width="12" height="12" fill="${fillOf(index)}" stroke="var(--c${index})"/>`;
		const text = label(x + 17, y, name);
		x += 17 + name.length * CHARACTER + 20;
		return [mark, text];
	});
}

/** The chart as an SVG file. */
export function barChart(chart: BarChart): string {
	const { series, rows, stacked = false, digits } = chart;
	const left = MARGIN + Math.max(...rows.map(({ name }) => name.length)) * CHARACTER + 10;
	const top = TOP + (series.length > 1 ? LEGEND : 0);
	const barsInRow = stacked ? 1 : series.length;
	const rowHeight = barsInRow * BAR + GAP;
	const bottom = top + rows.length * rowHeight;
	const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
	const held = rows.flatMap((row) => [
		...(stacked ? [sum(row.values)] : row.values),
		...(row.spread ?? []).flat(),
	]);
	const scale = linearScale(held, left, WIDTH - MARGIN - FIGURE);
	const zero = scale.place(0);
	const parts = series.length > 1 ? legend(series, left, TOP + 10) : [];
	for (const tick of scale.ticks) {
		const x = at(scale.place(tick));
		parts.push(`<line class="${tick === 0 ? "a" : "g"}" x1="${x}" x2="${x}" y1="${top}" y2="${bottom}"/>`);
		parts.push(label(scale.place(tick), bottom + 16, String(tick), { anchor: "middle", style: "d" }));
	}
	parts.push(
		label((zero + WIDTH - MARGIN - FIGURE) / 2, bottom + 36, chart.axis, { anchor: "middle", style: "d" }),
	);
	const bar = (from: number, to: number, y: number, index: number, title: string) =>
		`<rect x="${at(Math.min(from, to))}" y="${at(y)}" width="${at(Math.max(Math.abs(to - from), 1))}" height="${BAR - 2}" fill="${fillOf(index)}" stroke="var(--c${index})"><title>${title}</title></rect>`;
	for (const [place, row] of rows.entries()) {
		const y = top + place * rowHeight + GAP / 2;
		parts.push(label(left - 8, y + (barsInRow * BAR) / 2 + 3, row.name, { anchor: "end" }));
		let stack = 0;
		for (const [index, value] of row.values.entries()) {
			const figure = value.toFixed(digits);
			const title = `${row.name}${series.length > 1 ? `, ${series[index]}` : ""}: ${figure}`;
			if (stacked) {
				parts.push(bar(scale.place(stack), scale.place(stack + value), y, index, title));
				stack += value;
				continue;
			}
			const barY = y + index * BAR;
			parts.push(bar(zero, scale.place(value), barY, index, title));
			const spread = row.spread?.[index];
			const end = scale.place(Math.max(value, spread?.[1] ?? value, 0));
			if (spread !== undefined && spread[1] > spread[0])
				parts.push(whisker(scale.place(spread[0]), end, barY));
			parts.push(label(end + 6, barY + BAR - 4, figure));
		}
	}
	return sheet(WIDTH, bottom + FOOT, chart.title, chart.description, parts);
}

function whisker(from: number, to: number, y: number): string {
	const middle = at(y + (BAR - 2) / 2);
	const ends = [from, to].map((x) => `M${at(x)} ${at(y + 2)}V${at(y + BAR - 4)}`).join("");
	return `<path class="w" d="M${at(from)} ${middle}H${at(to)}${ends}" stroke="var(--text)" fill="none"/>`;
}
