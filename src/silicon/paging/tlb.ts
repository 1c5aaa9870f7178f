/**
 * The software TLB that translated code looks into (layout.ts TLB_READ, TLB_WRITE, TLB_FETCH). An entry holds the linear
 * page address as its tag and an addend: Wasm offset = low half of the linear address + addend, modulo 2^32.
 *
 * Privilege level 3 has entries of its own (USER_BANK), so that going to the kernel and back keeps both. Beyond that an
 * entry is good for the context it was filled in: paging mode, tables, PKRU while CR4.PKE is set, second-level root.
 * `contextChanged` compares that and flushes.
 */
import { CR0, CR4, EFER } from "../cpu/control.ts";
import type { Cpu } from "../cpu/cpu.ts";
import { DR7 } from "../cpu/debug.ts";
import type { FillList } from "../cpu/fill-list.ts";
import { highHalf, lowHalf } from "../cpu/halves.ts";
import { dropJumpsTo, flushJumpCache } from "../cpu/jump-cache.ts";
import * as L from "../cpu/layout.ts";
import type { MachineMemory } from "../machine.ts";
import { tlbFetchOffset, tlbOffset } from "../cpu/tlb-index.ts";
import { PF } from "./physical.ts";
import { knownWalk } from "./walk.ts";

const TWO_32 = 2 ** 32;
const TLB_BYTES = L.TLB_FETCH - L.TLB_READ + L.TLB_FETCH_ENTRIES * L.TLB_ENTRY_BYTES;

const PAGING_CR4 =
	CR4.PSE | CR4.PAE | CR4.PGE | CR4.LA57 | CR4.PCIDE | CR4.SMEP | CR4.SMAP | CR4.PKE | CR4.PKS;

/** The bank that an access uses: its rights are those of level 3 or not. */
export function bankOf(access: number): number {
	return (access & PF.user) !== 0 ? L.USER_BANK : 0;
}

/** Drops all translations of linear addresses, and the jump caches, whose targets were found through them. */
export function flushLinear(cpu: Cpu): void {
	for (const [index, bank] of [0, L.USER_BANK].entries()) {
		const start = cpu.base + bank + L.TLB_READ;
		cpu.tlbFilled[index]!.empty(cpu.u32, start, start + TLB_BYTES);
	}
	cpu.largePages.fill(0);
	flushJumpCache(cpu);
}

/** With more entries than this, finding again those that are needed takes less time than looking at all. */
const RENEWED_MOST = 12;

/**
 * Does what `flushLinear` does, in the address space that stays: entries whose walk would find now what it found then are
 * kept, as are the jump caches if that is so of all code. Guests that flush all the time need the same few pages again.
 */
export function renewLinear(cpu: Cpu): void {
	const [lower, user] = cpu.tlbFilled;
	const watching = (cpu.read32(L.DR7) & DR7.enables) !== 0;
	if (watching || lower.length + user.length > RENEWED_MOST) {
		flushLinear(cpu);
		return;
	}
	const keepsLower = renewBank(cpu, lower, 0);
	const keepsUser = renewBank(cpu, user, L.USER_BANK);
	if (!keepsLower || !keepsUser || cpu.jumpsUnlisted) flushJumpCache(cpu);
}

/** @returns whether all entries of code were kept */
function renewBank(cpu: Cpu, list: FillList, bank: number): boolean {
	const { u32, memory } = cpu;
	const start = cpu.base + bank;
	let keepsCode = true;
	for (let at = 0; at < list.length; at++) {
		const word = list.at(at);
		const lo = (u32[word]! & ~L.TLB_CODE_PAGE) >>> 0;
		if ((lo & 0xfff) !== 0) continue;
		const offset = (word << 2) - start;
		const kind = offset >= L.TLB_FETCH ? PF.fetch : offset >= L.TLB_WRITE ? PF.write : 0;
		const hpa = knownWalk(cpu, lo, u32[word + 1]!, bank === 0 ? kind : kind | PF.user);
		if (hpa >= 0 && (memory.ramBase + hpa - lo) >>> 0 === u32[word + 2]) continue;
		dropEntry(cpu, word);
		if (kind === PF.fetch) keepsCode = false;
	}
	return keepsCode;
}

