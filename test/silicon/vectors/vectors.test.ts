/** What a real processor (AMD, Zen 4) did, in user mode: made by scripts/vectors/native.c. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { expect, test } from "vitest";
import { CodeMachine } from "./code-machine.ts";
import { CODE_KINDS } from "./code-records.ts";
import { Comparer } from "./compare.ts";
import { decodeRecords } from "./records.ts";

/** As the samples were made. */
const SEED = 1;
const SAMPLES: readonly (readonly [kind: string, cases: number])[] = [
	["x87", 12],
	["integer", 12],
	["mmx", 6],
	["vector", 3],
	["string", 6],
	["stack", 6],
	["segment", 6],
	["branch", 6],
	["legacy", 2],
];
/** Those that run in all modes, on a whole processor. */
const CODE = new Set<string>([...CODE_KINDS, "legacy"]);

const read = (name: string) => gunzipSync(readFileSync(join(import.meta.dirname, name)));

test.each(SAMPLES)("%s instructions do what a real processor does", (name, cases) => {
	const records = decodeRecords(read(`${name}.records.gz`));
	const results = read(`${name}.results.gz`);
	const comparer = CODE.has(name) ? new Comparer(results, new CodeMachine()) : new Comparer(results);
	const differences = records.flatMap((record, at) => comparer.run(record, SEED, at, cases, 1));
	expect(differences.map(({ mnemonic, text }) => `${mnemonic}: ${text}`)).toEqual([]);
	expect(comparer.cases).toBe(records.length * cases);
});
