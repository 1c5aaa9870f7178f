/**
 * The question of the series' mail: a database got faster when protection keys were enabled. Was that the XCR0 loads that
 * the series saves, or the keys themselves? This runs the workloads; text.ts and charts.ts show what came out.
 */
import { findTree } from "../../kvm/trees/trees.ts";
import type { CpuModel } from "../../silicon/models/model.ts";
import { type Comparison, compareWithSeed, SEED_TABLES } from "../compare.ts";
import { type Recording, record } from "../record.ts";
import { type ReportRow, reportRows } from "../report.ts";
import { inlinedSymbols } from "../symbols.ts";
import type { Workload } from "../workloads/workload.ts";
import { findWorkload } from "../workloads/workloads.ts";

/** A workload on the tree before and after the series. Time is from the guest's start to its end, on its first CPU. */
export interface SeriesGain {
	readonly workload: string;
	readonly label: string;
	/** How often it was run, each time with CPUs taking turns otherwise; 1 for workloads of one CPU. */
	readonly runs: number;
	/** Means. */
	readonly baseCycles: number;
	readonly seriesCycles: number;
	readonly gainPercent: number;
	/** Least and greatest gain of a run. */
	readonly spreadPercent: readonly [least: number, greatest: number];
	/** Samples on v6.18 by group, in percent, in the order of `SHARE_GROUPS`. */
	readonly sharesPercent: readonly number[];
}

/** Guarding memory at one rate. Cycles are of one piece of guarded work, means of all runs. */
export interface GuardRate {
	/** Turns of the guest's loop that a piece of work is. */
	readonly workTurns: number;
	/** Pieces a second, guarded by protection keys on v6.18. */
	readonly piecesPerSecond: number;
	readonly pages: { readonly baseCycles: number; readonly seriesCycles: number };
	readonly keys: { readonly baseCycles: number; readonly seriesCycles: number };
}

/** A table of the seed, compared while one cause is left out of the model. */
export interface WithoutCause {
	/** What is left out; "" for nothing. */
	readonly cause: string;
	readonly workload: string;
	readonly comparison: Comparison;
}

export interface Findings {
	readonly cpu: string;
	/** Cycles a second. */
	readonly hz: number;
	readonly gains: readonly SeriesGain[];
	readonly rates: readonly GuardRate[];
	readonly seeds: Readonly<Record<string, Comparison>>;
	/** Of runs that are a quarter as long. */
	readonly withoutCauses: readonly WithoutCause[];
}

const WORKLOADS = [
	"halt-poll",
	"mmu-stress",
	"timer-userspace",
	"invd",
	"pkeys",
	"page-permissions",
] as const;
const BASE = "v6.18";
const SERIES = "series-v2";
const PERIOD_CYCLES = 499;
/** Seeds of how several CPUs take turns: one order alone may favour a tree by chance. */
const SEEDS = [1, 2, 3, 4, 5] as const;
const RATE_SEEDS = [1, 2, 3] as const;

/** Turns of work between two switches: from a few hundred cycles to some hundred thousand. */
const WORK_TURNS = [100, 500, 2000, 10_000, 50_000, 200_000] as const;
/** Pieces of work in a run: enough for a mean, and fewer of long ones. */
const piecesOf = (workTurns: number) => Math.max(10, Math.min(60, Math.round(500_000 / workTurns)));

/** What `perf top` shows, in four groups. */
export const SHARE_GROUPS = [
	"vmx_vmexit",
	"swaps of XCR0, XSS and PKRU",
	"waiting for locks",
	"all else",
] as const;

function groupOf(symbol: string): number {
	if (symbol === "vmx_vmexit") return 0;
	if (/^kvm_load_(guest|host)_xsave_state$/.test(symbol)) return 1;
	return /^queued_(spin|write|read)_lock_slowpath$/.test(symbol) ? 2 : 3;
}

function sharesOf(rows: readonly ReportRow[]): number[] {
	const shares = SHARE_GROUPS.map(() => 0);
	for (const { symbol, overheadPercent } of rows) shares[groupOf(symbol)]! += overheadPercent;
	return shares;
}

/** What a tree saves of what another took, in percent. */
export function savedPercent(before: number, after: number): number {
	return (100 * (before - after)) / before;
}

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

type Run = (workload: Workload, tree: string, seed: number, more?: { iterations: number }) => Recording;

