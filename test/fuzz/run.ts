// The fuzzer: cases by number until the time is up, in child processes. Run it by `npm run fuzz -- --minutes N --seed S`.
import { fork } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { readOptions } from "../../src/cli/script-options.ts";
import { fuzzCase, KINDS } from "./cases.ts";
import { runTask, type Task } from "./child.ts";
import { type CaseLimits, casesOf, noTotals, superviseChild, type Totals } from "./supervisor.ts";

const MIB = 2 ** 20;
/**
 * A process has machines with translated code of at most 32 MiB each (cases.ts), garbage that waits to be collected and Node
 * itself. It is replaced after some thousand cases or above the smaller size; what grows to the larger one has no bound.
 */
const CASES_A_PROCESS = 20_000;
const RSS_BYTES_REPLACED = 768 * MIB;
const LIMITS: CaseLimits = { cpuSeconds: 60, wallSeconds: 900, rssBytes: 1536 * MIB };
const CHILD = "child";

const mib = (bytes: number) => `${(bytes / MIB).toFixed(0)} MiB`;

function printProgress(totals: Totals, minutes: number): void {
	const { processes, rssBytes, rssBytesMax } = totals;
	console.log(
		`minute ${minutes.toFixed(0)}: ${casesOf(totals)} cases in ${processes} processes, resident memory ${mib(rssBytes)}, highest ${mib(rssBytesMax)}`,
	);
}

function printTotals(totals: Totals, seed: number, minutes: number): void {
	for (const [ending, count] of [...totals.endings].sort())
		console.log(`${String(count).padStart(9)}  ${ending}`);
	const cases = casesOf(totals);
	const { failures, processes, rssBytesMax } = totals;
	console.log(
		`${cases} cases from ${seed} in ${minutes.toFixed(1)} minutes, ${(cases / minutes / 60).toFixed(0)} a second, in ${processes} processes; ` +
			`${failures} failures; highest resident memory ${mib(rssBytesMax)}`,
	);
}

/** @returns the exit code */
async function fuzz(kinds: readonly string[], seed: number, minutes: number): Promise<number> {
	if (!existsSync("/proc/self/stat")) {
		console.error("the fuzzer watches its processes by /proc: it needs Linux; single cases (--case) do not");
		return 2;
	}
	const totals = noTotals();
	const started = performance.now();
	const minutesTaken = () => (performance.now() - started) / 60_000;
	const progress = setInterval(() => printProgress(totals, minutesTaken()), 60_000);
	process.once("SIGINT", () => {
		printTotals(totals, seed, minutesTaken());
		process.exit(130);
	});
	let ordinal = 0;
	for (let left = minutes; left > 0; left = minutes - minutesTaken()) {
		const milliseconds = left * 60_000;
		const task: Task = {
			kinds,
			seed,
			ordinal,
			milliseconds,
			cases: CASES_A_PROCESS,
			rssBytes: RSS_BYTES_REPLACED,
		};
		const child = fork(fileURLToPath(import.meta.url), [CHILD, JSON.stringify(task)]);
		ordinal = await superviseChild(child, task, LIMITS, totals, (text) => console.error(text));
	}
	clearInterval(progress);
	printTotals(totals, seed, minutesTaken());
	return totals.failures > 0 ? 1 : 0;
}

async function main(): Promise<number> {
	const values = readOptions("fuzz", {
		minutes: { type: "string", default: "1" },
		seed: { type: "string", default: "1" },
		kind: { type: "string" },
		case: { type: "string" },
	});
	const minutes = Number(values.minutes);
	const seed = Number(values.case ?? values.seed);
	const { kind } = values;
	if (!(minutes > 0) || !Number.isInteger(seed) || (kind !== undefined && !(kind in KINDS))) {
		const known = Object.keys(KINDS).join("|");
		console.error(`usage: npm run fuzz -- [--minutes N] [--seed S] [--kind ${known}] [--case N]`);
		return 2;
	}
	const kinds = kind === undefined ? Object.keys(KINDS) : [kind];
	if (values.case === undefined) return await fuzz(kinds, seed, minutes);
	for (const each of kinds) console.log(`${each} ${seed}: ${fuzzCase(each, seed)}`);
	return 0;
}

if (process.argv[2] === CHILD) {
	process.once("disconnect", () => process.exit(1));
	await runTask(JSON.parse(process.argv[3]!) as Task, (message) => process.send!(message));
	process.exit(0);
} else process.exitCode = await main();
