/** Faults that are waiting in the state block to be delivered, and the exception vectors. */
import type { Cpu } from "./cpu.ts";
import * as L from "./layout.ts";

/** Exception vectors (SDM Vol. 3A, table 7-1). */
export const VECTOR = {
	DE: 0,
	DB: 1,
	NMI: 2,
	BP: 3,
	OF: 4,
	BR: 5,
	UD: 6,
	NM: 7,
	DF: 8,
	TS: 10,
	NP: 11,
	SS: 12,
	GP: 13,
	PF: 14,
	MF: 16,
	AC: 17,
	MC: 18,
	XM: 19,
	VE: 20,
	CP: 21,
} as const;

/** Values of the FAULT field. */
export const FAULT_KIND = { none: 0, exception: 1, secondLevel: 2 } as const;

/** Notes an exception to be delivered before the current instruction takes effect. */
export function raise(cpu: Cpu, vector: number, errorCode: number | null = null): void {
	cpu.write32(L.FAULT, FAULT_KIND.exception);
	cpu.write32(L.FAULT_VECTOR, vector);
	cpu.write32(L.FAULT_ERROR_CODE, errorCode ?? 0);
	cpu.write32(L.FAULT_HAS_ERROR_CODE, errorCode === null ? 0 : 1);
}

/** Notes a page fault. @param lo low half of the address for CR2, and `hi` */
export function raisePageFault(cpu: Cpu, lo: number, hi: number, errorCode: number): void {
	raise(cpu, VECTOR.PF, errorCode);
	cpu.write32(L.FAULT_LINEAR, lo);
	cpu.write32(L.FAULT_LINEAR + 4, hi);
}

/** Notes an EPT violation or nested page fault. */
export function raiseSecondLevelFault(cpu: Cpu, gpa: bigint, linear: bigint, qualification: bigint): void {
	cpu.write32(L.FAULT, FAULT_KIND.secondLevel);
	cpu.write64(L.FAULT_GPA, gpa);
	cpu.write64(L.FAULT_LINEAR, linear);
	cpu.write64(L.FAULT_QUALIFICATION, qualification);
}

/** A fault as a result: what a semantic function returns instead of taking effect. */
export interface Fault {
	readonly vector: number;
	readonly errorCode: number | null;
}

/** #UD. */
export const UD: Fault = { vector: VECTOR.UD, errorCode: null };
/** #NM. */
export const NM: Fault = { vector: VECTOR.NM, errorCode: null };
/** #GP(0). */
export const GP0: Fault = { vector: VECTOR.GP, errorCode: 0 };