function gainOf(run: Run, name: string, base: Recording): SeriesGain {
	const workload = findWorkload(name);
	const cpus = workload.vcpus + (workload.moreCpus ?? 0);
	const seeds = cpus === 1 ? SEEDS.slice(0, 1) : SEEDS;
	const cyclesOf = (tree: string) => seeds.map((seed) => run(workload, tree, seed).cyclesByCpu[0]!);
	const before = cyclesOf(BASE);
	const after = cyclesOf(SERIES);
	const gains = before.map((cycles, at) => savedPercent(cycles, after[at]!));
	return {
		workload: name,
		label: workload.label,
		runs: seeds.length,
		baseCycles: mean(before),
		seriesCycles: mean(after),
		gainPercent: savedPercent(mean(before), mean(after)),
		spreadPercent: [Math.min(...gains), Math.max(...gains)],
		sharesPercent: sharesOf(rowsOf(base)),
	};
}

const rowsOf = (base: Recording) =>
	reportRows(base.calls, { inlined: inlinedSymbols(findTree(BASE), "kernel") });

/** The guest prints the cycles of a piece, by its own RDTSC: free of booting and of starting processors. */
function pieceCycles({ console }: Recording): number {
	const printed = /^pkeys (\d+)$/m.exec(console);
	if (printed === null) throw new Error(`pkeys did not print its cycles: ${console}`);
	return Number(printed[1]);
}

function rateOf(run: Run, workTurns: number, hz: number): GuardRate {
	const both = (name: string) => {
		const workload = findWorkload(name);
		const parameters = { ...workload.parameters, quiet: false, workTurns };
		const cycles = (tree: string) =>
			mean(
				RATE_SEEDS.map((seed) =>
					pieceCycles(run({ ...workload, parameters }, tree, seed, { iterations: piecesOf(workTurns) })),
				),
			);
		return { baseCycles: cycles(BASE), seriesCycles: cycles(SERIES) };
	};
	const keys = both("pkeys");
	return { workTurns, piecesPerSecond: hz / keys.baseCycles, pages: both("page-permissions"), keys };
}

/** What the tables of the seed come from besides the steps that are executed, and a workload without it; null: it has none of it. */
const CAUSES: readonly (readonly [cause: string, without: (workload: Workload) => Workload | null])[] = [
	["", (workload) => workload],
	[
		"PEBS' MSRs, which perf's sampling makes KVM switch",
		(one) => (one.perfTop ? { ...one, perfTop: false } : null),
	],
	[
		"misses of first-level caches that the guest fills",
		(one) => (one.evicts ? { ...one, evicts: false } : null),
	],
	[
		"stores of the guest that a VM exit waits for",
		(one) => (one.streams ? { ...one, streams: false } : null),
	],
	[
		"lines of the cache that other CPUs' ticks write",
		(one) => (one.kernel?.tickHz === undefined ? null : { ...one, kernel: { ...one.kernel, tickHz: 0 } }),
	],
];

function withoutCauses(record: (workload: Workload, iterations: number) => Recording): WithoutCause[] {
	return CAUSES.flatMap(([cause, without]) =>
		Object.entries(SEED_TABLES).flatMap(([name, table]) => {
			const workload = without(findWorkload(name));
			if (workload === null) return [];
			const rows = rowsOf(record(workload, Math.ceil(workload.iterations / 4)));
			return [{ cause, workload: name, comparison: compareWithSeed(table, rows) }];
		}),
	);
}

/** Runs everything. @param model one with VMX, as the mail's machine */
export function pkuFindings(model: CpuModel): Findings {
	const shared = { vendor: "vmx", model, periodCycles: PERIOD_CYCLES } as const;
	const run: Run = (workload, tree, seed, more = { iterations: workload.iterations }) =>
		record({ ...shared, workload, tree: findTree(tree), seed, profile: false, ...more });
	const seeds: Record<string, Comparison> = {};
	const gains = WORKLOADS.map((name) => {
		const base = record({ ...shared, workload: findWorkload(name), tree: findTree(BASE) });
		const table = SEED_TABLES[name];
		if (table !== undefined) seeds[name] = compareWithSeed(table, rowsOf(base));
		return gainOf(run, name, base);
	});
	const rates = WORK_TURNS.map((workTurns) => rateOf(run, workTurns, model.tscHz));
	const causes = withoutCauses((workload, iterations) =>
		record({ ...shared, workload, iterations, tree: findTree(BASE) }),
	);
	return { cpu: model.name, hz: model.tscHz, gains, rates, seeds, withoutCauses: causes };
}
