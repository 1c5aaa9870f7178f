/**
 * Several CPUs of one host: which thread runs where, and how virtual time interleaves them.
 *
 * Each CPU has its own clock, and they count the same time. The CPU that is furthest behind runs next, for a slice
 * whose length a seed chooses, so that no CPU is ahead of another by more than a slice. What must happen in the order of
 * time, such as reading the time stamp counter, waits until no other CPU is behind (`Cpu.horizon`). An idle CPU is not
 * behind: it jumps to its next timer, or to when an interrupt comes.
 *
 *     const smp = new Smp(kernels, { seed: 1 });
 *     smp.start(new Thread(task, kernels[0], body(), onMove));
 *     smp.run(() => finished);
 */
import { PENDING } from "../silicon/cpu/cpu.ts";
import { OP } from "../silicon/ops.ts";
import { tryToWakeUp } from "./functions.ts";
import type { Hrtimer } from "./hrtimer.ts";
import { idleEnter, idleExit } from "./idle.ts";
import type { Kernel } from "./kernel.ts";
import { HOST_VECTOR } from "./idt.ts";
import { Random } from "./random.ts";
import type { Thread } from "./thread.ts";

export interface SmpOptions {
	/** Chooses the lengths of slices, and RDRAND's numbers: the same seed gives the same run. Default 1. */
	readonly seed?: number;
	/** Least and greatest length of a slice beyond the CPU that is furthest behind, in cycles. */
	readonly sliceCycles?: readonly [least: number, greatest: number];
}

/** How `run` ended: by its predicate, because all threads are over, or because all sleep and nothing can wake one. */
export type SmpResult = "stopped" | "over" | "asleep";

const SLICE_CYCLES = [100, 10_000] as const;
/** A CPU with nobody beside it gives way to the predicate of `run` this often. */
const SLICE_CYCLES_ALONE = 100_000;
/** How long a thread runs while others wait for its CPU: base_slice_ns of kernel/sched/fair.c on few CPUs. */
const SCHED_SLICE_NS = 2_800_000;
const ARRIVES = PENDING.interrupt | PENDING.nmi | PENDING.machineCheck;

/** What a kernel asks of the host's other CPUs. */
export interface OtherCpus {
	/** The CPU that runs now, or null between slices. */
	readonly running: Kernel | null;
	/** wake_up_process(). @returns whether it was asleep */
	wake(thread: Thread): boolean;
	/** smp_send_reschedule(): an interrupt for another CPU, from the one that runs. */
	sendReschedule(to: Kernel): void;
	/** The current thread of a CPU sleeps. @returns false when nothing can ever come that wakes it */
	sleep(kernel: Kernel): boolean;
	/** schedule() of the current thread. @returns whether another thread takes its place; the CPU's other task else */
	scheduleOther(kernel: Kernel): boolean;
	/** A timer was armed or an interrupt raised on a CPU. */
	somethingWillHappen(kernel: Kernel): void;
}

/** A CPU and the threads that are on it. */
class RunQueue {
	readonly kernel: Kernel;
	/** The one that `kernel.current` is, first. */
	readonly threads: Thread[] = [];
	/** schedule() was called: another thread is to run as soon as this one can be left. */
	switchDue = false;
	readonly tick: Hrtimer;
	tickStarted = false;

	constructor(kernel: Kernel) {
		this.kernel = kernel;
		this.tick = {
			expiresCycles: 0,
			callback: () => {
				this.tickStarted = false;
				kernel.current.needResched = true;
			},
		};
	}

	/** Time at which something happens here, in cycles; Infinity when nothing will by itself. */
	get time(): number {
		const { cpu, hrtimers } = this.kernel;
		let at = (cpu.pending & ARRIVES) !== 0 ? cpu.cycles : hrtimers.nextCycles;
		for (const thread of this.threads) if (!thread.asleep) at = Math.min(at, thread.readyAt);
		return Math.max(at, cpu.cycles);
	}
}

export class Smp implements OtherCpus {
	/** The CPU that runs now, or null between slices. */
	running: Kernel | null = null;
	private readonly queues: readonly RunQueue[];
	private readonly queueOf = new Map<Kernel, RunQueue>();
	private readonly random: Random;
	/** Threads that end are to be started again: see `rest`. */
	private resting = false;
	private readonly least: number;
	private readonly ratio: number;

	/** @param kernels of the host's CPUs, booted; they idle until threads are started on them */
	constructor(kernels: readonly Kernel[], options: SmpOptions = {}) {
		this.random = new Random(options.seed ?? 1);
		const [least, greatest] = options.sliceCycles ?? SLICE_CYCLES;
		this.least = least;
		this.ratio = greatest / least;
		this.queues = kernels.map((kernel) => new RunQueue(kernel));
		for (const queue of this.queues) {
			const { kernel } = queue;
			this.queueOf.set(kernel, queue);
			kernel.smp = this;
			kernel.current = kernel.otherTask;
		}
	}

