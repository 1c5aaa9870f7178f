/**
 * What translated code needs from the rest of the processor: memory on the slow path, system instructions,
 * delivery of faults and events. `silicon/processor.ts` binds these to paging/ and system/.
 */
import type { Cpu } from "../cpu/cpu.ts";
import type { Insn } from "./insn.ts";

/** What became of a system instruction. */
export const OUTCOME = {
	/** Done; RIP moves past the instruction. */
	next: 0,
	/** Done; RIP is set. Modes, paging or segments may have changed. */
	jumped: 1,
	/** A fault is noted in the state block; RIP still names the instruction. */
	fault: 2,
	/** Execution of this context ended: a VM exit, HLT without a hypervisor, shutdown. */
	stop: 3,
	/** A REP has done some of its elements; RIP still names it, and it goes on there when events have been looked at. */
	again: 4,
} as const;
/** One of OUTCOME. */
export type Outcome = (typeof OUTCOME)[keyof typeof OUTCOME];

/** The state before an instruction that runs by itself, as far as debug exceptions depend on it. */
export interface BeforeInstruction {
	readonly rip: bigint;
	readonly singleStep: boolean;
	readonly pending: number;
}

/** The rest of the processor, as the translator sees it. */
export interface Services {
	/**
	 * Finds the code byte at a linear address, with the rights of an instruction fetch.
	 * @returns its byte offset in the machine's memory, or -1 with a fault noted
	 */
	fetch(cpu: Cpu, linear: bigint): number;
	/**
	 * Loads 1, 2, 4 or 8 bytes, zero-extended; fills the read TLB. On a fault, notes it and returns 0.
	 * @param stack the access is through SS
	 */
	load(cpu: Cpu, linear: bigint, bytes: number, stack?: boolean): bigint;
	/** Stores 1, 2, 4 or 8 bytes; fills the write TLB unless the page holds translated code. Notes faults. */
	store(cpu: Cpu, linear: bigint, bytes: number, value: bigint, stack?: boolean): void;
	/** Checks that a store to this range would succeed, and notes the fault if not. For read-modify-write. */
	probeStore(cpu: Cpu, linear: bigint, bytes: number, stack?: boolean): void;
	/** Notes #GP(0) if a near branch may not lead to an offset in CS. */
	checkBranch(cpu: Cpu, target: bigint): void;
	/** Carries out an instruction that is not translated. RIP names it. */
	system(cpu: Cpu, insn: Insn): Outcome;
	/** Delivers the noted fault: through the guest's IDT, or as a VM exit. @returns true if the context ended */
	deliverFault(cpu: Cpu): boolean;
	/** Delivers the #DB that waits in PENDING_DBG. @returns true if the context ended */
	deliverPendingDebug(cpu: Cpu): boolean;
	/** Whether the instruction at RIP must be an ENDBRANCH. */
	awaitsEndbranch(cpu: Cpu): boolean;
	/** Whether the instruction at RIP may run as far as that goes; if not, its #CP is noted. @param mnemonic of it */
	checkEndbranch(cpu: Cpu, mnemonic: number): boolean;
	/** Notes the #DB of an instruction breakpoint at RIP. @returns whether there was one */
	breaksBefore(cpu: Cpu): boolean;
	/** What `afterInstruction` wants to know of the time before an instruction that runs by itself. */
	beforeInstruction(cpu: Cpu): BeforeInstruction;
	/** Ends a complete instruction that ran by itself, and delivers its trap. @returns true if the context ended */
	afterInstruction(cpu: Cpu, before: BeforeInstruction, mnemonic: number, length: number): boolean;
	/** Handles `cpu.pending` and the deadline at an instruction boundary. @returns true if the context ended */
	boundary(cpu: Cpu): boolean;
}
