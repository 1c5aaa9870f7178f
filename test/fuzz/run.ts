// The fuzzer's loop: cases by number until the time is up, in a worker thread so that one that hangs is seen.
// Run it by `npm run fuzz -- --minutes N --seed S`.
import { performance } from "node:perf_hooks";
import { parseArgs } from "node:util";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { fuzzCase, KINDS } from "./cases.ts";

/**
 * Four machines, each with translated code of at most 32 MiB (cases.ts), garbage that waits to be collected, Node itself,
 * and what V8 never gives back: about 2 KB for each WebAssembly module that ever was (docs/limits.md).
 */
const RSS_MIB_MAX = 1536;

function cpuSeconds(): number {
	const { user, system } = process.cpuUsage();
	return (user + system) / 1e6;
}
/** A case that takes more CPU time hangs: on a busy machine wall time says nothing. */
const HANG_CPU_SECONDS = 60;
const REPORT_EVERY = 32;

interface Task {
	readonly kinds: readonly string[];
	readonly first: number;
	readonly minutes: number;
	/** Case number, index of its kind, and a count of cases. */
	readonly progress: Int32Array;
}

type Message =
	| {
			readonly type: "ending";
			readonly counts: readonly (readonly [string, number])[];
			readonly heapBytes: number;
	  }
	| { readonly type: "failure"; readonly text: string }
	| { readonly type: "done" };

const replay = (kind: string, number: number) => `npm run fuzz -- --kind ${kind} --case ${number}`;

/** The worker's side: runs cases, and tells their ends. */
function work({ kinds, first, minutes, progress }: Task, post: (message: Message) => void): void {
	const until = performance.now() + minutes * 60_000;
	let counts = new Map<string, number>();
	const report = () => {
		post({ type: "ending", counts: [...counts], heapBytes: process.memoryUsage().heapUsed });
		counts = new Map();
	};
	for (let number = first; performance.now() < until; number++) {
		for (const [index, kind] of kinds.entries()) {
			Atomics.store(progress, 0, number);
			Atomics.store(progress, 1, index);
			Atomics.add(progress, 2, 1);
			try {
				const ending = `${kind}: ${fuzzCase(kind, number)}`;
				counts.set(ending, (counts.get(ending) ?? 0) + 1);
			} catch (error) {
				const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
				post({ type: "failure", text: `${replay(kind, number)}\n${text}` });
			}
		}
		if (number % REPORT_EVERY === 0) report();
	}
	report();
	post({ type: "done" });
}

interface Totals {
	readonly endings: Map<string, number>;
	failures: number;
	/** Resident memory of the process, and the JavaScript heap of the worker when it last reported. */
	rssMiB: number;
	rssMiBMax: number;
	heapMiB: number;
}

const casesOf = (totals: Totals) => [...totals.endings.values()].reduce((sum, count) => sum + count, 0);

/** Prints where a run is, once a minute, so that memory that grows is seen growing. */
function printProgress(totals: Totals, started: number): NodeJS.Timeout {
	return setInterval(() => {
		const minutes = ((performance.now() - started) / 60_000).toFixed(0);
		const { rssMiB, rssMiBMax, heapMiB } = totals;
		console.log(
			`minute ${minutes}: ${casesOf(totals)} cases, resident memory ${rssMiB.toFixed(0)} MiB, peak ${rssMiBMax.toFixed(0)} MiB, JavaScript heap ${heapMiB.toFixed(0)} MiB`,
		);
	}, 60_000);
}

/** One worker, from a first case on. @returns the case to go on from, or -1 when the time is up */
function supervise(task: Task, totals: Totals): Promise<number> {
	return new Promise((resolve) => {
		const worker = new Worker(new URL(import.meta.url), { workerData: task });
		let seen = 0;
		let seenAt = cpuSeconds();
		const finish = (next: number) => {
			clearInterval(timer);
			void worker.terminate().then(() => resolve(next));
		};
		const fail = (text: string) => {
			totals.failures++;
			console.error(text);
		};
		const timer = setInterval(() => {
			const rssMiB = process.memoryUsage().rss / 2 ** 20;
			totals.rssMiB = rssMiB;
			totals.rssMiBMax = Math.max(totals.rssMiBMax, rssMiB);
			const [number, index, count] = task.progress as unknown as [number, number, number];
			const current = replay(task.kinds[index]!, number);
			if (count !== seen) {
				seen = count;
				seenAt = cpuSeconds();
			} else if (cpuSeconds() - seenAt > HANG_CPU_SECONDS) {
				fail(`${current}\nhangs`);
				finish(number + 1);
				return;
			}
			if (rssMiB > RSS_MIB_MAX) {
				fail(`${current}\nmemory grew to ${rssMiB.toFixed(0)} MiB`);
				finish(number + 1);
			}
		}, 500);
		worker.on("message", (message: Message) => {
			if (message.type === "failure") fail(message.text);
			else if (message.type === "done") finish(-1);
			else {
				totals.heapMiB = message.heapBytes / 2 ** 20;
				for (const [ending, count] of message.counts) {
					totals.endings.set(ending, (totals.endings.get(ending) ?? 0) + count);
				}
			}
		});
		worker.on("error", (error) => {
			fail(`${replay(task.kinds[task.progress[1]!]!, task.progress[0]!)}\n${String(error)}`);
			finish(task.progress[0]! + 1);
		});
	});
}

async function main(): Promise<number> {
	const { values } = parseArgs({
		options: {
			minutes: { type: "string", default: "1" },
			seed: { type: "string", default: "1" },
			kind: { type: "string" },
			case: { type: "string" },
		},
	});
	const minutes = Number(values.minutes);
	let first = Number(values.seed);
	if (!(minutes > 0) || !Number.isInteger(first) || (values.kind !== undefined && !(values.kind in KINDS))) {
		const kinds = Object.keys(KINDS).join("|");
		console.error(`usage: npm run fuzz -- [--minutes N] [--seed S] [--kind ${kinds}] [--case N]`);
		return 2;
	}
	const kinds = values.kind === undefined ? Object.keys(KINDS) : [values.kind];
	if (values.case !== undefined) {
		for (const kind of kinds) console.log(`${kind} ${values.case}: ${fuzzCase(kind, Number(values.case))}`);
		return 0;
	}
	const totals: Totals = { endings: new Map(), failures: 0, rssMiB: 0, rssMiBMax: 0, heapMiB: 0 };
	const started = performance.now();
	const progress = printProgress(totals, started);
	const seed = first;
	while (first >= 0) {
		const left = minutes - (performance.now() - started) / 60_000;
		if (left <= 0) break;
		const current = new Int32Array(new SharedArrayBuffer(12));
		first = await supervise({ kinds, first, minutes: left, progress: current }, totals);
	}
	clearInterval(progress);
	for (const [ending, count] of [...totals.endings].sort())
		console.log(`${String(count).padStart(9)}  ${ending}`);
	const minutesTaken = ((performance.now() - started) / 60_000).toFixed(1);
	const { failures, rssMiB, rssMiBMax } = totals;
	console.log(
		`${casesOf(totals)} cases from ${seed} in ${minutesTaken} minutes, ${failures} failures, resident memory ${rssMiB.toFixed(0)} MiB, peak ${rssMiBMax.toFixed(0)} MiB`,
	);
	return totals.failures > 0 ? 1 : 0;
}

if (isMainThread) process.exitCode = await main();
else work(workerData as Task, (message) => parentPort!.postMessage(message));
