/**
 * Runs the fuzzer's cases in child processes, one after the other, each for some cases: V8 keeps something of every
 * WebAssembly module until its process ends (docs/limits.md). A child that dies, hangs or grows is a failed case.
 */
import type { ChildProcess } from "node:child_process";
import { readFileSync } from "node:fs";
import { caseOf, type Message, type Task } from "./child.ts";

/** What a case may take. */
export interface CaseLimits {
	/** CPU time, since on a busy machine wall time says nothing; and wall time, for one that waits. */
	readonly cpuSeconds: number;
	readonly wallSeconds: number;
	/** Resident memory of its process. */
	readonly rssBytes: number;
}

/** What a run of the fuzzer has come to. */
export interface Totals {
	/** Counts by kind and ending. */
	readonly endings: Map<string, number>;
	failures: number;
	processes: number;
	/** Resident memory: of the process that runs now, and the most that any ever had. */
	rssBytes: number;
	rssBytesMax: number;
}

/** Totals of nothing. */
export function noTotals(): Totals {
	return { endings: new Map(), failures: 0, processes: 0, rssBytes: 0, rssBytesMax: 0 };
}

/** Cases that came to an end, failed ones included. */
export function casesOf({ endings, failures }: Totals): number {
	return [...endings.values()].reduce((sum, count) => sum + count, failures);
}

const SAMPLE_MILLISECONDS = 250;
/** Unit of the times in /proc/PID/stat on x86 (proc_pid_stat(5), USER_HZ). */
const TICKS_A_SECOND = 100;

interface Sample {
	readonly cpuSeconds: number;
	readonly rssBytes: number;
}

/** @returns null if the process is gone */
function sample(pid: number): Sample | null {
	try {
		// Fields from the third on stand behind the command's name, which may hold blanks.
		const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
		const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
		const rss = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"));
		return {
			cpuSeconds: (Number(fields[11]) + Number(fields[12])) / TICKS_A_SECOND,
			rssBytes: Number(rss?.[1] ?? 0) * 1024,
		};
	} catch {
		return null;
	}
}

/** The command that runs a case again. */
export function replay(task: Task, ordinal: number): string {
	const { kind, number } = caseOf(task, ordinal);
	return `npm run fuzz -- --kind ${kind} --case ${number}`;
}

/**
 * Sees one child through.
 * @param child runs the task, and sends Message
 * @param totals is brought up to date
 * @param fail hears of each failed case, by the command that runs it again and what it came to
 * @returns ordinal of the case to go on from
 */
export function superviseChild(
	child: ChildProcess,
	task: Task,
	limits: CaseLimits,
	totals: Totals,
	fail: (text: string) => void,
): Promise<number> {
	return new Promise((resolve) => {
		let { ordinal } = task;
		/** The case that has begun is the child's; none has between two of them. */
		let begun = false;
		let why = "";
		let since = { wall: performance.now(), cpuSeconds: 0 };
		totals.processes++;

		const failed = (text: string) => {
			totals.failures++;
			fail(`${replay(task, ordinal)}\n${text}`);
			ended();
		};
		const ended = () => {
			begun = false;
			ordinal++;
		};
		const look = () => {
			const now = sample(child.pid!);
			if (now === null || why !== "") return;
			totals.rssBytes = now.rssBytes;
			totals.rssBytesMax = Math.max(totals.rssBytesMax, now.rssBytes);
			const wallSeconds = (performance.now() - since.wall) / 1000;
			const cpuSeconds = now.cpuSeconds - since.cpuSeconds;
			if (now.rssBytes > limits.rssBytes) why = `memory grew to ${(now.rssBytes / 2 ** 20).toFixed(0)} MiB`;
			else if (cpuSeconds > limits.cpuSeconds) why = `hangs: ${cpuSeconds.toFixed(0)} s of CPU time`;
			else if (wallSeconds > limits.wallSeconds) why = `hangs: ${wallSeconds.toFixed(0)} s`;
			if (why !== "") child.kill("SIGKILL");
		};
		const timer = setInterval(look, SAMPLE_MILLISECONDS);
		child.on("message", (message: Message) => {
			if (message.type === "failure") return failed(message.text);
			if (message.type === "begin") {
				begun = true;
				ordinal = message.ordinal;
				since = { wall: performance.now(), cpuSeconds: sample(child.pid!)?.cpuSeconds ?? since.cpuSeconds };
				return;
			}
			ended();
			totals.endings.set(message.text, (totals.endings.get(message.text) ?? 0) + 1);
			totals.rssBytesMax = Math.max(totals.rssBytesMax, message.rssBytesMax);
		});
		// Behind the last message, unlike "exit".
		child.on("close", (code, signal) => {
			clearInterval(timer);
			if (why === "" && (code !== 0 || begun)) why = `the process ended with ${signal ?? code}`;
			if (why !== "") failed(why);
			resolve(ordinal);
		});
	});
}
