/** The table of `perf top` and `perf report`: symbols by their share of the host's time. */
import { type CallTreeData, type Weight, bySymbol, foldTree, nodeName } from "./call-tree.ts";
import { FRAME } from "./frames.ts";
import { modeLetter, type SharedObject, sharedObject } from "./symbols.ts";

/** One row. */
export interface ReportRow {
	readonly symbol: string;
	readonly object: SharedObject;
	/** k, ., g or H: symbols.ts, modeLetter(). */
	readonly mode: string;
	/** Share of all that is shown, in percent. */
	readonly overheadPercent: number;
	readonly weight: number;
}

/** What a report shows. */
export interface ReportOptions {
	/** Samples, as perf has them; or cycles, which are exact. Default samples. */
	readonly weight?: Weight;
	/** Functions that have no symbol. */
	readonly inlined: ReadonlySet<string>;
	/** Shows what ran in the guest. Default false, as `perf top`. */
	readonly guest?: boolean;
	/** Shows the processor's own work in frames of its own, where perf charges it to what stands behind it. Default: by cycles. */
	readonly hardware?: boolean;
}

/** The tree as a build with this inlining shows it. */
export function viewTree(tree: CallTreeData, inlined: ReadonlySet<string>, hardware: boolean): CallTreeData {
	const work: ReadonlySet<string> = new Set([FRAME.vmEntry, FRAME.vmExit]);
	return foldTree(tree, (name) => inlined.has(name) || (!hardware && work.has(name)));
}

/** The host's part of a tree, as perf has it that does not count guests: what ran in the guest, and waiting, weigh nothing. */
export function hostTree(tree: CallTreeData): CallTreeData {
	const kept = (weights: readonly number[]) =>
		weights.map((weight, node) => {
			const name = nodeName(tree, node);
			return name === FRAME.guest || name === FRAME.idle ? 0 : weight;
		});
	return { ...tree, samples: kept(tree.samples), cycles: kept(tree.cycles) };
}

/** Rows, heaviest first. */
export function reportRows(tree: CallTreeData, options: ReportOptions): ReportRow[] {
	const weight = options.weight ?? "samples";
	const view = viewTree(tree, options.inlined, options.hardware ?? weight === "cycles");
	const shown = bySymbol(view, weight).filter(
		({ name }) => name !== FRAME.idle && (options.guest === true || name !== FRAME.guest),
	);
	const sum = shown.reduce((total, row) => total + row.weight, 0);
	return shown.map((row) => ({
		symbol: row.name,
		object: sharedObject(row.name),
		mode: modeLetter(row.name),
		overheadPercent: (100 * row.weight) / sum,
		weight: row.weight,
	}));
}

/** The table as `perf top --stdio` prints it. @param entries rows at most */
export function reportText(rows: readonly ReportRow[], entries = Number.POSITIVE_INFINITY): string {
	const shown = rows.slice(0, entries);
	const objectWidth = Math.max("Shared Object".length, ...shown.map((row) => row.object.length));
	const lines = [`Overhead  ${"Shared Object".padEnd(objectWidth)}  Symbol`];
	for (const row of shown) {
		const overhead = `${row.overheadPercent.toFixed(2)}%`.padStart(8);
		lines.push(`${overhead}  ${row.object.padEnd(objectWidth)}  [${row.mode}] ${row.symbol}`);
	}
	return `${lines.join("\n")}\n`;
}
