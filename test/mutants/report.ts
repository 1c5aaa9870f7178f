/** What `npm run mutants` prints, and docs/mutants.md. */
import type { Vendor } from "../../src/silicon/models/model.ts";
import type { Caught, Effort } from "./judge.ts";
import type { JudgementKind, SurvivorRow } from "./survivors.ts";

/** What came of one mutant. */
export interface MutantResult {
	readonly tree: string;
	readonly vendor: Vendor;
	readonly name: string;
	/** How it was caught; null: it survived. */
	readonly caught: Caught | null;
	/** No run comes to what was changed. */
	readonly unreached: boolean;
	/** How close it was looked at. */
	readonly effort: Effort;
	/** The engine threw what is no rule of hardware or kernel. */
	readonly crash?: string;
}

/** A result with the row that judges it. */
export interface Judged extends MutantResult {
	readonly row: SurvivorRow | undefined;
}

/** Results of one tree on one vendor. */
export interface Tally {
	readonly tree: string;
	readonly vendor: Vendor;
	/** Mutants that there are, those that were not run among them. */
	readonly all: number;
	/** Of plain instructions: the tree does the same. */
	readonly plain: number;
	readonly judged: readonly Judged[];
}

const survivors = (tally: Tally, judgement: JudgementKind): number =>
	tally.judged.filter(({ caught, row }) => caught === null && row?.judgement === judgement).length;
const caughtBy = (tally: Tally): number => tally.judged.filter(({ caught }) => caught !== null).length;

/** Survivors that no row judges, and mutants at which the engine threw: they fail the command. */
export function complaints(tallies: readonly Tally[]): string[] {
	return tallies.flatMap(({ tree, vendor, judged }) =>
		judged.flatMap(({ name, caught, row, crash, effort }) => {
			if (crash !== undefined)
				return [`${tree} on ${vendor}: ${name}: the engine threw: ${crash.split("\n")[0]}`];
			if (caught !== null || row !== undefined) return [];
			return [
				effort === "quick"
					? `${tree} on ${vendor}: ${name}: survives a quick look, and no row judges it: run it without --quick`
					: `${tree} on ${vendor}: ${name}: survives, and test/mutants/survivors.ts has no row for it`,
			];
		}),
	);
}

/** Caught, of those that are no equivalent and no matter of speed alone. */
function rate(caught: number, holes: number): string {
	const all = caught + holes;
	return all === 0 ? "–" : `${((100 * caught) / all).toFixed(1)} %`;
}

/** The table: one row a tree and vendor. */
export function table(tallies: readonly Tally[]): string {
	const lines = [
		"| tree | vendor | mutants | plain instructions | run | caught | equivalent | performance | holes | caught of those that matter |",
		"|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
	];
	const cells = (tree: string, vendor: string, list: readonly Tally[]) => {
		const sum = (read: (tally: Tally) => number) => list.reduce((total, one) => total + read(one), 0);
		const [caught, holes] = [sum(caughtBy), sum((one) => survivors(one, "hole"))];
		const numbers = [
			sum(({ all }) => all),
			sum(({ plain }) => plain),
			sum(({ judged }) => judged.length),
			caught,
			sum((one) => survivors(one, "equivalent")),
			sum((one) => survivors(one, "performance")),
			holes,
		];
		return `| ${tree} | ${vendor} | ${numbers.join(" | ")} | ${rate(caught, holes)} |`;
	};
	for (const tally of tallies) lines.push(cells(tally.tree, tally.vendor, [tally]));
	if (tallies.length > 1) lines.push(cells("all", "", tallies));
	return lines.join("\n");
}

/** Survivors by the row that judges them. */
export function survivorsTable(tallies: readonly Tally[]): string {
	const byRow = new Map<SurvivorRow, Judged[]>();
	for (const { judged } of tallies)
		for (const one of judged)
			if (one.caught === null && one.row !== undefined)
				byRow.set(one.row, [...(byRow.get(one.row) ?? []), one]);
	const order: readonly JudgementKind[] = ["hole", "performance", "equivalent"];
	const rows = [...byRow].sort(([a], [b]) => order.indexOf(a.judgement) - order.indexOf(b.judgement));
	return rows
		.map(([row, list]) => {
			const names = [...new Set(list.map(({ name }) => name))].sort();
			const head = `**${row.judgement}**: ${row.reason}`;
			return [head, "", ...names.map((name) => `- ${name}`)].join("\n");
		})
		.join("\n\n");
}

/** Which properties caught how many. */
export function catchers(tallies: readonly Tally[]): string {
	const counts = new Map<string, number>();
	for (const { judged } of tallies)
		for (const { caught } of judged) {
			if (caught === null) continue;
			const by = caught.by.startsWith("vacuous") ? "nothing violated, something never reached" : caught.by;
			counts.set(by, (counts.get(by) ?? 0) + 1);
		}
	const rows = [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
	return ["| caught by | mutants |", "|---|---:|", ...rows.map(([by, count]) => `| ${by} | ${count} |`)].join(
		"\n",
	);
}
