/**
 * Translation of linear addresses: no paging, 32-bit, PAE, 4-level and 5-level paging (SDM Vol. 3A, chapter 5), each
 * access to a paging structure going through the second level when a guest runs.
 *
 * Addresses come as two 32-bit halves and go as numbers below 2^52, so that a walk allocates nothing.
 */
import { CR0, CR4, EFER } from "../cpu/control.ts";
import type { Cpu } from "../cpu/cpu.ts";
import { type Fault, GP0, raisePageFault } from "../cpu/fault.ts";
import * as L from "../cpu/layout.ts";
import { FLAG } from "../cpu/rflags.ts";
import { PF, physicalWord, setPhysicalBits } from "./physical.ts";
import { translateGuestPhysical } from "./second-level.ts";

/** Added to an access: an implicit supervisor access, such as a read of the GDT; SMAP applies whatever RFLAGS.AC is. */
export const IMPLICIT = 0x100;

/** Facts about the latest successful translation. */
export const walked = {
	/** May not enter the TLB: its permission hangs on RFLAGS.AC. */
	transient: false,
	/** log2 of the page's bytes when it is above 4 KiB; else 0. */
	shift: 0,
	/** Guest physical address. */
	gpa: 0,
};

const TWO_32 = 2 ** 32;
const ACCESSED = 0x20;
const DIRTY = 0x40;
const LARGE = 0x80;
/** U/S and R/W. */
const RIGHTS = 6;
/** Stands beside them: the page is one of a shadow stack. */
const SHADOW_PAGE = 1;

/** Where the entries of the current walk lie: guest physical and host physical addresses, root first. */
const entryGpas = new Float64Array(5);
const entryHpas = new Float64Array(5);

function pageFault(cpu: Cpu, lo: number, hi: number, access: number, cause: number): -1 {
	let code = cause | (access & (PF.write | PF.user | PF.shadowStack));
	// The instruction-fetch bit exists only where fetches can be told apart (SDM 5.7).
	const nxe = (cpu.read32(L.EFER) & EFER.NXE) !== 0 && (cpu.read32(L.CR4) & CR4.PAE) !== 0;
	if ((access & PF.fetch) !== 0 && (nxe || (cpu.read32(L.CR4) & CR4.SMEP) !== 0)) code |= PF.fetch;
	raisePageFault(cpu, lo, hi, code);
	return -1;
}

/** Reserved bits in the upper half of an 8-byte entry: above the physical address width, and NX without NXE. */
function reservedHigh(cpu: Cpu): number {
	const width = cpu.model.features.physicalAddressBits;
	const address = width >= 52 ? 0 : 0xfffff & ~((1 << (width - 32)) - 1);
	return (cpu.read32(L.EFER) & EFER.NXE) === 0 ? address | 0x80000000 : address;
}

/**
 * Translates a linear address for one access, checks its rights and sets accessed and dirty bits.
 * @param lo low half of the linear address
 * @param hi high half; the address is canonical
 * @param access PF.write, PF.fetch, PF.user, PF.shadowStack and IMPLICIT, or 0 for a supervisor's read
 * @returns the host physical address, or -1 with a page fault or second-level fault noted
 */
export function translate(cpu: Cpu, lo: number, hi: number, access: number): number {
	walked.transient = false;
	walked.shift = 0;
	if ((cpu.read32(L.CR0) & CR0.PG) === 0) {
		walked.gpa = lo >>> 0;
		return translateGuestPhysical(cpu, lo >>> 0, access, false, lo, 0);
	}
	const cr4 = cpu.read32(L.CR4);
	if ((cr4 & CR4.PAE) === 0) return walk32(cpu, lo, access);
	if ((cpu.read32(L.EFER) & EFER.LMA) !== 0) {
		return walk64(cpu, lo, hi, access, longModeRoot(cpu), (cr4 & CR4.LA57) !== 0 ? 5 : 4);
	}
	if (readsPdptesOnDemand(cpu)) return walkPae(cpu, lo, access);
	const pdpte = L.PDPTE + (lo >>> 30) * 8;
	return walkFromPdpte(cpu, lo, access, cpu.read32(pdpte), cpu.read32(pdpte + 4));
}

