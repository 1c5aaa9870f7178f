/**
 * What `perf diff` says of two recordings (tools/perf/builtin-diff.c; the forms are those of perf 6.1): each symbol's
 * overhead in the baseline, and what became of it.
 *
 *     diffRows(reportRows(base.calls, options), reportRows(data.calls, options), { method: "delta-abs" })
 */
import type { ReportRow } from "./report.ts";

/** perf diff's -c. */
export type DiffMethod = "delta" | "delta-abs" | "ratio" | "wdiff";

export interface DiffOptions {
	readonly method: DiffMethod;
	/** wdiff's weights, of the baseline and of the other. Default 1, 1. */
	readonly weights?: readonly [baseline: number, data: number];
	/** Orders rows by the baseline's overhead instead of by what was computed: perf diff's -o 0. */
	readonly byBaseline?: boolean;
}

/** A symbol of either recording. */
export interface DiffRow {
	readonly symbol: string;
	readonly object: string;
	readonly mode: string;
	/** Null for a symbol that the baseline does not have. */
	readonly baselinePercent: number | null;
	/** Null for one that the other recording does not have. */
	readonly percent: number | null;
	/** Weights: samples or cycles. */
	readonly baselineWeight: number;
	readonly weight: number;
	/** By the method: percentage points, a ratio, or a weighted difference. Null where it cannot be computed. */
	readonly value: number | null;
}

function compute(
	base: ReportRow | undefined,
	data: ReportRow | undefined,
	{ method, weights = [1, 1] }: DiffOptions,
): number | null {
	switch (method) {
		case "delta":
		case "delta-abs":
			return data === undefined ? null : data.overheadPercent - (base?.overheadPercent ?? 0);
		case "ratio":
			return data === undefined || base === undefined ? null : data.weight / base.weight;
		case "wdiff":
			return data === undefined || base === undefined
				? null
				: data.weight * weights[1] - base.weight * weights[0];
		default:
			return method satisfies never;
	}
}

/** What rows are ordered by; rows without a value come last. */
function rank(row: DiffRow, { method, byBaseline }: DiffOptions): number {
	if (byBaseline === true) return row.baselinePercent ?? Number.NEGATIVE_INFINITY;
	if (row.value === null) return Number.NEGATIVE_INFINITY;
	return method === "delta-abs" ? Math.abs(row.value) : row.value;
}

/** Compares two reports. @param base the baseline's rows @param data the other's */
export function diffRows(
	base: readonly ReportRow[],
	data: readonly ReportRow[],
	options: DiffOptions,
): DiffRow[] {
	const before = new Map(base.map((row) => [row.symbol, row]));
	const after = new Map(data.map((row) => [row.symbol, row]));
	const rows = [...new Set([...before.keys(), ...after.keys()])].map((symbol): DiffRow => {
		const [old, now] = [before.get(symbol), after.get(symbol)];
		const { object, mode } = (old ?? now)!;
		return {
			symbol,
			object,
			mode,
			baselinePercent: old?.overheadPercent ?? null,
			percent: now?.overheadPercent ?? null,
			baselineWeight: old?.weight ?? 0,
			weight: now?.weight ?? 0,
			value: compute(old, now, options),
		};
	});
	const orderOf = new Map(rows.map((row) => [row, rank(row, options)]));
	const order = (row: DiffRow) => orderOf.get(row)!;
	const tie = (row: DiffRow) => row.baselinePercent ?? 0;
	return rows.sort((a, b) => {
		if (order(a) !== order(b)) return order(a) < order(b) ? 1 : -1;
		return tie(b) - tie(a) || (a.symbol < b.symbol ? -1 : 1);
	});
}

/** A column: its head, its width, and its text for a row. */
interface Column {
	readonly head: string;
	readonly width: number;
	readonly text: (row: DiffRow) => string;
}

const HEADS: Readonly<Record<DiffMethod, readonly [head: string, width: number]>> = {
	delta: ["Delta", 7],
	"delta-abs": ["Delta Abs", 9],
	ratio: ["Ratio", 14],
	wdiff: ["Weighted diff", 14],
};

function valueText(method: DiffMethod, value: number | null): string {
	if (value === null) return "";
	if (method === "ratio") return value.toFixed(6);
	return method === "wdiff" ? String(Math.round(value)) : `${value < 0 ? "" : "+"}${value.toFixed(2)}%`;
}

/** How a table of differences is printed. */
export interface DiffTextOptions extends DiffOptions {
	/** What one weight stands for in cycles: the period for samples, 1 for cycles. */
	readonly cyclesPerWeight: readonly [baseline: number, data: number];
	/** Shows the periods of both: perf diff's -p. */
	readonly periods?: boolean;
}

/** The table as `perf diff` prints it. */
export function diffText(rows: readonly DiffRow[], options: DiffTextOptions): string {
	const { method, cyclesPerWeight, periods = false } = options;
	const [head, width] = HEADS[method];
	const cycles = (weight: number, at: 0 | 1) => String(Math.round(weight * cyclesPerWeight[at]));
	const columns: Column[] = [
		{
			head: "Baseline",
			width: 8,
			text: ({ baselinePercent: share }) => (share === null ? "" : `${share.toFixed(2)}%`),
		},
		...(periods
			? [{ head: "Base period", width: 14, text: (row: DiffRow) => cycles(row.baselineWeight, 0) }]
			: []),
		{ head, width, text: ({ value }) => valueText(method, value) },
		...(periods ? [{ head: "Period", width: 14, text: (row: DiffRow) => cycles(row.weight, 1) }] : []),
	];
	const objectWidth = Math.max("Shared Object".length, ...rows.map(({ object }) => object.length));
	const symbolWidth = Math.max("Symbol".length, ...rows.map(({ symbol }) => symbol.length + 4));
	const figures = (cell: (column: Column) => string) => columns.map(cell).join("  ");
	const lines = [
		"# Event 'cycles'",
		"#",
		`# ${figures((column) => column.head.padStart(column.width))}  ${"Shared Object".padEnd(objectWidth)}  Symbol`,
		`# ${figures((column) => ".".repeat(column.width))}  ${".".repeat(objectWidth)}  ${".".repeat(symbolWidth)}`,
		"#",
	];
	for (const row of rows) {
		const text = figures((column) => column.text(row).padStart(column.width));
		lines.push(`  ${text}  ${row.object.padEnd(objectWidth)}  [${row.mode}] ${row.symbol}`);
	}
	return `${lines.join("\n")}\n`;
}
