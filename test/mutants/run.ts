/**
 * `npm run mutants`: judges the mutants of the trees that are known good, keeps what was found below build/, so that it can be
 * stopped and gone on with, and reports. docs/mutants.md says how.
 */
import { createHash } from "node:crypto";
import { appendFileSync, existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readOptions } from "../../src/cli/script-options.ts";
import { VENDORS, type Vendor } from "../../src/silicon/models/model.ts";
import { findTree } from "../../src/kvm/trees/trees.ts";
import { type Effort, Judge } from "./judge.ts";
import { type Mutant, doesNothing, mutantName } from "./mutations.ts";
import { programKey } from "./program-key.ts";
import {
	type MutantResult,
	type Tally,
	catchers,
	complaints,
	harmless,
	holes,
	provenance,
	survivorsList,
	table,
} from "./report.ts";
import { rowFor } from "./survivors.ts";

/** Trees that are known good. */
const TREES = ["v6.18", "series-v2", "dedup"];

const values = readOptions("mutants", {
	tree: { type: "string", multiple: true },
	vendor: { type: "string", multiple: true },
	/** i/n: the i-th of n parts. Another process can have the next. */
	shard: { type: "string", default: "1/1" },
	/** One mutant in N, always the same ones. */
	sample: { type: "string", default: "1" },
	/** Those alone whose name matches this pattern. */
	only: { type: "string", default: "" },
	/** Look at every survivor as closely as at one that no row judges: hours. */
	close: { type: "boolean", default: false },
	/** Look closely at no survivor: those that no row judges are listed. */
	quick: { type: "boolean", default: false },
	/** Run nothing; report what was found. */
	report: { type: "boolean", default: false },
	/**
	 * The key of a program whose results stand where this one has none: but for survivors that are holes, or that no row
	 * judges, which are looked at again.
	 */
	carry: { type: "string" },
	/** Print the patch file of the mutant of this name. */
	patch: { type: "string" },
	/** Write docs/mutants.md. */
	docs: { type: "boolean", default: false },
});
const root = join(import.meta.dirname, "../../../..");
const [shard, shards] = shardOf(values.shard);
const only = patternOf(values.only);
const trees = values.tree ?? TREES;
for (const tree of trees) if (!TREES.includes(tree)) refuse(`--tree ${tree}: want ${TREES.join(", ")}`);
const vendors = (values.vendor ?? VENDORS) as readonly Vendor[];
for (const vendor of vendors)
	if (!VENDORS.includes(vendor)) refuse(`--vendor ${vendor}: want ${VENDORS.join(", ")}`);
if (!(Number(values.sample) >= 1)) refuse(`--sample ${values.sample}: want a number from 1`);

const program = programKey();
const found = join(root, "build/mutants-found");
const folder = join(found, program);
if (values.carry !== undefined && !existsSync(join(found, values.carry)))
	refuse(`--carry ${values.carry}: nothing was found by that program in ${found}`);
mkdirSync(folder, { recursive: true });

function refuse(why: string): never {
	console.error(`mutants: ${why}`);
	process.exit(2);
}

function patternOf(text: string): RegExp {
	try {
		return new RegExp(text);
	} catch {
		return refuse(`--only ${text}: no regular expression`);
	}
}

/** @param text i/n */
function shardOf(text: string): [number, number] {
	const [, shard = 0, shards = 0] = (/^(\d+)\/(\d+)$/.exec(text) ?? []).map(Number);
	if (shard < 1 || shard > shards) refuse(`--shard ${text}: want i/n, the i-th of n parts`);
	return [shard, shards];
}

/** What was found of a tree and vendor so far, by whichever process. */
function known(from: string, tree: string, vendor: Vendor): Map<string, MutantResult> {
	const results = new Map<string, MutantResult>();
	for (const file of readdirSync(from)) {
		if (!file.startsWith(`${tree}-${vendor}.`)) continue;
		for (const line of readFileSync(join(from, file), "utf8").split("\n")) {
			if (line === "") continue;
			const result = JSON.parse(line) as MutantResult;
			const before = results.get(result.name);
			if (before === undefined || !isEnough(before, result.effort)) results.set(result.name, result);
		}
	}
	return results;
}

/** One in N, by the name's hash: the same ones each time. */
function isSampled(name: string): boolean {
	return createHash("sha256").update(name).digest().readUInt32BE() % Number(values.sample) === 0;
}

/** How close a mutant is to be looked at: a row of the survivors' table judges without more. */
function effortFor(mutant: Mutant, vendor: Vendor): Effort {
	const isKnown = rowFor(mutant, vendor) !== undefined;
	return values.quick || (isKnown && !values.close) ? "quick" : "close";
}

