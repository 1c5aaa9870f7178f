/**
 * Runs tasks on several threads: this one, and workers beside it. Results do not depend on how many there are.
 *
 * What goes wrong on a worker ends the whole: the others stop taking tasks, and the error is thrown here.
 */
import { Worker } from "node:worker_threads";
import type { Progress } from "../../check/types.ts";
import { type Io, UsageError } from "../io.ts";
import { filesRead } from "../patch-source.ts";
import { compileAsUsual, compileLess } from "../compiler.ts";
import { queueWords } from "./queue.ts";
import {
	COUNTS,
	type CheckWords,
	type Task,
	type TaskResult,
	type ThreadData,
	type ThreadMessage,
} from "./task.ts";
import { work } from "./thread.ts";

/** How a worker is started. */
export interface WorkerEntry {
	readonly file: URL;
	/** Options of Node. */
	readonly execArgv?: string[];
}

export const WORKER: WorkerEntry = { file: new URL("./pool-worker.js", import.meta.url) };

/** Below this a second thread is no quicker: it has to load the program first. In searches with one event. */
const WEIGHT_PER_THREAD = 2;
/** While this thread has nothing left to do it shows so often how far the others are. */
const PROGRESS_MS = 100;

export interface PoolOptions {
	/** Threads, at most. */
	readonly threads: number;
	readonly onProgress?: (progress: Progress) => void;
	/** For tests. */
	readonly worker?: WorkerEntry;
}

/** Threads that tasks are worth: from what they take alone, so that the same work always has the same number. */
export function threadsFor(tasks: readonly Task[], threads: number): number {
	const weight = tasks.reduce((sum, one) => sum + one.weight, 0);
	return Math.max(1, Math.min(threads, tasks.length, Math.floor(weight / WEIGHT_PER_THREAD)));
}

/** A worker at work, until it has ended. @param done takes the result of a task */
function runWorker(
	{ file, execArgv }: WorkerEntry,
	workerData: ThreadData,
	done: (task: number, result: TaskResult) => void,
): { readonly ended: Promise<void>; readonly worker: Worker } {
	const worker = new Worker(file, { workerData, ...(execArgv === undefined ? {} : { execArgv }) });
	const ended = new Promise<void>((resolve, reject) => {
		worker.on("message", (message: ThreadMessage) => {
			if (message.kind === "result") done(message.task, message.result);
			else reject(new UsageError(message.message));
		});
		worker.on("error", reject);
		worker.on("exit", () => resolve());
	});
	return { ended, worker };
}

/**
 * Runs tasks.
 * @param io where patches were read
 * @param checks that tasks belong to
 * @returns results in the order of the tasks
 * @throws what a task throws
 */
export async function runTasks(
	io: Io,
	checks: readonly CheckWords[],
	tasks: readonly Task[],
	{ threads, onProgress = () => {}, worker = WORKER }: PoolOptions,
): Promise<TaskResult[]> {
	const count = threadsFor(tasks, threads);
	const counts = new Float64Array(new SharedArrayBuffer(8 * COUNTS * count));
	const data = { checks, tasks, files: filesRead(io), claims: queueWords(tasks.length), counts };
	const results = new Map<number, TaskResult>();
	const done = (task: number, result: TaskResult): void => void results.set(task, result);
	const total = tasks.reduce((sum, { weight }) => sum + weight, 0);
	const tell = (): void => onProgress(progressOf(counts, total));
	compileLess();
	const others = Array.from({ length: count - 1 }, (_, at) =>
		runWorker(worker, { ...data, thread: at + 1 }, done),
	);
	// One that fails is heard of below; until then nobody listens.
	for (const { ended } of others) ended.catch(() => {});
	try {
		await work(io, { ...data, thread: 0 }, done, tell);
		const timer = setInterval(tell, PROGRESS_MS);
		try {
			await Promise.all(others.map(({ ended }) => ended));
		} finally {
			clearInterval(timer);
		}
	} finally {
		for (const other of others) void other.worker.terminate();
		compileAsUsual();
		onProgress({ ...progressOf(counts, total), done: 1 });
	}
	return tasks.map((_, at) => {
		const result = results.get(at);
		if (result === undefined) throw new Error("a worker thread ended before its work was done");
		return result;
	});
}

/** Sums of what the threads have counted. */
function progressOf(counts: Float64Array, total: number): Progress {
	const sums = [0, 0, 0];
	for (const [at, count] of counts.entries()) sums[at % COUNTS]! += count;
	const [weight, schedules, states] = sums as [number, number, number];
	// Rounding must not make the end of it before the end.
	return { done: Math.min(weight / total, 0.999), schedules, states };
}
