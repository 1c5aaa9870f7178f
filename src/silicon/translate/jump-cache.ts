/**
 * The jump cache of layout.ts: from RIP to a slot of the table of regions, for the address space and mode that the
 * processor is in. Translated code looks into it to go from region to region.
 */
import type { Cpu } from "../cpu/cpu.ts";
import * as L from "../cpu/layout.ts";

/** Word index of the entry for a RIP's low half. structure.ts computes the same in code. */
export function jumpEntry(cpu: Cpu, ripLow: number): number {
	const slot = (ripLow ^ (ripLow >>> 12)) & (L.JUMP_CACHE_ENTRIES - 1);
	return (cpu.base + L.JUMP_CACHE + slot * L.JUMP_CACHE_ENTRY_BYTES) >> 2;
}

/** Empties it. To be called whenever the address space or the mode of the processor changes. */
export function flushJumpCache(cpu: Cpu): void {
	const start = cpu.base + L.JUMP_CACHE;
	cpu.memory.u8.fill(0xff, start, start + L.JUMP_CACHE_ENTRIES * L.JUMP_CACHE_ENTRY_BYTES);
}
