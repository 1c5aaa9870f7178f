/**
 * The workers that check: a check is done in shares, by whichever worker is free. The number of shares is always the same, so
 * that the verdict does not depend on how many workers this machine has.
 */
import type { JobResult } from "../../check/conclude.ts";
import type { Target, Verdict } from "../worker/api.ts";
import { EngineClient, Overtaken } from "./engine.ts";

const SHARES = 4;
const WORKERS_MAX = 4;
/** Milliseconds that a share which nobody waits for may go on; its worker is warm, and starting another takes longer. */
const PATIENCE_MS = 1500;

interface Task {
	readonly run: (worker: EngineClient) => Promise<void>;
	readonly overtake: () => void;
}

/** Workers with one queue. */
export class CheckPool {
	private readonly workers: readonly EngineClient[];
	private readonly idle: EngineClient[];
	private readonly busySince = new Map<EngineClient, number>();
	private queue: Task[] = [];

	/** @param cores of this machine: `navigator.hardwareConcurrency` */
	constructor(cores: number) {
		const count = Math.max(1, Math.min(WORKERS_MAX, cores));
		this.workers = Array.from({ length: count }, () => new EngineClient());
		this.idle = [...this.workers];
	}

	/**
	 * The verdict of a tree on a machine.
	 * @param onFound told the properties that a share has found violated, when others are not done yet
	 * @throws EngineError, or Overtaken if it was dropped, through the promise
	 */
	async check(target: Target, onFound: (properties: readonly string[]) => void = () => {}): Promise<Verdict> {
		const shares = Array.from({ length: SHARES }, (_, part) =>
			this.put((worker) => worker.ask("share", { ...target, part, parts: SHARES })),
		);
		const found = new Set<string>();
		for (const share of shares) {
			const look = (results: readonly JobResult[]) => {
				const before = found.size;
				for (const { failure } of results.flatMap(({ result }) => result.found))
					if (failure.degree === "violation") found.add(failure.property);
				if (found.size > before) onFound([...found]);
			};
			// What is wrong with a share is said by the verdict.
			share.then(look, () => {});
		}
		const results = (await Promise.all(shares)).flat();
		return this.put((worker) => worker.ask("conclude", { ...target, results }), true);
	}

	/** Makes all workers ready for a target, when there is nothing else to do. */
	warm(target: Target): void {
		if (this.queue.length > 0 || this.idle.length < this.workers.length) return;
		// What is wrong with the target is said by who asks for its verdict.
		for (const _ of this.workers) this.put((worker) => worker.ask("warm", target)).catch(() => {});
	}

	/** Drops every question that is not answered. */
	drop(): void {
		for (const { overtake } of this.queue) overtake();
		this.queue = [];
		const now = performance.now();
		for (const [worker, since] of this.busySince) {
			const left = Math.max(0, PATIENCE_MS - (now - since));
			setTimeout(() => {
				if (this.busySince.get(worker) === since) worker.drop();
			}, left);
		}
	}

	private put<T>(ask: (worker: EngineClient) => Promise<T>, isUrgent = false): Promise<T> {
		return new Promise((resolve, reject) => {
			const task: Task = {
				run: (worker) => ask(worker).then(resolve, reject),
				overtake: () => reject(new Overtaken("overtaken")),
			};
			if (isUrgent) this.queue.unshift(task);
			else this.queue.push(task);
			this.start();
		});
	}

	private start(): void {
		while (this.idle.length > 0 && this.queue.length > 0) {
			const worker = this.idle.shift()!;
			const task = this.queue.shift()!;
			this.busySince.set(worker, performance.now());
			void task.run(worker).then(() => {
				this.busySince.delete(worker);
				this.idle.unshift(worker);
				this.start();
			});
		}
	}
}