/** Drops what is cached of the second level. */
function flushSecondLevel(cpu: Cpu): void {
	cpu.guestPhysical.flush();
	cpu.walks.flush();
}

/** Drops all translations, those of guest physical addresses included: what a hypervisor's invalidations do. */
export function flushTlb(cpu: Cpu): void {
	flushLinear(cpu);
	flushSecondLevel(cpu);
}

/** Where `largePages` notes the 2 MiB around an address; pages of 1 GiB are noted in one place for all. */
function largeFilter(lo: number, hi: number): number {
	return ((lo >>> 21) ^ (Math.imul(hi, 0x9e3779b1) >>> 24)) & 255;
}
const GIGABYTE_FILTER = 256;

/** Notes that a translation through a page above 4 KiB is in use. @param shift log2 of the page's bytes */
function noteLarge(cpu: Cpu, lo: number, hi: number, shift: number): void {
	if (shift === 30) cpu.largePages[GIGABYTE_FILTER] = 1;
	else if (shift === 22) {
		cpu.largePages[largeFilter(lo & ~(1 << 21), hi)] = 1;
		cpu.largePages[largeFilter(lo | (1 << 21), hi)] = 1;
	} else cpu.largePages[largeFilter(lo, hi)] = 1;
}

/**
 * Low half of the tag of an entry that was dropped alone, which `tlbFilled` still lists: no access looks for it, since the
 * bits between alignment and page are set. With all bits set an entry is not listed.
 */
const DROPPED = 0xfffffffe;

function dropEntry(cpu: Cpu, word: number): void {
	cpu.u32[word] = DROPPED;
	cpu.u32[word + 1] = 0xffffffff;
}

/** Drops the entries that lie in the same large page as an address. */
function dropLarge(cpu: Cpu, lo: number, hi: number): void {
	const { u32 } = cpu;
	for (const list of cpu.tlbFilled) {
		if (!list.isComplete) {
			flushLinear(cpu);
			return;
		}
	}
	for (const list of cpu.tlbFilled) {
		for (let at = 0; at < list.length; at++) {
			const word = list.at(at);
			const shift = u32[word + 3]!;
			if (shift === 0 || u32[word + 1] !== hi >>> 0 || (u32[word]! ^ lo) >>> shift !== 0) continue;
			dropEntry(cpu, word);
		}
	}
	noteLargePages(cpu);
}

/** Makes `largePages` say what the entries are. */
function noteLargePages(cpu: Cpu): void {
	const { u32 } = cpu;
	cpu.largePages.fill(0);
	for (const list of cpu.tlbFilled) {
		for (let at = 0; at < list.length; at++) {
			const word = list.at(at);
			if (u32[word + 3] !== 0 && u32[word] !== DROPPED)
				noteLarge(cpu, u32[word]!, u32[word + 1]!, u32[word + 3]!);
		}
	}
}

/** Drops the entries of a page in a bank. */
function dropOfPage(cpu: Cpu, bank: number, lo: number, hi: number): void {
	const { u32 } = cpu;
	const page = (lo & 0xfffff000) >>> 0;
	const read = (cpu.base + bank + L.TLB_READ + tlbOffset(lo)) >> 2;
	const write = read + ((L.TLB_WRITE - L.TLB_READ) >> 2);
	const fetch = (cpu.base + bank + L.TLB_FETCH + tlbFetchOffset(lo)) >> 2;
	if (u32[read] === page && u32[read + 1] === hi) dropEntry(cpu, read);
	if (u32[write + 1] === hi && (u32[write] === page || u32[write] === (page | L.TLB_CODE_PAGE) >>> 0))
		dropEntry(cpu, write);
	if (u32[fetch] === page && u32[fetch + 1] === hi) dropEntry(cpu, fetch);
}

