/** The command behind `npm run vectors`: see scripts/vectors/run.mjs. */
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";
import { Random } from "../translate/random.ts";
import { CodeMachine } from "./code-machine.ts";
import { CODE_KINDS, type CodeKind, codeRecords } from "./code-records.ts";
import { Comparer } from "./compare.ts";
import { CLASS_EXACT_FAULTS, MODES } from "./modes.ts";
import type { Record } from "./state.ts";
import { encodeRecords, integerRecords, legacyRecords, vectorRecords, x87Records } from "./records.ts";

const INSTANCES = 3;
const [root, native, kind, seedText, casesText, option] = process.argv.slice(2);
const seed = Number(seedText);
const cases = Number(casesText);
const sample = option === "--write";
/** Of each form of code with strings, stacks, segments and branches, in each mode. */
const CODE_INSTANCES = sample ? 3 : 12;
const codeOf = (name: CodeKind) => () => codeRecords(name, new Random(seed), CODE_INSTANCES, MODES);
const kinds: Readonly<{ [kind: string]: () => Record[] }> = {
	x87: x87Records,
	integer: () => integerRecords(seed, INSTANCES),
	mmx: () => vectorRecords(seed, INSTANCES, true),
	vector: () => vectorRecords(seed, INSTANCES, false),
	legacy: () => legacyRecords(seed, sample ? 1 : INSTANCES),
	...Object.fromEntries(CODE_KINDS.map((name) => [name, codeOf(name)])),
};
const make = kinds[kind ?? ""];
if (make === undefined || !Number.isInteger(seed) || !(cases > 0)) {
	console.error(`usage: npm run vectors -- ${Object.keys(kinds).join("|")} SEED CASES [--write]`);
	process.exit(2);
}
const records = make();
const encoded = encodeRecords(records);
const folder = dirname(native!);
const paths = { records: join(folder, "records"), results: join(folder, "results") };
writeFileSync(paths.records, encoded);
execFileSync("sh", [
	"-c",
	'"$0" "$1" "$2" "$3" > "$4"',
	native!,
	paths.records,
	seedText!,
	casesText!,
	paths.results,
]);
const results = readFileSync(paths.results);
const comparer = records.some(({ classes }) => (classes & CLASS_EXACT_FAULTS) !== 0)
	? new Comparer(results, new CodeMachine())
	: new Comparer(results);
let differing = 0;
for (const [number, record] of records.entries()) {
	for (const { mnemonic, text } of comparer.run(record, seed, number, cases, 1)) {
		differing++;
		console.log(`${mnemonic}: ${text}`);
	}
}
console.log(
	`${kind}, seed ${seed}: ${records.length} encodings, ${comparer.cases} cases, ${differing} encodings differ, ` +
		`${comparer.undefinedRecords} encodings with undefined results not compared`,
);
if (sample) {
	const fixtures = join(root!, "test/silicon/vectors");
	writeFileSync(join(fixtures, `${kind}.records.gz`), gzipSync(encoded, { level: 9 }));
	writeFileSync(join(fixtures, `${kind}.results.gz`), gzipSync(results, { level: 9 }));
}
process.exitCode = differing === 0 ? 0 : 1;
