/** Who looks at a processor while it runs host code: interfaces that check, trace and profile implement. */
import type { Cpu } from "./cpu.ts";

/** Sees every op before it takes effect. Check, trace and profile implement it. */
export interface OpObserver {
	onOp(cpu: Cpu, op: number): void;
	/** Guest mode has begun; the guest has not executed an instruction yet. */
	onGuestEntry?(cpu: Cpu): void;
	/** The guest has exited; the registers still are what it left in them. */
	onGuestExit?(cpu: Cpu): void;
	/** A symbol was entered or left: `symbol` is an id of `symbolName`. */
	onEnter?(cpu: Cpu, symbol: number): void;
	onLeave?(cpu: Cpu, symbol: number): void;
	/** Another thread's call stack is in `cpu.stack` from here on. */
	onSwitch?(cpu: Cpu): void;
	/** The clock is about to jump over this many cycles, in which the processor stands still. */
	onIdle?(cpu: Cpu, cycles: number): void;
}

/**
 * Looks at the call stack from time to time, as a performance counter's interrupt does. It is asked where a function is
 * entered or left and `sampleAt` has passed, before the stack changes: the time since belongs to that stack.
 */
export interface StackSampler {
	onSample(cpu: Cpu): void;
	/** As in OpObserver. */
	onGuestEntry(cpu: Cpu): void;
	onGuestExit(cpu: Cpu): void;
	/** As in OpObserver. */
	onIdle(cpu: Cpu, cycles: number): void;
}