/**
 * Drops the translations of one page, as INVLPG does: all entries of a page above 4 KiB (SDM Vol. 3A, 5.10.4.1).
 * @param linear any address in the page
 */
export function flushPage(cpu: Cpu, linear: bigint): void {
	const lo = lowHalf(linear);
	const hi = highHalf(linear);
	const { largePages } = cpu;
	dropOfPage(cpu, 0, lo, hi);
	dropOfPage(cpu, L.USER_BANK, lo, hi);
	const large = largePages[largeFilter(lo, hi)] !== 0 || largePages[GIGABYTE_FILTER] !== 0;
	if (large) dropLarge(cpu, lo, hi);
	// Jumps are kept by offset in CS, which is the linear address only with a base of 0. No page is bigger than 1 GiB.
	if (cpu.read32(L.SEG + L.CS * L.SEG_BYTES) !== 0) flushJumpCache(cpu);
	else dropJumpsTo(cpu, lo, hi, large ? 30 : 12);
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
	const modes =
		(cpu.read32(L.CR0) & (CR0.PE | CR0.WP)) |
		((cpu.read32(L.CR0) >>> 31) << 1) |
		(cpu.read32(L.EFER) & (EFER.LMA | EFER.NXE));
	const cr3Lo = cpu.read32(L.CR3);
	const cr3Hi = cpu.read32(L.CR3 + 4);
	const pkru = (cr4 & CR4.PKE) !== 0 ? cpu.read32(L.PKRU) : 0;
	const pkrs = (cr4 & CR4.PKS) !== 0 ? cpu.read32(L.PKRS) : 0;
	// With breakpoints on, every access is looked at: nothing enters the TLB.
	const watching = (cpu.read32(L.DR7) & DR7.enables) !== 0 ? 1 : 0;
	const secondLevel = cpu.guest === null ? null : cpu.guest.secondLevel;
	const rootLo = secondLevel === null ? 0 : (secondLevel.root | 1) >>> 0;
	const rootHi = secondLevel === null ? 0 : Math.floor(secondLevel.root / TWO_32);
	if (u32[key + 5] !== rootLo || u32[key + 6] !== rootHi) flushSecondLevel(cpu);
	else if (
		u32[key] === modes &&
		u32[key + 1] === cr3Lo &&
		u32[key + 2] === cr3Hi &&
		((u32[key + 3]! ^ cr4) & ~CR4.PGE) === 0 &&
		u32[key + 4] === pkru &&
		u32[key + 7] === pkrs &&
		u32[key + 8] === watching
	) {
		if (u32[key + 3] === cr4) return;
		u32[key + 3] = cr4;
		renewLinear(cpu);
		return;
	}
	u32[key] = modes;
	u32[key + 1] = cr3Lo;
	u32[key + 2] = cr3Hi;
	u32[key + 3] = cr4;
	u32[key + 4] = pkru;
	u32[key + 5] = rootLo;
	u32[key + 6] = rootHi;
	u32[key + 7] = pkrs;
	u32[key + 8] = watching;
	flushLinear(cpu);
}

const FETCH_3 = L.TLB_FETCH + L.USER_BANK;

/**
 * Looks a linear address up.
 * @param table TLB_READ, TLB_WRITE or TLB_FETCH, plus the bank
 * @returns the Wasm offset, or -1
 */
export function lookUpTlb(cpu: Cpu, table: number, lo: number, hi: number): number {
	const { u32 } = cpu;
	const offset = table === L.TLB_FETCH || table === FETCH_3 ? tlbFetchOffset(lo) : tlbOffset(lo);
	const entry = (cpu.base + table + offset) >> 2;
	if (u32[entry] !== (lo & 0xfffff000) >>> 0 || u32[entry + 1] !== hi) return -1;
	return (lo + u32[entry + 2]!) >>> 0;
}

