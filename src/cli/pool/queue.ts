/**
 * The tasks that threads take from one list. Who takes which one changes nothing but the time: a thread stays with the
 * group that it has begun, begins groups that nobody has, and then helps where most is left.
 */
import type { Task } from "./task.ts";

/** Behind the words of the tasks: set when a thread has failed, and nobody shall go on. */
const STOPPED = 1;

/** Memory for the queue of so many tasks, which threads share. */
export function queueWords(tasks: number): Int32Array {
	return new Int32Array(new SharedArrayBuffer(4 * (tasks + STOPPED)));
}

/** One thread's view of the queue. */
export class Queue {
	private readonly claims: Int32Array;
	/** Numbers of the tasks of each group, in the order of the list. */
	private readonly groups = new Map<number, number[]>();
	private own = -1;

	/** @param claims what `queueWords` made */
	constructor(tasks: readonly Task[], claims: Int32Array) {
		this.claims = claims;
		for (const [at, { group }] of tasks.entries()) {
			const members = this.groups.get(group);
			if (members === undefined) this.groups.set(group, [at]);
			else members.push(at);
		}
	}

	/** Takes a task. @returns its number, -1 if there is none left */
	take(): number {
		for (;;) {
			if (Atomics.load(this.claims, this.claims.length - 1) !== 0) return -1;
			const group = this.next();
			if (group === null) return -1;
			for (const at of this.groups.get(group)!) {
				if (Atomics.compareExchange(this.claims, at, 0, 1) !== 0) continue;
				this.own = group;
				return at;
			}
		}
	}

	/** Nobody takes a task from now on. */
	stop(): void {
		Atomics.store(this.claims, this.claims.length - 1, 1);
	}

	private next(): number | null {
		if (this.left(this.own) > 0) return this.own;
		let most = 0;
		let best: number | null = null;
		for (const [group, { length }] of this.groups) {
			const left = this.left(group);
			if (left === length) return group;
			if (left > most) {
				most = left;
				best = group;
			}
		}
		return best;
	}

	private left(group: number): number {
		let left = 0;
		for (const at of this.groups.get(group) ?? []) if (Atomics.load(this.claims, at) === 0) left++;
		return left;
	}
}