function walkFromPdpte(cpu: Cpu, lo: number, access: number, entryLo: number, entryHi: number): number {
	if ((entryLo & 1) === 0) return pageFault(cpu, lo, 0, access, 0);
	const root = (entryHi & 0xfffff) * TWO_32 + ((entryLo & 0xfffff000) >>> 0);
	return walk64(cpu, lo, 0, access, root, 2);
}

/** Whether the PDPTEs of PAE paging are read with each walk: under nested paging they are in no registers (APM Vol. 2, 15.25.10). */
export function readsPdptesOnDemand(cpu: Cpu): boolean {
	return cpu.guest !== null && cpu.guest.secondLevel?.kind === "npt";
}

/** PAE paging under nested paging: what a PDPTE may not have is a page fault, not #GP when it is loaded. */
function walkPae(cpu: Cpu, lo: number, access: number): number {
	const gpa = ((cpu.read32(L.CR3) & 0xffffffe0) >>> 0) + (lo >>> 30) * 8;
	const at = translateGuestPhysical(cpu, gpa, 0, true, lo, 0);
	if (at < 0) return -1;
	const [entryLo, entryHi] = [physicalWord(cpu, at), physicalWord(cpu, at + 4)];
	if (isPdpteReserved(cpu, entryLo, entryHi)) return pageFault(cpu, lo, 0, access, PF.present | PF.reserved);
	return walkFromPdpte(cpu, lo, access, entryLo, entryHi);
}

/** Whether a present PDPTE has reserved bits set: 2:1, 8:5 and those above the physical address width (SDM table 5-8). */
export function isPdpteReserved(cpu: Cpu, lo: number, hi: number): boolean {
	const beyond = hi >>> (cpu.model.features.physicalAddressBits - 32);
	return (lo & 1) !== 0 && ((lo & 0x1e6) !== 0 || beyond !== 0);
}

/** Root of the tables of 64-bit mode. */
function longModeRoot(cpu: Cpu): number {
	return (cpu.read32(L.CR3 + 4) & 0xfffff) * TWO_32 + ((cpu.read32(L.CR3) & 0xfffff000) >>> 0);
}

/**
 * Where a walk of 64-bit mode that was made before leads to, the entries being what they were. Notes nothing.
 * @param access as `translate` has it
 * @returns the host physical address, or -1 if it is not known
 */
export function knownWalk(cpu: Cpu, lo: number, hi: number, access: number): number {
	if ((cpu.read32(L.EFER) & EFER.LMA) === 0) return -1;
	const known = cpu.walks.find(cpu, lo, hi, access, longModeRoot(cpu));
	return known < 0 ? -1 : cpu.walks.hpa(known, lo);
}

