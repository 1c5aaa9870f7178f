/** A thread of a machine with several CPUs. */
import type { Kernel } from "./kernel.ts";
import { SharedLine } from "./shared-line.ts";
import type { Task } from "./task.ts";

export class Thread {
	readonly task: Task;
	/** What it does. Yields where its CPU may run something else, or where another CPU is behind in time. */
	readonly body: Generator<void, void>;
	/** The CPU that it is on. */
	kernel: Kernel;
	/** The CPU that it shall go on, as soon as it can be preempted; null to stay. */
	moveTo: Kernel | null = null;
	/** It sleeps until it is woken. */
	asleep = false;
	/** It does not run before this time, in cycles: when it was woken, or left another CPU. */
	readyAt = 0;
	/** Its call stack of symbols while it is on no CPU. */
	stack: Int32Array = new Int32Array(0);
	/** The line of the task's pi_lock: it is taken by whoever wakes it, and by the scheduler of its own CPU. */
	readonly piLock = new SharedLine();
	/** Called when it was moved, before it runs there. */
	readonly onMove: (to: Kernel) => void;

	constructor(task: Task, kernel: Kernel, body: Generator<void, void>, onMove: (to: Kernel) => void) {
		this.task = task;
		this.kernel = kernel;
		this.body = body;
		this.onMove = onMove;
	}
}
