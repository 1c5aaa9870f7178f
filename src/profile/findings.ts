/**
 * The question of the series' mail: a database got faster when protection keys were enabled. Was that the XCR0 loads that
 * the series saves, or the keys themselves? `reenter explain pku` runs the workloads and answers.
 */
import { findTree } from "../kvm/trees/trees.ts";
import type { CpuModel } from "../silicon/models/model.ts";
import { type Comparison, compareWithSeed, SEED_TABLES } from "./compare.ts";
import { type Recording, record } from "./record.ts";
import { reportRows } from "./report.ts";
import { inlinedSymbols } from "./symbols.ts";
import { findWorkload } from "./workloads/workloads.ts";

/** A workload on the tree before and after the series. */
export interface SeriesGain {
	readonly workload: string;
	readonly label: string;
	/** Time from the guest's start to its end, in cycles of CPU 0. */
	readonly baseCycles: number;
	readonly seriesCycles: number;
	readonly gainPercent: number;
}

export interface Findings {
	readonly cpu: string;
	readonly gains: readonly SeriesGain[];
	/** Cycles of one piece of guarded work, by page permissions and by protection keys, both on v6.18. */
	readonly keys: { readonly pageCycles: number; readonly keyCycles: number; readonly gainPercent: number };
	readonly seeds: Readonly<Record<string, Comparison>>;
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

const percent = (before: number, after: number) => (100 * (before - after)) / before;

/** Runs everything. @param model one with VMX, as the mail's machine */
export function pkuFindings(model: CpuModel): Findings {
	const run = (name: string, tree: string, profile: boolean, iterations?: number): Recording =>
		record({
			workload: findWorkload(name),
			tree: findTree(tree),
			vendor: "vmx",
			model,
			profile,
			periodCycles: 499,
			...(iterations === undefined ? {} : { iterations }),
		});
	const seeds: Record<string, Comparison> = {};
	const gains = WORKLOADS.map((name): SeriesGain => {
		const table = SEED_TABLES[name];
		const base = run(name, BASE, table !== undefined);
		if (table !== undefined) {
			const rows = reportRows(base.calls, { inlined: inlinedSymbols(findTree(BASE), "kernel") });
			seeds[name] = compareWithSeed(table, rows);
		}
		const baseCycles = base.cyclesByCpu[0]!;
		const seriesCycles = run(name, SERIES, false).cyclesByCpu[0]!;
		const { label } = findWorkload(name);
		return {
			workload: name,
			label,
			baseCycles,
			seriesCycles,
			gainPercent: percent(baseCycles, seriesCycles),
		};
	});
	// The difference of two lengths of run is free of booting and of starting processors.
	const each = (name: string) => {
		const { iterations } = findWorkload(name);
		const [short, long] = [iterations, 2 * iterations].map(
			(count) => run(name, BASE, false, count).cyclesByCpu[0]!,
		);
		return (long! - short!) / iterations;
	};
	const [pageCycles, keyCycles] = [each("page-permissions"), each("pkeys")];
	return {
		cpu: model.name,
		gains,
		keys: { pageCycles, keyCycles, gainPercent: percent(pageCycles, keyCycles) },
		seeds,
	};
}

/** The findings as Markdown. */
export function findingsText({ cpu, gains, keys, seeds }: Findings): string {
	const lines = [
		"# Protection keys or XCR0 loads?",
		"",
		`Printed by \`reenter explain pku\`: vmx, ${cpu}, cycles modelled ([costs.md](costs.md)).`,
		"",
		"A database got faster with protection keys enabled. Either the guest gained from the XCR0 loads that the series takes out",
		"of the fastpath, or it uses the keys. Each workload runs on v6.18 and on series-v2; time is that of the guest's first CPU.",
		"",
		"| workload | v6.18, cycles | series-v2, cycles | the series saves |",
		"|---|---:|---:|---:|",
		...gains.map(
			(row) =>
				`| \`${row.workload}\` | ${Math.round(row.baseCycles)} | ${Math.round(row.seriesCycles)} | ${row.gainPercent.toFixed(2)} % |`,
		),
		"",
		"One piece of work on guarded memory, on v6.18:",
		"",
		"| by | cycles |",
		"|---|---:|",
		`| page permissions, INVLPG and a shoot-down | ${Math.round(keys.pageCycles)} |`,
		`| protection keys | ${Math.round(keys.keyCycles)} |`,
		"",
	];
	const other = gains.filter(({ workload }) => workload !== "invd");
	const most = other.reduce((best, row) => (row.gainPercent > best.gainPercent ? row : best));
	const invd = gains.find(({ workload }) => workload === "invd")!;
	lines.push(
		`The series gives ${invd.gainPercent.toFixed(1)} % to the loop of INVD, and at most ${most.gainPercent.toFixed(1)} % (\`${most.workload}\`) to the others. ` +
			`Keys instead of page permissions save ${keys.gainPercent.toFixed(1)} % of each piece of guarded work.`,
		keys.gainPercent > most.gainPercent
			? "These workloads do nothing but exit, or nothing but switch; an application does other things in between, and its gain is a fraction of these. A gain that an application sees is therefore not the series', unless it halts and wakes all the time; it can be the keys', if it switches often."
			: "So with these workloads the two cannot be told apart.",
		"",
		"## The seed's tables beside ours",
		"",
		"The mail labels only the second table. No cost was fitted to any of them; the shapes of the workloads were chosen by the",
		"symbols, as [profile.md](profile.md) says.",
	);
	for (const [name, seed] of Object.entries(seeds)) {
		lines.push(
			"",
			`### ${name}`,
			"",
			"| symbol | mail | ours |",
			"|---|---:|---:|",
			...seed.rows.map(
				(row) => `| \`${row.symbol}\` | ${row.seed.toFixed(2)} % | ${row.ours.toFixed(2)} % |`,
			),
			"",
			`Rank correlation ${seed.rankCorrelation.toFixed(2)}, mean absolute difference ${seed.meanDifference.toFixed(2)} points.`,
		);
	}
	return `${lines.join("\n")}\n`;
}
