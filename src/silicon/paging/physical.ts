/**
 * Host physical memory as the processor's own table walks see it, and the bits of a page fault's error code.
 * What lies behind the end of RAM reads as all ones and drops writes, as an empty bus does.
 */
import type { Cpu } from "../cpu/cpu.ts";

/** Error code of a page fault (SDM Vol. 3A, 5.7). `write`, `user`, `fetch` and `shadowStack` also describe an access. */
export const PF = {
	present: 1,
	write: 2,
	user: 4,
	reserved: 8,
	fetch: 16,
	key: 32,
	shadowStack: 64,
} as const;

/** An aligned doubleword. @param hpa host physical address */
export function physicalWord(cpu: Cpu, hpa: number): number {
	const { memory } = cpu;
	return hpa >= memory.ramBytes ? -1 : memory.i32[(memory.ramBase + hpa) >>> 2]!;
}

/** Sets bits of an aligned doubleword, such as accessed and dirty; writes only if one was clear. */
export function setPhysicalBits(cpu: Cpu, hpa: number, bits: number): void {
	const { memory } = cpu;
	if (hpa >= memory.ramBytes) return;
	const at = (memory.ramBase + hpa) >>> 2;
	const old = memory.i32[at]!;
	if ((old & bits) === bits) return;
	if (memory.codePages[hpa >>> 12] !== 0) memory.onCodeWrite(hpa >>> 12);
	memory.i32[at] = old | bits;
}
