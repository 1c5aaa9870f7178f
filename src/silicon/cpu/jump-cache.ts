/**
 * The jump cache of layout.ts: from RIP to a slot of the table of regions, for the address space and mode that the
 * processor is in. Translated code looks into it to go from region to region. Privilege level 3 has one of its own.
 */
import type { Cpu } from "./cpu.ts";
import type { FillList } from "./fill-list.ts";
import * as L from "./layout.ts";

const BYTES = L.JUMP_CACHE_ENTRIES * L.JUMP_CACHE_ENTRY_BYTES;
/**
 * An empty entry has the tag -1, which belongs into entry 0: a RIP as good as any other. There an empty one has the low
 * half of a RIP that belongs elsewhere.
 */
const EMPTY_ENTRY_0 = 1;
const EMPTY = 0xffffffff;
/** With more entries listed, emptying the caches takes less time than looking for those of one page. */
const DROPPED_FROM_MOST = 1024;

/**
 * Word index of the entry for a RIP's low half. core.ts computes the same in code.
 * @param bank 0, or L.USER_BANK
 */
export function jumpEntry(cpu: Cpu, bank: number, ripLow: number): number {
	const slot = (ripLow ^ (ripLow >>> 12)) & (L.JUMP_CACHE_ENTRIES - 1);
	return (cpu.base + bank + L.JUMP_CACHE + slot * L.JUMP_CACHE_ENTRY_BYTES) >> 2;
}

/** Where `pages` notes a page of code. */
function pageFilter(ripLow: number, ripHigh: number): number {
	return ((ripLow >>> 12) ^ (Math.imul(ripHigh, 0x9e3779b1) >>> 22)) & 1023;
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
	const empty = entry === (cpu.base + bank + L.JUMP_CACHE) >> 2 ? EMPTY_ENTRY_0 : EMPTY;
	if (u32[entry] === empty && u32[entry + 1] === EMPTY) jumpFilled[bank === 0 ? 0 : 1]!.add(entry);
	u32[entry] = low;
	u32[entry + 1] = high;
	u32[entry + 2] = slot;
	jumpPages[pageFilter(low, high)] = 1;
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

/** An instruction that begins in one page may end in the next. */
const INSTRUCTION_BYTES_MAX = 15;

/** Whether code at offsets in the page of RIP, or code that runs into it, may be in a cache. False is certain. */
function mayHaveJumpsTo(cpu: Cpu, low: number, high: number): boolean {
	const before = (low - 4096) >>> 0;
	const beforeHigh = before > low ? (high - 1) >>> 0 : high;
	return cpu.jumpPages[pageFilter(low, high)] !== 0 || cpu.jumpPages[pageFilter(before, beforeHigh)] !== 0;
}

/**
 * Drops the entries of the code in a page, and of instructions that run into it.
 * @param low half of any RIP in the page, and `high`, unsigned
 * @param shift log2 of the page's bytes
 */
export function dropJumpsTo(cpu: Cpu, low: number, high: number, shift: number): void {
	if (shift === 12 && !mayHaveJumpsTo(cpu, low, high)) return;
	const { jumpFilled, jumpPages } = cpu;
	if (jumpFilled[0].length + jumpFilled[1].length > DROPPED_FROM_MOST) {
		flushJumpCache(cpu);
		return;
	}
	// Made anew from what stays: a page whose code is gone is not looked for again.
	jumpPages.fill(0);
	dropFrom(cpu, jumpFilled[0], 0, low, high, shift);
	dropFrom(cpu, jumpFilled[1], L.USER_BANK, low, high, shift);
}

function dropFrom(cpu: Cpu, list: FillList, bank: number, low: number, high: number, shift: number): void {
	const { u32, jumpPages } = cpu;
	const first = (cpu.base + bank + L.JUMP_CACHE) >> 2;
	for (let at = list.length - 1; at >= 0; at--) {
		const entry = list.at(at);
		const from = u32[entry]!;
		const to = (from + INSTRUCTION_BYTES_MAX - 1) >>> 0;
		const fromHigh = u32[entry + 1]!;
		const toHigh = to < from ? (fromHigh + 1) >>> 0 : fromHigh;
		const inside = (from ^ low) >>> shift === 0 && fromHigh === high;
		if (!inside && ((to ^ low) >>> shift !== 0 || toHigh !== high)) {
			jumpPages[pageFilter(from, fromHigh)] = 1;
			continue;
		}
		u32[entry] = entry === first ? EMPTY_ENTRY_0 : EMPTY;
		u32[entry + 1] = EMPTY;
		list.remove(at);
	}
}
