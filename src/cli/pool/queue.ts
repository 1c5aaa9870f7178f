/**
 * The tasks that threads take from one list. Who takes which one changes nothing but the time: a thread stays with the
 * group that it has begun, and with its machine; it begins groups on machines that nobody has, then others that nobody has begun,
 * and then helps where most is left.
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
	/** Of each group its machine. */
	private readonly machines = new Map<number, number>();
	private own = -1;

	/** @param claims what `queueWords` made */
	constructor(tasks: readonly Task[], claims: Int32Array) {
		this.claims = claims;
		for (const [at, { group, machine }] of tasks.entries()) {
			this.machines.set(group, machine);
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
		const { groups, machines } = this;
		const untouched: number[] = [];
		const taken = new Set<number>();
		let most = 0;
		let best: number | null = null;
		for (const [group, { length }] of groups) {
			const left = this.left(group);
			if (left === length) untouched.push(group);
			else taken.add(machines.get(group)!);
			if (left > most) {
				most = left;
				best = group;
			}
		}
		const own = machines.get(this.own);
		return (
			untouched.find((group) => machines.get(group) === own) ??
			untouched.find((group) => !taken.has(machines.get(group)!)) ??
			untouched[0] ??
			best
		);
	}

	private left(group: number): number {
		let left = 0;
		for (const at of this.groups.get(group) ?? []) if (Atomics.load(this.claims, at) === 0) left++;
		return left;
	}
}
