/** What a processor asks of whoever runs a guest on it: interfaces that VMX, SVM and KVM's emulator implement. */
import type { Cpu } from "./cpu.ts";

/** Holds while the processor runs a guest: VMX non-root operation, SVM guest mode. vmx/ and svm/ implement it. */
export interface GuestMode {
	/**
	 * Asked by a system instruction before it takes effect.
	 * @param cpu the processor
	 * @param intercept which instruction (INTERCEPT)
	 * @param length instruction length in bytes
	 * @param info what the exit needs to know: I/O qualification, MSR index, CR number and register …
	 * @returns true if the instruction caused a VM exit; its effect must not take place
	 */
	instruction(cpu: Cpu, intercept: number, length: number, info: number): boolean;
	/**
	 * Whether an instruction is undefined in this guest: #UD, ahead of all other checks (VMX's enable controls). Absent: none
	 * is.
	 * @param intercept INTERCEPT of the instruction
	 */
	isUndefined?(intercept: number): boolean;
	/** Asked before an exception is delivered through the guest's IDT. @returns true if it caused a VM exit */
	exception(cpu: Cpu, vector: number, errorCode: number, hasErrorCode: boolean): boolean;
	/** EPT violation or nested page fault; details are in the state block's FAULT fields. Always exits, or injects. */
	secondLevelFault(cpu: Cpu): void;
	/** Asked at an instruction boundary while `cpu.pending` is not 0. @returns true if a VM exit happened */
	pendingEvent(cpu: Cpu): boolean;
	/** A third fault while delivering a double fault. */
	tripleFault(cpu: Cpu): void;
	/** Root of the second-level page tables (host physical address), and their kind. */
	readonly secondLevel: { readonly kind: "ept" | "npt"; readonly root: number } | null;
	/** IRET leaves blocking by NMI as it is, since that is the hypervisor's. Absent: it does not. */
	readonly iretKeepsNmisBlocked?: boolean;
	/** Added to CYCLES when the guest reads the time stamp counter. */
	readonly tscOffset: number;
	/** RDTSC, and PAUSE, cause a VM exit. Asked when guest code is entered. */
	readonly interceptsTsc: boolean;
	readonly interceptsPause: boolean;
	/**
	 * What a MOV from CR0, CR4 or CR8 that did not exit reads (read shadows, virtual TPR).
	 * @param cr 0, 4 or 8
	 * @param real the register's value
	 */
	readCr?(cr: number, real: bigint): bigint;
	/** RDMSR that did not exit, of a register that the mode virtualizes. @returns null: it does not */
	readMsr?(index: number): bigint | null;
	/** WRMSR that did not exit. @returns true: done; false: #GP; null: not virtualized */
	writeMsr?(index: number, value: number): boolean | null;
	/**
	 * What a MOV to CR0, CR4 or CR8 (also LMSW, CLTS) that did not exit leaves in the register: bits that
	 * the hypervisor owns keep their real value.
	 * @param cr 0, 4 or 8
	 * @param real the register's value before
	 * @param value what the guest writes
	 */
	writeCr?(cr: number, real: bigint, value: bigint): bigint;
}

/**
 * The memory of a processor that a hypervisor's emulator borrows to carry an instruction out: all accesses by linear
 * address go here instead of through paging. A fault is noted as usual.
 */
export interface EmulatedMemory {
	/** @param access as paging/access.ts has it @returns the value, zero-extended; 0 with a fault noted */
	read(cpu: Cpu, linear: bigint, bytes: number, access: number): bigint;
	write(cpu: Cpu, linear: bigint, bytes: number, value: bigint, access: number): void;
	/** Whether a write would succeed; if not, its fault is noted. */
	probe(cpu: Cpu, linear: bigint, bytes: number, access: number): boolean;
	/** @returns byte offset in the machine's memory of the code at an address, or -1 with a fault noted */
	fetch(cpu: Cpu, linear: bigint): number;
}
