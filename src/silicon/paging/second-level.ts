/**
 * Second-level address translation: EPT (SDM Vol. 3C, 29.3) and nested paging (APM Vol. 2, 15.25). Takes a
 * guest physical address to a host physical one, or notes the fault with the exit information of its vendor.
 */
import type { Cpu } from "../cpu/cpu.ts";
import { raiseSecondLevelFault } from "../cpu/fault.ts";
import { PF, physicalWord, setPhysicalBits } from "./physical.ts";

/** Bits of the exit qualification of an EPT violation (SDM table 28-7). */
export const EPT_VIOLATION = {
	read: 1 << 0,
	write: 1 << 1,
	fetch: 1 << 2,
	readable: 1 << 3,
	writable: 1 << 4,
	executable: 1 << 5,
	linearValid: 1 << 7,
	finalTranslation: 1 << 8,
} as const;

/** Stands in FAULT_QUALIFICATION for an EPT misconfiguration, which has no qualification of its own. */
export const EPT_MISCONFIGURATION = 0xffff_ffff_ffff_ffffn;

/** EXITINFO1 bits 32 and 33 of a nested page fault (APM Vol. 2, 15.25.6). */
export const NPF = { finalTranslation: 1n << 32n, pageWalk: 1n << 33n } as const;

const TWO_32 = 2 ** 32;

/**
 * Translates a guest physical address.
 * @param gpa guest physical address
 * @param access PF.write, PF.fetch and PF.shadowStack, or 0 for a read. Neither vendor's check of supervisor shadow stacks
 *   in the second level is there: they are data
 * @param pageWalk the access is to the guest's own paging structures
 * @param lo low half of the linear address that is being translated
 * @param hi its high half
 * @returns the host physical address, or -1 with a second-level fault noted
 */
export function translateGuestPhysical(
	cpu: Cpu,
	gpa: number,
	access: number,
	pageWalk: boolean,
	lo: number,
	hi: number,
): number {
	const tables = cpu.guest === null ? null : cpu.guest.secondLevel;
	if (tables === null) return gpa;
	const wanted = (access & PF.write) !== 0 ? 2 : (access & PF.fetch) !== 0 ? 4 : 1;
	const cached = cpu.guestPhysical.lookUp(gpa, pageWalk ? wanted | PAGE_WALK : wanted);
	if (cached >= 0) return cached;
	const hpa =
		tables.kind === "ept"
			? translateEpt(cpu, tables.root, gpa, access, pageWalk, lo, hi)
			: translateNpt(cpu, tables.root, gpa, access, pageWalk, lo, hi);
	if (hpa >= 0) cpu.guestPhysical.fill(gpa, hpa, pageWalk ? wanted | PAGE_WALK : wanted);
	else {
		cpu.guestPhysical.drop(gpa);
		cpu.walks.flush();
	}
	return hpa;
}

/** Stands among the accesses of a cached mapping: a walk of the guest's tables, which may count as a write as well. */
const PAGE_WALK = 8;

/** Table index of a guest physical address at a level, 4 being the root's. */
function indexAt(level: number, lo: number, hi: number): number {
	if (level === 4) return (hi >>> 7) & 511;
	if (level === 3) return ((hi & 0x7f) << 2) | (lo >>> 30);
	return (lo >>> (level === 2 ? 21 : 12)) & 511;
}

/** Address in an entry whose page has `shift` offset bits, completed with the offset. */
function completed(entryLo: number, entryHi: number, lo: number, shift: number): number {
	if (shift === 30)
		return (entryHi & 0xfffff) * TWO_32 + (((entryLo & 0xc0000000) | (lo & 0x3fffffff)) >>> 0);
	const offset = (1 << shift) - 1;
	return (entryHi & 0xfffff) * TWO_32 + (((entryLo & ~offset) | (lo & offset)) >>> 0);
}

