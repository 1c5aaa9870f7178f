/** High-resolution timers of one CPU, and the TSC-deadline clock event behind them (kernel/time/hrtimer.c). */
import type { Cpu } from "../silicon/cpu/cpu.ts";

export interface Hrtimer {
	/** Cycles of the CPU's time stamp counter at which it fires. */
	expiresCycles: number;
	/** Runs in interrupt context. */
	callback(): void;
}

/** A queue of timers; the earliest drives the CPU's deadline. */
export class HrtimerQueue {
	private readonly cpu: Cpu;
	private readonly timers: Hrtimer[] = [];
	/** Called when the deadline changed, so that the owner can merge it with other deadlines. */
	onChange: () => void = () => {};

	constructor(cpu: Cpu) {
		this.cpu = cpu;
	}

	/** Cycles at which the earliest timer expires; Infinity when there is none. */
	get nextCycles(): number {
		return this.timers.length === 0 ? Number.POSITIVE_INFINITY : this.timers[0]!.expiresCycles;
	}

	/** How many are armed. */
	get size(): number {
		return this.timers.length;
	}

	/** Starts, or moves, a timer. */
	start(timer: Hrtimer, expiresCycles: number): void {
		this.remove(timer);
		timer.expiresCycles = expiresCycles;
		let at = this.timers.length;
		while (at > 0 && this.timers[at - 1]!.expiresCycles > expiresCycles) at--;
		this.timers.splice(at, 0, timer);
		this.onChange();
	}

	/** Cancels a timer. @returns whether it was queued */
	cancel(timer: Hrtimer): boolean {
		const queued = this.remove(timer);
		if (queued) this.onChange();
		return queued;
	}

	private remove(timer: Hrtimer): boolean {
		const at = this.timers.indexOf(timer);
		if (at >= 0) this.timers.splice(at, 1);
		return at >= 0;
	}

	/** Runs the callbacks of all timers that are due: hrtimer_interrupt(). */
	expire(): void {
		while (this.timers.length > 0 && this.timers[0]!.expiresCycles <= this.cpu.cycles) {
			this.timers.shift()!.callback();
		}
		this.onChange();
	}
}
