import { rmSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";
import { build } from "vite";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DEFAULT_CONFIGURATION, parseConfiguration } from "../../src/check/configuration.ts";
import type { EventKind } from "../../src/check/types.ts";
import { processIo } from "../../src/cli/process-io.ts";
import { type CheckRequest, checksOf, runChecks, searchedBy, tasksOf } from "../../src/cli/pool/checks.ts";
import { type WorkerEntry, runTasks, threadsFor } from "../../src/cli/pool/pool.ts";
import { Queue, queueWords } from "../../src/cli/pool/queue.ts";
import { COUNTS, type Task, type TaskResult, type ThreadData } from "../../src/cli/pool/task.ts";
import { v618 } from "../../src/kvm/trees/base.ts";
import { findTree } from "../../src/kvm/trees/trees.ts";
import type { Vendor } from "../../src/silicon/models/model.ts";
import { defaultModel } from "../../src/silicon/models/models.ts";

const DIRECTORY = resolve(import.meta.dirname, `../../build/pool-${process.pid}`);
const worker: WorkerEntry = { file: pathToFileURL(`${DIRECTORY}/pool-worker.js`) };

// A thread runs JavaScript, and what is tested is the source.
beforeAll(async () => {
	await build({
		configFile: false,
		logLevel: "error",
		build: { ssr: resolve(import.meta.dirname, "../../src/cli/pool/pool-worker.ts"), outDir: DIRECTORY },
	});
});
afterAll(() => rmSync(DIRECTORY, { recursive: true, force: true }));

const request = (
	tree: string,
	vendor: Vendor,
	events: readonly EventKind[],
	configuration = DEFAULT_CONFIGURATION,
): CheckRequest => ({
	words: { spec: tree, patch: undefined, vendor, cpu: undefined },
	options: {
		tree: findTree(tree),
		base: v618,
		vendor,
		model: defaultModel(vendor),
		mceHandler: "task-work",
		eventsMax: 2,
		configuration,
		events,
	},
});

/** Results of all tasks, as a worker that is alone posts them. */
function byWorker(requests: readonly CheckRequest[]): Promise<ReadonlyMap<number, TaskResult>> {
	const tasks = tasksOf(requests);
	const workerData: ThreadData = {
		checks: checksOf(requests),
		tasks,
		files: new Map(),
		claims: queueWords(tasks.length),
		counts: new Float64Array(COUNTS),
		thread: 0,
	};
	const results = new Map<number, TaskResult>();
	return new Promise((done, failed) => {
		const thread = new Worker(worker.file, { workerData });
		thread.on("message", ({ task, result }) => results.set(task, result));
		thread.on("error", failed);
		thread.on("exit", () => done(results));
	});
}

describe("threads", () => {
	const debugctlSet = parseConfiguration("debugctl=set", "tdx", defaultModel("tdx"));
	it.each([
		["a tree that holds", [request("v6.18", "tdx", ["nmi", "td-busy"])], "holds", 0],
		["version 1 on TDX", [request("series-v1", "tdx", ["irq"])], "violated", 1],
		[
			"a case of the casebook",
			[request("tdx-debugctl-before", "tdx", ["perf", "td-busy"], debugctlSet)],
			"violated",
			1,
		],
	] as const)(
		"find the same in %s, whether there is one or three",
		async (_name, requests, verdict, least) => {
			const one = await runChecks(processIo, requests, { threads: 1 });
			expect(one.map((result) => result.verdict)).toContain(verdict);
			expect(one.flatMap(({ violations }) => violations).length).toBeGreaterThanOrEqual(least);
			expect(await runChecks(processIo, requests, { threads: 3, worker })).toEqual(one);
			const here = new Map(
				(await runTasks(processIo, checksOf(requests), tasksOf(requests), { threads: 1 })).entries(),
			);
			expect(await byWorker(requests)).toEqual(here);
		},
	);

	it("search a program once that several trees share, and each tree's report is its own", async () => {
		const requests = [
			request("series-v1", "svm", ["kick"]),
			request("series-v2", "svm", ["kick"]),
			request("series-v1", "tdx", ["irq"]),
			request("series-v1:1-4", "tdx", ["irq"]),
			request("series-v2", "tdx", ["irq"]),
		].map(({ words, options }) => ({ words, options: { ...options, eventsMax: 1 } }));
		expect(searchedBy(requests)).toEqual([0, 0, 2, 2, 4]);
		const together = await runChecks(processIo, requests, { threads: 1 });
		const alone: unknown[] = [];
		for (const one of requests) alone.push(...(await runChecks(processIo, [one], { threads: 1 })));
		expect(together).toEqual(alone);
		expect(together[3]!.violations[0]!.replay).toMatch(/ series-v1:1-4$/);
	});

	it("are as many as the work is worth, whoever asks", () => {
		const tasks = tasksOf([request("v6.18", "tdx", ["nmi"])]);
		expect([1, 2, 3, 100].map((threads) => threadsFor(tasks, threads))).toEqual([1, 2, 3, tasks.length]);
		const [one] = tasks;
		expect(
			threadsFor(
				[
					{ ...one!, weight: 1 },
					{ ...one!, weight: 1 },
				],
				8,
			),
		).toBe(1);
	});

	const group = (number: number, length: number, machine = number) =>
		Array.from(
			{ length },
			(): Task => ({
				kind: "case",
				name: "",
				vendor: "vmx",
				bounds: "own",
				group: number,
				machine,
				weight: 1,
			}),
		);

	it("take each task once, stay with the group that they began, and help where most is left", () => {
		const tasks = [...group(0, 3), ...group(1, 1), ...group(2, 2)];
		const claims = queueWords(tasks.length);
		const [first, second] = [new Queue(tasks, claims), new Queue(tasks, claims)];
		expect([first, second, second, first, second].map((queue) => queue.take())).toEqual([0, 3, 4, 1, 5]);
		expect([second.take(), first.take(), second.take()]).toEqual([2, -1, -1]);
	});

	it("stay with the machine that they began", () => {
		const tasks = [
			...group(0, 1, 0),
			...group(1, 1, 1),
			...group(2, 1, 0),
			...group(3, 1, 1),
			...group(4, 1, 0),
		];
		const claims = queueWords(tasks.length);
		const [first, second] = [new Queue(tasks, claims), new Queue(tasks, claims)];
		expect([first, second, second, second, first].map((queue) => queue.take())).toEqual([0, 1, 3, 2, 4]);
	});

	it("end when one of them fails, with its error, and take no more tasks", async () => {
		const requests = [request("v6.18", "tdx", ["nmi"])];
		const nowhere = { file: new URL("nowhere.js", worker.file) };
		await expect(runChecks(processIo, requests, { threads: 2, worker: nowhere })).rejects.toThrow(/nowhere/);
		// The tree that this thread has is none that a worker can find.
		const [{ words, options }] = requests as [CheckRequest];
		const unknown = { options, words: { ...words, spec: "v0.1" } };
		await expect(runChecks(processIo, [unknown], { threads: 2, worker })).rejects.toThrow(/no tree "v0.1"/);
		const claims = queueWords(2);
		const tasks = tasksOf(requests);
		const queue = new Queue(tasks, claims);
		queue.stop();
		expect(queue.take()).toBe(-1);
	});
});