/** Walks tables of 8-byte entries from `table`, at level `top`. */
function walk64(cpu: Cpu, lo: number, hi: number, access: number, root: number, top: number): number {
	// Where the access came from makes no difference here.
	const kind = access & (PF.write | PF.user | PF.fetch | PF.shadowStack | IMPLICIT);
	const known = cpu.walks.find(cpu, lo, hi, kind, root);
	if (known >= 0) {
		walked.shift = cpu.walks.shift(known);
		walked.gpa = cpu.walks.gpa(known, lo);
		return cpu.walks.hpa(known, lo);
	}
	const reserved = reservedHigh(cpu);
	let table = root;
	let rights = RIGHTS;
	let noExecute = 0;
	for (let level = top; ; level--) {
		const index =
			level === 1
				? lo >>> 12
				: level === 2
					? lo >>> 21
					: level === 3
						? ((hi & 0x7f) << 2) | (lo >>> 30)
						: level === 4
							? hi >>> 7
							: hi >>> 16;
		const gpa = table + (index & 511) * 8;
		const at = translateGuestPhysical(cpu, gpa, 0, true, lo, hi);
		if (at < 0) return -1;
		entryGpas[level - 1] = gpa;
		entryHpas[level - 1] = at;
		const entryLo = physicalWord(cpu, at);
		const entryHi = physicalWord(cpu, at + 4);
		if ((entryLo & 1) === 0) return pageFault(cpu, lo, hi, access, 0);
		const leaf = level === 1 || (level < 4 && (entryLo & LARGE) !== 0);
		if (
			(entryHi & reserved) !== 0 ||
			(level >= 4 && (entryLo & LARGE) !== 0) ||
			(leaf && ((level === 2 && (entryLo & 0x1fe000) !== 0) || (level === 3 && (entryLo & 0x3fffe000) !== 0)))
		) {
			return pageFault(cpu, lo, hi, access, PF.present | PF.reserved);
		}
		if (leaf) rights |= shadowPage(rights, entryLo);
		rights &= entryLo | SHADOW_PAGE;
		noExecute |= entryHi >>> 31;
		if (!leaf) {
			table = (entryHi & 0xfffff) * TWO_32 + ((entryLo & 0xfffff000) >>> 0);
			continue;
		}
		const key = top >= 4 ? (entryHi >>> 27) & 15 : -1;
		if (!permitted(cpu, lo, hi, access, rights, noExecute !== 0, key)) return -1;
		const offsetMask = level === 1 ? 0xfff : level === 2 ? 0x1fffff : 0x3fffffff;
		const page = ((entryLo & ~offsetMask) | (lo & offsetMask)) >>> 0;
		const gpaOfPage = (entryHi & 0xfffff) * TWO_32 + page;
		const hpa = finish(cpu, lo, hi, access, gpaOfPage, level, top);
		if (hpa >= 0 && !walked.transient) {
			cpu.walks.add(cpu, lo, hi, kind, root, entryHpas, top, level, gpaOfPage, hpa, walked.shift);
		}
		return hpa;
	}
}

/** Walks the two levels of 32-bit paging; pages of 4 KiB, or 4 MiB with CR4.PSE (SDM 5.3). */
function walk32(cpu: Cpu, lo: number, access: number): number {
	let gpa = ((cpu.read32(L.CR3) & 0xfffff000) >>> 0) + (lo >>> 22) * 4;
	let at = translateGuestPhysical(cpu, gpa, 0, true, lo, 0);
	if (at < 0) return -1;
	const directory = physicalWord(cpu, at);
	entryGpas[1] = gpa;
	entryHpas[1] = at;
	if ((directory & 1) === 0) return pageFault(cpu, lo, 0, access, 0);
	if ((directory & LARGE) !== 0 && (cpu.read32(L.CR4) & CR4.PSE) !== 0) {
		if ((directory & (1 << 21)) !== 0) return pageFault(cpu, lo, 0, access, PF.present | PF.reserved);
		const own = (directory & RIGHTS) | shadowPage(RIGHTS, directory);
		if (!permitted(cpu, lo, 0, access, own, false, -1)) return -1;
		// PSE-36: bits 20:13 of the entry are address bits 39:32.
		const page = ((directory >>> 13) & 0xff) * TWO_32 + (((directory & 0xffc00000) | (lo & 0x3fffff)) >>> 0);
		return finish(cpu, lo, 0, access, page, 2, 2);
	}
	gpa = ((directory & 0xfffff000) >>> 0) + ((lo >>> 12) & 1023) * 4;
	at = translateGuestPhysical(cpu, gpa, 0, true, lo, 0);
	if (at < 0) return -1;
	const entry = physicalWord(cpu, at);
	entryGpas[0] = gpa;
	entryHpas[0] = at;
	if ((entry & 1) === 0) return pageFault(cpu, lo, 0, access, 0);
	const rights = (directory & entry & RIGHTS) | shadowPage(directory, entry);
	if (!permitted(cpu, lo, 0, access, rights, false, -1)) return -1;
	return finish(cpu, lo, 0, access, ((entry & 0xfffff000) | (lo & 0xfff)) >>> 0, 1, 2);
}

/**
 * SHADOW_PAGE if a page belongs to a shadow stack: not writable, dirty, and writable in all entries above (SDM 5.6).
 * @param above AND of the entries that lead to its own
 * @param entry low half of its own
 */
function shadowPage(above: number, entry: number): number {
	return (above & PF.write) !== 0 && (entry & (PF.write | DIRTY)) === DIRTY ? SHADOW_PAGE : 0;
}

