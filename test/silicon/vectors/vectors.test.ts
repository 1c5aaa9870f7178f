/** What a real processor (AMD, Zen 4) did, in user mode: made by scripts/vectors/native.c. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { expect, test } from "vitest";
import { Comparer } from "./compare.ts";
import { decodeRecords } from "./records.ts";

/** As the sample was made. */
const SEED = 1;
const CASES = 12;

const read = (name: string) => gunzipSync(readFileSync(join(import.meta.dirname, name)));

test.each(["x87", "integer"])("%s instructions do what a real processor does", (name) => {
	const records = decodeRecords(read(`${name}.records.gz`));
	const comparer = new Comparer(read(`${name}.results.gz`));
	const differences = records.flatMap((record, at) => comparer.run(record, SEED, at, CASES, 1));
	expect(differences.map(({ mnemonic, text }) => `${mnemonic}: ${text}`)).toEqual([]);
	expect(comparer.cases).toBe(records.length * CASES);
});
