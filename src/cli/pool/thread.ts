/** What one thread does: it takes tasks until there are none, the first thread as well as the workers. */
import { runCase } from "../../check/casebook.ts";
import { JobRunner } from "../../check/search/jobs.ts";
import { HISTORY } from "../../kvm/trees/history/cases.ts";
import { defaultModel } from "../../silicon/models/models.ts";
import type { Io } from "../io.ts";
import { resolveTarget, resolveTree } from "../resolve.ts";
import { Queue } from "./queue.ts";
import { COUNTS, type CheckWords, type Task, type TaskResult, type ThreadData } from "./task.ts";

/** A check's runner on this thread. */
async function runnerOf(io: Io, { words, question }: CheckWords): Promise<JobRunner> {
	const patched = await resolveTree(io, words.spec, words.patch);
	const { tree, model } = resolveTarget(patched, words.vendor, words.cpu);
	return new JobRunner({ ...question, tree, base: tree, model });
}

/** Runs tasks, one after the other. */
class Bench {
	private readonly io: Io;
	private readonly checks: readonly CheckWords[];
	private readonly runners: (JobRunner | undefined)[] = [];
	/** The runner that has the hardware. */
	private last: JobRunner | null = null;

	constructor(io: Io, checks: readonly CheckWords[]) {
		this.io = io;
		this.checks = checks;
	}

	async run(
		task: Task,
		onProgress: (done: number, schedules: number, states: number) => void,
	): Promise<TaskResult> {
		if (task.kind === "case") {
			this.end();
			const entry = HISTORY.find(({ name }) => name === task.name)!;
			const { vendor, bounds } = task;
			const { entry: _entry, ...rest } = runCase(entry, vendor, defaultModel(vendor), bounds);
			return rest;
		}
		const runner = this.runners[task.check] ?? (await runnerOf(this.io, this.checks[task.check]!));
		this.runners[task.check] = runner;
		if (runner !== this.last) this.end();
		this.last = runner;
		return runner.run(task.job, onProgress);
	}

	end(): void {
		this.last?.end();
		this.last = null;
	}
}

/**
 * Takes tasks until there are none.
 * @param done takes the result of each
 * @param onProgress called now and then, when the counts have changed
 * @throws what a task throws: then nobody takes another one
 */
export async function work(
	io: Io,
	{ checks, tasks, claims, counts, thread }: ThreadData,
	done: (task: number, result: TaskResult) => void,
	onProgress: () => void = () => {},
): Promise<void> {
	const queue = new Queue(tasks, claims);
	const bench = new Bench(io, checks);
	const first = COUNTS * thread;
	const finished = { weight: 0, schedules: 0, states: 0 };
	const count = (weight: number, schedules: number, states: number): void => {
		counts[first] = finished.weight + weight;
		counts[first + 1] = finished.schedules + schedules;
		counts[first + 2] = finished.states + states;
		onProgress();
	};
	try {
		for (let at = queue.take(); at >= 0; at = queue.take()) {
			const { weight } = tasks[at]!;
			const result = await bench.run(tasks[at]!, (part, schedules, states) =>
				count(part * weight, schedules, states),
			);
			finished.weight += weight;
			finished.schedules += "schedules" in result ? result.schedules : result.runs;
			finished.states += "states" in result ? result.states : 0;
			count(0, 0, 0);
			done(at, result);
		}
	} catch (error) {
		queue.stop();
		throw error;
	} finally {
		bench.end();
	}
}