/**
 * Looks up an address that is to be written, in a page that holds translated code, which `lookUpTlb` does not find.
 * @param bank of `bankOf`
 * @returns the Wasm offset, or -1 also if the page holds code no longer: then a new entry is due
 */
export function lookUpCodePage(cpu: Cpu, bank: number, lo: number, hi: number): number {
	const { u32, memory } = cpu;
	const entry = (cpu.base + L.TLB_WRITE + bank + tlbOffset(lo)) >> 2;
	if (u32[entry] !== ((lo & 0xfffff000) | L.TLB_CODE_PAGE) >>> 0 || u32[entry + 1] !== hi) return -1;
	const at = (lo + u32[entry + 2]!) >>> 0;
	return memory.codePages[(at - memory.ramBase) >>> 12] === 0 ? -1 : at;
}

/**
 * Enters a translation. Write entries of pages that hold translated code are found by `lookUpCodePage` alone.
 * @param table TLB_READ, TLB_WRITE or TLB_FETCH
 * @param bank of `bankOf`
 * @param lo low half of the linear address
 * @param hi high half
 * @param at Wasm offset that the address translates to
 * @param shift log2 of the bytes of the page in the guest's tables, or 0 for 4 KiB
 */
export function fillTlb(
	cpu: Cpu,
	table: number,
	bank: number,
	lo: number,
	hi: number,
	at: number,
	shift: number,
): void {
	if ((cpu.read32(L.DR7) & DR7.enables) !== 0) return;
	const offset = table === L.TLB_FETCH ? tlbFetchOffset(lo) : tlbOffset(lo);
	const entry = (cpu.base + bank + table + offset) >> 2;
	const { u32, memory } = cpu;
	const code = table === L.TLB_WRITE && memory.codePages[(at - memory.ramBase) >>> 12] !== 0;
	const listed = u32[entry] !== 0xffffffff || u32[entry + 1] !== 0xffffffff;
	// Code of the page whose entry goes may be in the jump cache still.
	if (listed && table === L.TLB_FETCH && u32[entry] !== DROPPED) cpu.jumpsUnlisted = true;
	u32[entry] = code ? (lo & 0xfffff000) | L.TLB_CODE_PAGE : lo & 0xfffff000;
	u32[entry + 1] = hi;
	u32[entry + 2] = (at - lo) >>> 0;
	u32[entry + 3] = shift;
	if (!listed) cpu.tlbFilled[bank === 0 ? 0 : 1]!.add(entry);
	if (shift !== 0) noteLarge(cpu, lo, hi, shift);
}

/**
 * Makes stores to a page of host physical memory take the slow path, on every processor of the machine, because
 * code is translated from it. `fetch` does this for each page it hands out.
 * @param page host physical page number
 */
export function protectCodePage(cpu: Cpu, page: number): void {
	const { memory } = cpu;
	const wanted = (memory.ramBase >>> 12) + page;
	for (const [bank, list] of memory.tlbFilled) {
		const start = (bank + L.TLB_WRITE) >> 2;
		const end = (bank + L.TLB_FETCH) >> 2;
		if (list.isComplete) {
			for (let at = 0; at < list.length; at++) {
				const word = list.at(at);
				if (word >= start && word < end) protectFrom(memory, word, wanted);
			}
			continue;
		}
		const step = L.TLB_ENTRY_BYTES >> 2;
		for (let word = start; word < end; word += step) protectFrom(memory, word, wanted);
	}
}

/** Marks a write entry if it leads to a page. @param wanted the page's number in the Wasm memory */
function protectFrom({ u32 }: MachineMemory, word: number, wanted: number): void {
	// Low half of the tag plus the addend is the Wasm offset of the page. Empty and dropped entries have the bit set.
	if (((u32[word]! + u32[word + 2]!) >>> 0) >>> 12 === wanted) u32[word]! |= L.TLB_CODE_PAGE;
}