/** Whether a result says all that is asked for. */
function isEnough({ caught, effort, crash }: MutantResult, wanted: Effort): boolean {
	return caught !== null || crash !== undefined || effort === "close" || wanted === "quick";
}

/** Whether what another program found need not be looked at again. */
function stands({ caught, vendor }: MutantResult, mutant: Mutant): boolean {
	if (caught !== null) return true;
	const row = rowFor(mutant, vendor);
	return row !== undefined && row.judgement !== "hole";
}

function judgeOne(judge: Judge, mutant: Mutant, tree: string, vendor: Vendor): MutantResult {
	const name = mutantName(mutant);
	const effort = effortFor(mutant, vendor);
	try {
		const { caught, unreached } = judge.judge(mutant, effort);
		return { tree, vendor, name, caught, unreached, effort };
	} catch (error) {
		const crash = error instanceof Error ? (error.stack ?? error.message) : String(error);
		return { tree, vendor, name, caught: null, unreached: false, effort, crash };
	}
}

/** Judges what was not judged yet, and counts all that was. */
function tally(treeName: string, vendor: Vendor): Tally {
	const judge = new Judge(findTree(treeName), vendor);
	const mutants = judge.mutants();
	const file = join(folder, `${treeName}-${vendor}.${shard}-${shards}.jsonl`);
	const results = known(folder, treeName, vendor);
	const carried = values.carry === undefined ? null : known(join(found, values.carry), treeName, vendor);
	const worth = mutants.filter((mutant) => !doesNothing(mutant.node));
	for (const [at, mutant] of worth.entries()) {
		const name = mutantName(mutant);
		const before = carried?.get(name);
		const own = results.get(name);
		// A look that was not close enough counts less than what another program found.
		if (
			before !== undefined &&
			(own === undefined || !isEnough(own, rowFor(mutant, vendor) === undefined ? "close" : "quick"))
		)
			results.set(name, { ...before, carriedFrom: values.carry! });
		const known = results.get(name);
		if (
			known !== undefined &&
			(known.carriedFrom === undefined ? isEnough(known, effortFor(mutant, vendor)) : stands(known, mutant))
		)
			continue;
		if (values.report || at % shards !== shard - 1 || !isSampled(name) || !only.test(name)) continue;
		const result = judgeOne(judge, mutant, treeName, vendor);
		results.set(name, result);
		appendFileSync(file, `${JSON.stringify(result)}\n`);
		if (process.stderr.isTTY)
			process.stderr.write(`\r${treeName} ${vendor}: ${at + 1}/${worth.length}\x1b[K`);
	}
	const judged = worth.flatMap((mutant) => {
		const result = results.get(mutantName(mutant));
		return result === undefined ? [] : [{ ...result, row: rowFor(mutant, vendor) }];
	});
	return { tree: treeName, vendor, all: mutants.length, plain: mutants.length - worth.length, judged };
}

function printPatch(wanted: string): void {
	for (const tree of trees) {
		for (const vendor of vendors) {
			const mutant = new Judge(findTree(tree), vendor).mutants().find((one) => mutantName(one) === wanted);
			if (mutant === undefined) continue;
			process.stdout.write(`${JSON.stringify(mutant.document, null, "\t")}\n`);
			return;
		}
	}
	process.stderr.write(`mutants: there is no mutant "${wanted}"\n`);
	process.exitCode = 2;
}

function writeDocs(tallies: readonly Tally[]): void {
	writeBlocks("docs/mutants.md", {
		table: table(tallies),
		provenance: provenance(tallies, program),
		catchers: catchers(tallies),
		holes: holes(tallies),
		harmless: harmless(tallies),
	});
	writeBlocks("docs/mutants-survivors.md", { survivors: survivorsList(tallies) });
}

/** Puts text between a page's markers. */
function writeBlocks(page: string, blocks: Readonly<Record<string, string>>): void {
	const path = join(root, page);
	let text = readFileSync(path, "utf8");
	for (const [name, content] of Object.entries(blocks)) {
		const [begin, end] = [`<!-- begin ${name} -->`, `<!-- end ${name} -->`];
		text = `${text.slice(0, text.indexOf(begin) + begin.length)}\n${content}\n${text.slice(text.indexOf(end))}`;
	}
	writeFileSync(path, text);
}

if (values.patch !== undefined) printPatch(values.patch);
else {
	const tallies = trees.flatMap((tree) => vendors.map((vendor) => tally(tree, vendor)));
	const wrong = complaints(tallies);
	process.stdout.write(`${table(tallies)}\n\n${provenance(tallies, program)}\n\n${catchers(tallies)}\n`);
	for (const line of wrong) process.stdout.write(`✘ ${line}\n`);
	if (values.docs && existsSync(join(root, "docs/mutants.md"))) writeDocs(tallies);
	process.exitCode = wrong.length === 0 ? 0 : 1;
}
