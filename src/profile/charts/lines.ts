/** Charts of lines over a logarithmic axis. */
import { linearScale, logScale, shortNumber } from "./scale.ts";
import { at, CHARACTER, label, sheet } from "./sheet.ts";

/** A line and its name. */
export interface ChartLine {
	readonly name: string;
	readonly points: readonly (readonly [x: number, y: number])[];
}

export interface LineChart {
	readonly title: string;
	readonly description: string;
	/** What is measured, and its unit, on each axis. */
	readonly xAxis: string;
	readonly yAxis: string;
	readonly lines: readonly ChartLine[];
}

const WIDTH = 760;
const HEIGHT = 420;
const LEFT = 68;
const RIGHT = 28;
const LEGEND = 54;
const TOP = 72;
const FOOT = 56;
const DASHES = ["", "7 3", "2 3", "9 3 2 3"];

/** A marker around a place: a disc, a square, a triangle, a diamond. */
function marker(index: number, x: number, y: number): string {
	const fill = `fill="var(--c${index})"`;
	const corners = [[], [-4, -4, 4, -4, 4, 4, -4, 4], [0, -5, 5, 4, -5, 4], [0, -6, 5, 0, 0, 6, -5, 0]][
		index
	]!;
	if (corners.length === 0) return `<circle cx="${at(x)}" cy="${at(y)}" r="4" ${fill}/>`;
	const points = corners.map((value, place) => at(value + (place % 2 === 0 ? x : y))).join(" ");
	return `<polygon points="${points}" ${fill}/>`;
}

/** A sample of each line beside its name. */
function legend(lines: readonly ChartLine[]): string[] {
	let x = LEFT;
	return lines.flatMap(({ name }, index) => {
		const parts = [
			stroke(index, `${at(x)},${LEGEND - 4} ${at(x + 28)},${LEGEND - 4}`),
			marker(index, x + 14, LEGEND - 4),
		];
		parts.push(label(x + 34, LEGEND, name));
		x += 34 + name.length * CHARACTER + 18;
		return parts;
	});
}

function stroke(index: number, points: string): string {
	return `<polyline points="${points}" fill="none" stroke="var(--c${index})" stroke-width="2" stroke-dasharray="${DASHES[index]}"/>`;
}

/** The chart as an SVG file. */
export function lineChart(chart: LineChart): string {
	const { lines } = chart;
	const points = lines.flatMap((line) => line.points);
	const bottom = HEIGHT - FOOT;
	const x = logScale(
		points.map(([value]) => value),
		LEFT,
		WIDTH - RIGHT,
	);
	const y = linearScale(
		points.map(([, value]) => value),
		bottom,
		TOP,
	);
	const parts = legend(lines);
	for (const tick of y.ticks) {
		const height = at(y.place(tick));
		parts.push(
			`<line class="${tick === 0 ? "a" : "g"}" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${height}" y2="${height}"/>`,
			label(LEFT - 8, y.place(tick) + 4, String(tick), { anchor: "end", style: "d" }),
		);
	}
	for (const tick of x.ticks) {
		const place = at(x.place(tick));
		parts.push(
			`<line class="g" x1="${place}" x2="${place}" y1="${TOP}" y2="${bottom}"/>`,
			label(x.place(tick), bottom + 18, shortNumber(tick), { anchor: "middle", style: "d" }),
		);
	}
	parts.push(
		label((LEFT + WIDTH - RIGHT) / 2, bottom + 40, chart.xAxis, { anchor: "middle", style: "d" }),
		label(18, (TOP + bottom) / 2, chart.yAxis, { anchor: "middle", style: "d", turn: -90 }),
	);
	for (const [index, line] of lines.entries()) {
		const placed = line.points.map(([px, py]) => [x.place(px), y.place(py)] as const);
		parts.push(
			stroke(index, placed.map(([px, py]) => `${at(px)},${at(py)}`).join(" ")),
			...placed.map(([px, py]) => marker(index, px, py)),
		);
	}
	return sheet(WIDTH, HEIGHT, chart.title, chart.description, parts);
}
