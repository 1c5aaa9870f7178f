/** What is measured on the real KVM, and what came out. `reenter measure --json` prints these. */
import type { Summary } from "./statistics.ts";

/** A clock; the faces have one, nothing below them does. */
export interface Clock {
	/** Nanoseconds since the program began. */
	now(): number;
}

/** Where measurements were made. */
export interface Platform {
	/** Kernel release. */
	readonly kernel: string;
	/** KVM's vendor module: kvm_intel, kvm_amd, or another. */
	readonly module: string;
	readonly cpu: string;
	/** Cycles of the time stamp counter in a second, as KVM_GET_TSC_KHZ says. */
	readonly tscHz: number;
}

/** One kind of exit, measured. */
export interface MeasuredExit {
	readonly name: string;
	readonly description: string;
	/** Cycles an exit. */
	readonly cycles: Summary;
	/** Exits in one sample. */
	readonly exitsPerSample: number;
}

/** One kind of exit that could not be measured here, and why. */
export interface SkippedExit {
	readonly name: string;
	readonly description: string;
	readonly reason: string;
}

export interface ExitTable {
	readonly platform: Platform;
	readonly exits: readonly MeasuredExit[];
	readonly skipped: readonly SkippedExit[];
	/** Cycles an iteration of the empty loop, which was taken off every figure. */
	readonly loopCycles: Summary;
	/** How far the empty loop's samples spread: (p99 - median) / median. What this machine's noise is. */
	readonly noise: number;
	readonly rounds: number;
}

/**
 * Whether guest code is emulated and not executed, from cycles an iteration of the empty loop: a processor needs a few, an
 * emulator hundreds at least.
 */
export function isEmulated(loopCycles: number): boolean {
	return loopCycles > 50;
}