	/** Starts a thread on the CPU that it names. */
	start(thread: Thread): void {
		this.queue(thread.kernel).threads.push(thread);
	}

	/**
	 * Asks for a thread to go on on another CPU, as sched_setaffinity() does: it is preempted where it is as soon as
	 * that may be done, switched out there, and in here.
	 */
	migrate(thread: Thread, to: Kernel): void {
		const from = thread.kernel;
		thread.moveTo = to;
		this.queue(from).switchDue = true;
		if (from.current !== thread.task) return;
		thread.task.needResched = true;
		from.apic.raise(HOST_VECTOR.reschedule);
		this.somethingWillHappen(from);
	}

	/** wake_up_process(): an idle CPU gets a reschedule interrupt for it. @returns whether it was asleep */
	wake(thread: Thread): boolean {
		if (!thread.asleep) return false;
		thread.asleep = false;
		const { running } = this;
		if (running !== null) tryToWakeUp(running.cpu, thread.piLock);
		if (running === null || running === thread.kernel) return true;
		thread.readyAt = Math.max(thread.readyAt, running.cpu.cycles);
		this.sendReschedule(thread.kernel);
		return true;
	}

	/** smp_send_reschedule(): an interrupt for another CPU, from the one that runs. */
	sendReschedule(to: Kernel): void {
		this.running?.cpu.op(OP.send_ipi);
		to.apic.raise(HOST_VECTOR.reschedule);
		// An idle CPU's clock stands still; the interrupt arrives there when it was sent.
		const { running } = this;
		if (running !== null && this.isIdle(this.queue(to))) {
			to.cpu.idleUntil(running.cpu.cycles);
		}
		this.somethingWillHappen(to);
		this.shorten();
	}

	/** Whoever sends an interrupt mostly waits for what comes of it. */
	private shorten(): void {
		const cpu = this.running?.cpu;
		if (cpu === undefined) return;
		cpu.limitSlice(cpu.horizon, Math.min(cpu.sliceEnd, cpu.cycles + this.sliceLength()));
	}

	/** The current thread of a CPU sleeps until it is woken, or an interrupt comes. */
	sleep(kernel: Kernel): boolean {
		const thread = this.current(this.queue(kernel));
		if (thread !== null) thread.asleep = true;
		return true;
	}

	/**
	 * schedule() of the current thread: another one is to run, if there is another one. It does so at the next place
	 * where the thread can be left.
	 * @returns whether there is
	 */
	scheduleOther(kernel: Kernel): boolean {
		const queue = this.queue(kernel);
		const thread = this.current(queue);
		if (thread === null || (thread.moveTo === null && this.nextOf(queue) === null)) return false;
		thread.task.needResched = false;
		queue.switchDue = true;
		kernel.cpu.limitSlice(kernel.cpu.horizon, 0);
		return true;
	}

	/** A timer or an interrupt of another CPU: whoever runs must not get past it by more than a slice. */
	somethingWillHappen(kernel: Kernel): void {
		const { running } = this;
		if (running === null || running === kernel) return;
		const { cpu } = running;
		const { time } = this.queue(kernel);
		if (time < cpu.horizon) cpu.limitSlice(time, Math.min(cpu.sliceEnd, time + this.sliceLength()));
	}

	/**
	 * Runs threads until the predicate holds.
	 * @param isStopped asked between slices
	 */
	run(isStopped: () => boolean): SmpResult {
		for (;;) {
			if (isStopped()) return "stopped";
			const queue = this.earliest();
			if (queue === null) {
				return this.queues.every(({ threads }) => threads.length === 0) ? "over" : "asleep";
			}
			this.running = queue.kernel;
			try {
				this.slice(queue);
			} finally {
				this.running = null;
			}
		}
	}

	/** Runs threads that are about to end until all have; other threads can be started for their tasks. */
	rest(): void {
		this.resting = true;
		this.run(() => this.queues.every(({ threads }) => threads.length === 0));
		this.resting = false;
	}

	// ---- one slice -----------------------------------------------------------------------------------

	private queue(kernel: Kernel): RunQueue {
		return this.queueOf.get(kernel)!;
	}

	private current({ threads, kernel }: RunQueue): Thread | null {
		const first = threads[0];
		return first !== undefined && first.task === kernel.current ? first : null;
	}

	private isIdle({ threads }: RunQueue): boolean {
		return threads.every(({ asleep }) => asleep);
	}

	private earliest(): RunQueue | null {
		let best: RunQueue | null = null;
		let bestTime = Number.POSITIVE_INFINITY;
		for (const queue of this.queues) {
			const { time } = queue;
			if (time >= bestTime) continue;
			best = queue;
			bestTime = time;
		}
		return best;
	}