function translateEpt(
	cpu: Cpu,
	root: number,
	gpa: number,
	access: number,
	pageWalk: boolean,
	lo: number,
	hi: number,
): number {
	const gpaLo = gpa >>> 0;
	const gpaHi = Math.floor(gpa / TWO_32);
	// With accessed and dirty flags on (EPTP bit 6), accesses to the guest's paging structures count as writes too.
	const track = root % 128 >= 64;
	let wanted = (access & PF.write) !== 0 ? 2 : (access & PF.fetch) !== 0 ? 4 : 1;
	if (track && pageWalk) wanted |= 3;
	const reservedHigh = reservedAddressBits(cpu);
	let rights = gpaHi >= 0x10000 ? 0 : 7;
	let table = root - (root % 4096);
	for (let level = 4; rights !== 0; level--) {
		const at = table + indexAt(level, gpaLo, gpaHi) * 8;
		const entryLo = physicalWord(cpu, at);
		const entryHi = physicalWord(cpu, at + 4);
		const own = entryLo & 7;
		rights &= own;
		if (own === 0) break;
		const leaf = level === 1 || (level < 4 && (entryLo & 0x80) !== 0);
		// Writable but not readable, or reserved bits set (SDM 29.3.3.1).
		const reserved = leaf
			? level === 1
				? 0
				: entryLo & (level === 2 ? 0x1ff000 : 0x3ffff000)
			: entryLo & (level === 4 ? 0xf8 : 0x78);
		const type = (entryLo >>> 3) & 7;
		const badType = leaf && (type === 2 || type === 3 || type === 7);
		if ((own & 3) === 2 || reserved !== 0 || badType || (entryHi & reservedHigh) !== 0) {
			raiseSecondLevelFault(cpu, BigInt(gpa), linearAddress(lo, hi), EPT_MISCONFIGURATION);
			return -1;
		}
		if (leaf) {
			if ((rights & wanted) !== wanted) break;
			if (track) setEptFlags(cpu, root, gpaLo, gpaHi, level, (wanted & 2) !== 0);
			return completed(entryLo, entryHi, gpaLo, level === 1 ? 12 : level === 2 ? 21 : 30);
		}
		table = (entryHi & 0xfffff) * TWO_32 + ((entryLo & 0xfffff000) >>> 0);
	}
	let qualification = wanted | (rights << 3) | EPT_VIOLATION.linearValid;
	if (!pageWalk) qualification |= EPT_VIOLATION.finalTranslation;
	raiseSecondLevelFault(cpu, BigInt(gpa), linearAddress(lo, hi), BigInt(qualification));
	return -1;
}

/** Address bits of an entry's upper half that this model's physical addresses do not have. */
function reservedAddressBits(cpu: Cpu): number {
	const width = cpu.model.features.physicalAddressBits;
	return width >= 52 ? 0 : 0xfffff & ~((1 << (width - 32)) - 1);
}

/** Sets accessed flags (bit 8) on the way to a translated page, and the page's dirty flag (bit 9) for a write (SDM 29.3.5). */
function setEptFlags(cpu: Cpu, root: number, lo: number, hi: number, leaf: number, write: boolean): void {
	let table = root - (root % 4096);
	for (let level = 4; level >= leaf; level--) {
		const at = table + indexAt(level, lo, hi) * 8;
		setPhysicalBits(cpu, at, level === leaf && write ? 0x300 : 0x100);
		table = (physicalWord(cpu, at + 4) & 0xfffff) * TWO_32 + ((physicalWord(cpu, at) & 0xfffff000) >>> 0);
	}
}

function translateNpt(
	cpu: Cpu,
	root: number,
	gpa: number,
	access: number,
	pageWalk: boolean,
	lo: number,
	hi: number,
): number {
	const gpaLo = gpa >>> 0;
	const gpaHi = Math.floor(gpa / TWO_32);
	// Walks of the guest's paging structures count as user writes, because they may set accessed bits.
	const write = pageWalk || (access & PF.write) !== 0;
	const fetch = !pageWalk && (access & PF.fetch) !== 0;
	let code = PF.user | (write ? PF.write : 0) | (fetch ? PF.fetch : 0);
	if (!pageWalk) code |= access & PF.shadowStack;
	let rights = 6;
	let noExecute = false;
	let table = root - (root % 4096);
	for (let level = gpaHi >= 0x10000 ? 0 : 4; level > 0; level--) {
		const at = table + indexAt(level, gpaLo, gpaHi) * 8;
		const entryLo = physicalWord(cpu, at);
		const entryHi = physicalWord(cpu, at + 4);
		if ((entryLo & 1) === 0) break;
		const leaf = level === 1 || (level < 4 && (entryLo & 0x80) !== 0);
		const reserved = leaf
			? level === 1
				? 0
				: entryLo & (level === 2 ? 0x1fe000 : 0x3fffe000)
			: level === 4
				? entryLo & 0x80
				: 0;
		if (reserved !== 0) {
			code |= PF.present | PF.reserved;
			break;
		}
		rights &= entryLo;
		noExecute ||= entryHi >>> 31 !== 0;
		if (leaf) {
			if ((rights & 4) === 0 || (write && (rights & 2) === 0) || (fetch && noExecute)) {
				code |= PF.present;
				break;
			}
			setPhysicalBits(cpu, at, write ? 0x60 : 0x20);
			return completed(entryLo, entryHi, gpaLo, level === 1 ? 12 : level === 2 ? 21 : 30);
		}
		setPhysicalBits(cpu, at, 0x20);
		table = (entryHi & 0xfffff) * TWO_32 + ((entryLo & 0xfffff000) >>> 0);
	}
	const information = BigInt(code) | (pageWalk ? NPF.pageWalk : NPF.finalTranslation);
	raiseSecondLevelFault(cpu, BigInt(gpa), linearAddress(lo, hi), information);
	return -1;
}

function linearAddress(lo: number, hi: number): bigint {
	return (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0);
}