/**
 * Checks an access against the rights that the walk found (SDM 5.6), protection keys included. Shadow-stack accesses go
 * to pages of shadow stacks alone, of their own mode, user or supervisor.
 * @param rights R/W and U/S, each the AND over all levels, and SHADOW_PAGE
 * @param key protection key, or -1 in modes without keys
 */
function permitted(
	cpu: Cpu,
	lo: number,
	hi: number,
	access: number,
	rights: number,
	noExecute: boolean,
	key: number,
): boolean {
	const cr4 = cpu.read32(L.CR4);
	const writeProtect = (cpu.read32(L.CR0) & CR0.WP) !== 0;
	const userPage = (rights & PF.user) !== 0;
	const user = (access & PF.user) !== 0;
	const write = (access & PF.write) !== 0;
	const fetch = (access & PF.fetch) !== 0;
	const shadow = (access & PF.shadowStack) !== 0;
	let ok = !shadow || ((rights & SHADOW_PAGE) !== 0 && user === userPage);
	let cause: number = PF.present;
	if (user && !userPage) ok = false;
	if (fetch && noExecute) ok = false;
	if (write && !shadow && (rights & PF.write) === 0 && (user || writeProtect)) ok = false;
	if (!user && userPage && !shadow) {
		if (fetch && (cr4 & CR4.SMEP) !== 0) ok = false;
		if (!fetch && (cr4 & CR4.SMAP) !== 0) {
			walked.transient = true;
			if ((access & IMPLICIT) !== 0 || (cpu.read32(L.RFLAGS) & FLAG.AC) === 0) ok = false;
		}
	}
	if (!fetch && key >= 0 && (userPage || !user) && (cr4 & (userPage ? CR4.PKE : CR4.PKS)) !== 0) {
		const disable = ((userPage ? cpu.pkru : cpu.read32(L.PKRS)) >>> (key * 2)) & 3;
		if ((disable & 1) !== 0 || (write && (disable & 2) !== 0 && (user || writeProtect))) {
			ok = false;
			cause |= PF.key;
		}
	}
	if (!ok) pageFault(cpu, lo, hi, access, cause);
	return ok;
}

/** Translates the page through the second level, then sets accessed and dirty bits from level `top` down. */
function finish(
	cpu: Cpu,
	lo: number,
	hi: number,
	access: number,
	gpa: number,
	leaf: number,
	top: number,
): number {
	walked.gpa = gpa;
	walked.shift = leaf === 1 ? 0 : top < 4 && (cpu.read32(L.CR4) & CR4.PAE) === 0 ? 22 : leaf === 2 ? 21 : 30;
	const hpa = translateGuestPhysical(cpu, gpa, access, false, lo, hi);
	if (hpa < 0) return -1;
	for (let level = top; level >= leaf; level--) {
		const bits = level === leaf && (access & PF.write) !== 0 ? ACCESSED | DIRTY : ACCESSED;
		const at = entryHpas[level - 1]!;
		if ((physicalWord(cpu, at) & bits) === bits) continue;
		// The update is a write to the guest's page table, which the second level may refuse.
		if (translateGuestPhysical(cpu, entryGpas[level - 1]!, PF.write, true, lo, hi) < 0) return -1;
		setPhysicalBits(cpu, at, bits);
	}
	return hpa;
}

/**
 * Loads the four page-directory-pointer entries that PAE paging keeps in registers (SDM 5.4.1).
 * @returns #GP(0) if a present one has reserved bits set; null also with a second-level fault noted
 */
export function loadPdptes(cpu: Cpu): Fault | null {
	const table = (cpu.read32(L.CR3) & 0xffffffe0) >>> 0;
	// All are checked before the first register changes.
	for (const load of [false, true]) {
		for (let index = 0; index < 4; index++) {
			const at = translateGuestPhysical(cpu, table + index * 8, 0, true, 0, 0);
			if (at < 0) return null;
			const lo = physicalWord(cpu, at);
			const hi = physicalWord(cpu, at + 4);
			if (isPdpteReserved(cpu, lo, hi)) return GP0;
			if (!load) continue;
			cpu.write32(L.PDPTE + index * 8, lo);
			cpu.write32(L.PDPTE + index * 8 + 4, hi);
		}
	}
	return null;
}