	/** Short ones are as frequent as long ones, by order of magnitude: races have windows of all sizes. */
	private sliceLength(): number {
		return Math.floor(this.least * this.ratio ** this.random.next());
	}

	private horizonOf(queue: RunQueue): number {
		let horizon = Number.POSITIVE_INFINITY;
		for (const other of this.queues) if (other !== queue) horizon = Math.min(horizon, other.time);
		return horizon;
	}

	private slice(queue: RunQueue): void {
		const { kernel } = queue;
		const { cpu } = kernel;
		cpu.idleUntil(queue.time);
		const horizon = this.horizonOf(queue);
		cpu.beginSlice(horizon, Math.min(horizon + this.sliceLength(), cpu.cycles + SLICE_CYCLES_ALONE));
		if (this.isIdle(queue)) {
			// schedule() of the thread that sleeps: the idle task runs meanwhile.
			if (this.current(queue) !== null && kernel.preemptible) this.switchTo(queue, null);
			this.idle(queue);
			return;
		}
		const thread = this.choose(queue);
		if (thread === null) return;
		// What is due ends the slice at the next node, but a guest must first be given the time to exit.
		if (queue.switchDue && cpu.guest === null) cpu.limitSlice(horizon, 0);
		if (thread.body.next().done === true) this.finish(queue, thread);
		else if (queue.switchDue && kernel.preemptible) this.leave(queue, thread);
	}

	/** do_idle(): takes what interrupts there are. Whoever sleeps looks whether that was for him. */
	private idle({ kernel, threads }: RunQueue): void {
		const { cpu } = kernel;
		if (cpu.cycles >= cpu.deadline) cpu.onDeadline(cpu);
		cpu.poll();
		for (const thread of threads) thread.asleep = false;
	}

	/** The thread to run: the current one unless it sleeps. */
	private choose(queue: RunQueue): Thread | null {
		const current = this.current(queue);
		if (current !== null && !current.asleep) return current;
		const next = this.nextOf(queue);
		if (next !== null) this.switchTo(queue, next);
		return next;
	}

	private nextOf(queue: RunQueue): Thread | null {
		const current = this.current(queue);
		const { cycles } = queue.kernel.cpu;
		return (
			queue.threads.find((thread) => thread !== current && !thread.asleep && thread.readyAt <= cycles) ?? null
		);
	}

	/** The thread is where it can be preempted, and is to be. */
	private leave(queue: RunQueue, thread: Thread): void {
		queue.switchDue = false;
		const to = thread.moveTo;
		const next = this.nextOf(queue);
		if (to === null) {
			if (next === null) return;
			queue.threads.shift();
			queue.threads.push(thread);
			this.switchTo(queue, next);
			return;
		}
		this.switchTo(queue, next);
		queue.threads.splice(queue.threads.indexOf(thread), 1);
		thread.moveTo = null;
		thread.kernel = to;
		thread.readyAt = Math.max(thread.readyAt, queue.kernel.cpu.cycles);
		thread.onMove(to);
		this.start(thread);
		this.startTick(this.queue(to));
	}

	/** context_switch(). @param next null for the idle task */
	private switchTo(queue: RunQueue, next: Thread | null): void {
		const { kernel, threads } = queue;
		const { cpu } = kernel;
		const previous = this.current(queue);
		if (previous === null) idleExit(cpu);
		kernel.contextSwitch(next === null ? kernel.otherTask : next.task, (next ?? previous)?.piLock);
		if (previous !== null) previous.stack = cpu.stack.slice(0, cpu.stackDepth);
		cpu.stackDepth = 0;
		if (next !== null) {
			cpu.stack.set(next.stack);
			cpu.stackDepth = next.stack.length;
		}
		cpu.observer?.onSwitch?.(cpu);
		if (next === null) {
			idleEnter(cpu);
			return;
		}
		threads.splice(threads.indexOf(next), 1);
		threads.unshift(next);
		this.startTick(queue);
	}

	/** Others wait for this CPU: the current thread's time is limited. */
	private startTick(queue: RunQueue): void {
		const { kernel, threads } = queue;
		if (queue.tickStarted || threads.length < 2) return;
		queue.tickStarted = true;
		const { cpu } = kernel;
		kernel.hrtimers.start(queue.tick, cpu.cycles + (SCHED_SLICE_NS * cpu.model.tscHz) / 1e9);
	}

	private finish(queue: RunQueue, thread: Thread): void {
		if (this.resting && queue.kernel.current === thread.task) this.switchTo(queue, null);
		queue.threads.splice(queue.threads.indexOf(thread), 1);
		queue.kernel.current = queue.kernel.otherTask;
	}
}
