/**
 * The software TLB that translated code looks into (layout.ts TLB_READ, TLB_WRITE). An entry holds the linear
 * page address as its tag and an addend: Wasm offset = low half of the linear address + addend, modulo 2^32.
 *
 * Entries carry no privilege of their own. They are good for the context they were filled in: paging mode, tables,
 * CPL, PKRU while CR4.PKE is set, second-level root. `contextChanged` compares that and flushes.
 */
import { CR0, CR4, EFER } from "../cpu/control.ts";
import type { Cpu } from "../cpu/cpu.ts";
import * as L from "../cpu/layout.ts";

const TWO_32 = 2 ** 32;
const TLB_END = L.TLB_WRITE + L.TLB_ENTRIES * L.TLB_ENTRY_BYTES;
const JUMP_CACHE_END = L.JUMP_CACHE + L.JUMP_CACHE_ENTRIES * L.JUMP_CACHE_ENTRY_BYTES;

const PAGING_CR4 = CR4.PSE | CR4.PAE | CR4.PGE | CR4.PCIDE | CR4.SMEP | CR4.SMAP | CR4.PKE;

/** Drops all translations, and the jump cache, whose targets were found through them. */
export function flushTlb(cpu: Cpu): void {
	const { base } = cpu;
	cpu.write32(L.TLB_LARGE, 0);
	cpu.memory.u8.fill(0xff, base + L.TLB_READ, base + TLB_END);
	cpu.memory.u8.fill(0xff, base + L.JUMP_CACHE, base + JUMP_CACHE_END);
}

/**
 * Drops the translation of one page, as INVLPG does. A page above 4 KiB has many entries here, and all of them go
 * (SDM Vol. 3A, 5.10.4.1); which they are is not known, so the whole TLB goes if it may hold any.
 * @param linear any address in the page
 */
export function flushPage(cpu: Cpu, linear: bigint): void {
	if (cpu.read32(L.TLB_LARGE) !== 0) {
		flushTlb(cpu);
		return;
	}
	const { base } = cpu;
	const index = (Number(linear & 0xffffffffn) >>> 12) & (L.TLB_ENTRIES - 1);
	for (const table of [L.TLB_READ, L.TLB_WRITE]) {
		cpu.u64[(base + table + index * L.TLB_ENTRY_BYTES) >> 3] = BigInt.asUintN(64, L.TLB_INVALID);
	}
	cpu.memory.u8.fill(0xff, base + L.JUMP_CACHE, base + JUMP_CACHE_END);
}

/**
 * Flushes if the context differs from the one that the TLB was filled in. Called after every instruction that
 * may change it and at VM entry; cheap when nothing differs, so that an exit and re-entry of one guest keep
 * the TLB.
 */
export function contextChanged(cpu: Cpu): void {
	const { u32 } = cpu;
	const key = (cpu.base + L.TLB_KEY) >> 2;
	const cr4 = cpu.read32(L.CR4) & PAGING_CR4;
	const privilege = (cpu.read32(L.SEG + L.SS * L.SEG_BYTES + L.SEG_ATTR) >>> 5) & 3;
	const modes =
		(cpu.read32(L.CR0) & (CR0.PE | CR0.WP)) |
		((cpu.read32(L.CR0) >>> 31) << 1) |
		(cpu.read32(L.EFER) & (EFER.LMA | EFER.NXE)) |
		(privilege === 3 ? 8 : 0);
	const cr3Lo = cpu.read32(L.CR3);
	const cr3Hi = cpu.read32(L.CR3 + 4);
	const pkru = (cr4 & CR4.PKE) !== 0 ? cpu.read32(L.PKRU) : 0;
	const secondLevel = cpu.guest === null ? null : cpu.guest.secondLevel;
	const rootLo = secondLevel === null ? 0 : (secondLevel.root | 1) >>> 0;
	const rootHi = secondLevel === null ? 0 : Math.floor(secondLevel.root / TWO_32);
	if (
		u32[key] === modes &&
		u32[key + 1] === cr3Lo &&
		u32[key + 2] === cr3Hi &&
		u32[key + 3] === cr4 &&
		u32[key + 4] === pkru &&
		u32[key + 5] === rootLo &&
		u32[key + 6] === rootHi
	) {
		return;
	}
	u32[key] = modes;
	u32[key + 1] = cr3Lo;
	u32[key + 2] = cr3Hi;
	u32[key + 3] = cr4;
	u32[key + 4] = pkru;
	u32[key + 5] = rootLo;
	u32[key + 6] = rootHi;
	flushTlb(cpu);
}

/**
 * Enters a translation.
 * @param table TLB_READ or TLB_WRITE
 * @param lo low half of the linear address
 * @param hi high half
 * @param at Wasm offset that the address translates to
 */
export function fillTlb(cpu: Cpu, table: number, lo: number, hi: number, at: number): void {
	const entry = (cpu.base + table + ((lo >>> 12) & (L.TLB_ENTRIES - 1)) * L.TLB_ENTRY_BYTES) >> 2;
	cpu.u32[entry] = lo & 0xfffff000;
	cpu.u32[entry + 1] = hi;
	cpu.u32[entry + 2] = (at - lo) >>> 0;
}

/**
 * Makes stores to a page of host physical memory take the slow path, on every processor of the machine, because
 * code is translated from it. `fetch` does this for each page it hands out.
 * @param page host physical page number
 */
export function protectCodePage(cpu: Cpu, page: number): void {
	const { memory } = cpu;
	const { u32 } = memory;
	const cpus = memory.ramBase / L.CPU_AREA_BYTES;
	const words = L.TLB_ENTRY_BYTES >> 2;
	const wanted = (memory.ramBase >>> 12) + page;
	for (let index = 0; index < cpus; index++) {
		const start = (index * L.CPU_AREA_BYTES + L.TLB_WRITE) >> 2;
		for (let entry = start; entry < start + L.TLB_ENTRIES * words; entry += words) {
			// Low half of the tag plus the addend is the Wasm offset of the page.
			if (((u32[entry]! + u32[entry + 2]!) >>> 0) >>> 12 !== wanted) continue;
			u32[entry] = 0xffffffff;
			u32[entry + 1] = 0xffffffff;
		}
	}
}
