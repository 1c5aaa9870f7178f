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
	/** Another program found it, and this one did not look again: that one's key. */
	readonly carriedFrom?: string;
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

/** Survivors by judgement and reason, whichever rows have them, as far as their judgement is asked for. */
function byReason(
	tallies: readonly Tally[],
	judgements: readonly JudgementKind[],
): readonly (readonly [SurvivorRow, readonly Judged[]])[] {
	const lists = new Map<string, [SurvivorRow, Judged[]]>();
	for (const { judged } of tallies)
		for (const one of judged) {
			if (one.caught !== null || one.row === undefined || !judgements.includes(one.row.judgement)) continue;
			const key = `${one.row.judgement} ${one.row.reason}`;
			const list = lists.get(key) ?? [one.row, []];
			list[1].push(one);
			lists.set(key, list);
		}
	return [...lists.values()].sort(
		([a], [b]) => judgements.indexOf(a.judgement) - judgements.indexOf(b.judgement),
	);
}

/** One line a step: what was done to it. Names are `flow: step mutation[, place]`. */
function folded(list: readonly Judged[]): string[] {
	const steps = new Map<string, Set<string>>();
	for (const { name } of list) {
		const [, step, mutation] = /^(.*?) ((?:deleted|twice|earlier|later|always|never)(?:, .*)?)$/.exec(name)!;
		steps.set(step!, (steps.get(step!) ?? new Set()).add(mutation!));
	}
	return [...steps]
		.sort(([a], [b]) => (a < b ? -1 : 1))
		.map(([step, mutations]) => `- ${step}: ${[...mutations].sort().join("; ")}`);
}

const distinct = (list: readonly Judged[]): number => new Set(list.map(({ name }) => name)).size;

/** The holes: each reason with its mutants. */
export function holes(tallies: readonly Tally[]): string {
	return byReason(tallies, ["hole"])
		.map(([{ reason }, list]) => [`**${reason}**`, "", ...folded(list)].join("\n"))
		.join("\n\n");
}

/** The survivors that are no holes, by reason: how many mutants, of how many steps. The list has them one by one. */
export function harmless(tallies: readonly Tally[]): string {
	const rows = byReason(tallies, ["performance", "equivalent"]).map(
		([{ judgement, reason }, list]) =>
			`| ${judgement} | ${reason} | ${folded(list).length} | ${distinct(list)} | ${list.length} |`,
	);
	return [
		"| judgement | reason | steps | mutants | on all trees and vendors |",
		"|---|---|---:|---:|---:|",
		...rows,
	].join("\n");
}

/** All survivors, one line a step. */
export function survivorsList(tallies: readonly Tally[]): string {
	return byReason(tallies, ["hole", "performance", "equivalent"])
		.map(([{ judgement, reason }, list]) => [`**${judgement}**: ${reason}`, "", ...folded(list)].join("\n"))
		.join("\n\n");
}

/** How close survivors were looked at, and by which program. @param program the key of the one that reports */
export function provenance(tallies: readonly Tally[], program: string): string {
	const lines = [
		"| vendor | run by this program | carried over, caught | carried over, survivors | survivors with two events | with one event |",
		"|---|---:|---:|---:|---:|---:|",
	];
	for (const vendor of new Set(tallies.map((one) => one.vendor))) {
		const all = tallies.filter((one) => one.vendor === vendor).flatMap(({ judged }) => judged);
		const count = (test: (one: Judged) => boolean) => all.filter(test).length;
		const cells = [
			count(({ carriedFrom }) => carriedFrom === undefined),
			count(({ carriedFrom, caught }) => carriedFrom !== undefined && caught !== null),
			count(({ carriedFrom, caught }) => carriedFrom !== undefined && caught === null),
			count(({ caught, effort }) => caught === null && effort === "close"),
			count(({ caught, effort }) => caught === null && effort === "quick"),
		];
		lines.push(`| ${vendor} | ${cells.join(" | ")} |`);
	}
	const from = new Set(
		tallies.flatMap(({ judged }) => judged.flatMap(({ carriedFrom }) => carriedFrom ?? [])),
	);
	return [
		`Program ${program}${from.size === 0 ? "" : `; carried over from ${[...from].join(", ")}`}:`,
		"",
		...lines,
	].join("\n");
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
