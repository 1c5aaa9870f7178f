/**
 * The jump cache of layout.ts: from RIP to a slot of the table of regions, for the address space and mode that the
 * processor is in. Translated code looks into it to go from region to region. Privilege level 3 has one of its own.
 */
import type { Cpu } from "./cpu.ts";
import * as L from "./layout.ts";

const BYTES = L.JUMP_CACHE_ENTRIES * L.JUMP_CACHE_ENTRY_BYTES;
/**
 * An empty entry has the tag -1, which belongs into entry 0: a RIP as good as any other. There an empty one has the low
 * half of a RIP that belongs elsewhere.
 */
const EMPTY_ENTRY_0 = 1;

/**
 * Word index of the entry for a RIP's low half. core.ts computes the same in code.
 * @param bank 0, or L.USER_BANK
 */
export function jumpEntry(cpu: Cpu, bank: number, ripLow: number): number {
	const slot = (ripLow ^ (ripLow >>> 12)) & (L.JUMP_CACHE_ENTRIES - 1);
	return (cpu.base + bank + L.JUMP_CACHE + slot * L.JUMP_CACHE_ENTRY_BYTES) >> 2;
}

/** Where `pages` notes a page of code. */
function pageFilter(ripLow: number): number {
	return (ripLow >>> 12) & 1023;
}

/**
 * Enters a region.
 * @param entry what `jumpEntry` gave
 * @param low half of RIP, and `high`
 * @param slot of the table of regions
 */
export function fillJumpEntry(
	cpu: Cpu,
	bank: number,
	entry: number,
	low: number,
	high: number,
	slot: number,
): void {
	const { u32, jumpFilled, jumpPages } = cpu;
	u32[entry] = low;
	u32[entry + 1] = high;
	u32[entry + 2] = slot;
	jumpFilled[bank === 0 ? 0 : 1]!.add(entry);
	jumpPages[pageFilter(low)] = 1;
}

/** Empties both caches. To be called whenever the address space or the mode of the processor changes. */
export function flushJumpCache(cpu: Cpu): void {
	for (const [index, bank] of [0, L.USER_BANK].entries()) {
		const start = cpu.base + bank + L.JUMP_CACHE;
		cpu.jumpFilled[index]!.empty(cpu.u32, start, start + BYTES);
		cpu.u32[start >> 2] = EMPTY_ENTRY_0;
	}
	cpu.jumpPages.fill(0);
	cpu.jumpsUnlisted = false;
}

/** Whether code at offsets in the page of RIP may be in a cache. False is certain. */
export function mayHaveJumpsTo(cpu: Cpu, ripLow: number): boolean {
	return cpu.jumpPages[pageFilter(ripLow)] !== 0;
}
