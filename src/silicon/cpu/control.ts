/**
 * Control registers: their bits, and what MOV to CR0, CR4, CR8 and XSETBV accept.
 *
 * The functions here are the semantics alone, used by guest instructions and by host code alike: they return
 * a fault instead of noting it, charge no cycles and leave the TLB alone (paging/tlb.ts `contextChanged`).
 */
import type { Cpu } from "./cpu.ts";
import { type Fault, GP0, UD } from "./fault.ts";
import * as L from "./layout.ts";

/** Bits of CR0 (SDM Vol. 3A, 2.5). PG is bit 31, so test it with `!== 0`. */
export const CR0 = {
	PE: 1 << 0,
	MP: 1 << 1,
	EM: 1 << 2,
	TS: 1 << 3,
	ET: 1 << 4,
	NE: 1 << 5,
	WP: 1 << 16,
	AM: 1 << 18,
	NW: 1 << 29,
	CD: 1 << 30,
	PG: 1 << 31,
} as const;

/** Bits of CR4. */
export const CR4 = {
	VME: 1 << 0,
	PVI: 1 << 1,
	TSD: 1 << 2,
	DE: 1 << 3,
	PSE: 1 << 4,
	PAE: 1 << 5,
	MCE: 1 << 6,
	PGE: 1 << 7,
	PCE: 1 << 8,
	OSFXSR: 1 << 9,
	OSXMMEXCPT: 1 << 10,
	UMIP: 1 << 11,
	LA57: 1 << 12,
	VMXE: 1 << 13,
	FSGSBASE: 1 << 16,
	PCIDE: 1 << 17,
	OSXSAVE: 1 << 18,
	SMEP: 1 << 20,
	SMAP: 1 << 21,
	PKE: 1 << 22,
	CET: 1 << 23,
	PKS: 1 << 24,
} as const;

/** Bits of IA32_EFER. */
export const EFER = {
	SCE: 1 << 0,
	LME: 1 << 8,
	LMA: 1 << 10,
	NXE: 1 << 11,
	SVME: 1 << 12,
	FFXSR: 1 << 14,
} as const;

/** State components of XCR0 and IA32_XSS, as masks (SDM Vol. 1, 13.1). */
export const XFEATURE = {
	x87: 1 << 0,
	sse: 1 << 1,
	avx: 1 << 2,
	opmask: 1 << 5,
	zmmHi256: 1 << 6,
	hi16Zmm: 1 << 7,
	pkru: 1 << 9,
	pasid: 1 << 10,
	cetUser: 1 << 11,
	cetSupervisor: 1 << 12,
	xtilecfg: 1 << 17,
	xtiledata: 1 << 18,
} as const;

const AVX512 = XFEATURE.opmask | XFEATURE.zmmHi256 | XFEATURE.hi16Zmm;
const AMX = XFEATURE.xtilecfg | XFEATURE.xtiledata;

/** CR4 bits that a processor of this model accepts. */
export function supportedCr4(cpu: Cpu): number {
	let mask =
		CR4.TSD |
		CR4.DE |
		CR4.PSE |
		CR4.PAE |
		CR4.MCE |
		CR4.PGE |
		CR4.PCE |
		CR4.OSFXSR |
		CR4.OSXMMEXCPT |
		CR4.UMIP;
	mask |= CR4.FSGSBASE | CR4.PCIDE | CR4.OSXSAVE | CR4.SMEP | CR4.SMAP;
	if (cpu.model.features.pku) mask |= CR4.PKE;
	if (cpu.model.features.pks) mask |= CR4.PKS;
	if (cpu.model.features.cetSs || cpu.model.features.cetIbt) mask |= CR4.CET;
	if (cpu.model.features.la57) mask |= CR4.LA57;
	if (cpu.model.vendors.includes("vmx")) mask |= CR4.VMXE;
	return mask;
}

/**
 * Writes CR0 as MOV to CR0 does, including the rules of entering and leaving IA-32e mode.
 * @param value all 32 defined bits; reserved bits are ignored
 * @returns #GP(0), also for WP cleared under CR4.CET; or null (SDM Vol. 3A, 2.5 and 5.1.2)
 */
export function writeCr0(cpu: Cpu, value: number): Fault | null {
	const old = cpu.read32(L.CR0);
	const paging = (value & CR0.PG) !== 0;
	if (paging && (value & CR0.PE) === 0) return GP0;
	if ((value & CR0.NW) !== 0 && (value & CR0.CD) === 0) return GP0;
	const efer = cpu.read32(L.EFER);
	const cr4 = cpu.read32(L.CR4);
	if ((value & CR0.WP) === 0 && (cr4 & CR4.CET) !== 0) return GP0;
	if (paging && (old & CR0.PG) === 0 && (efer & EFER.LME) !== 0) {
		const csLong = (cpu.read32(L.SEG + L.CS * L.SEG_BYTES + L.SEG_ATTR) & 0x2000) !== 0;
		if ((cr4 & CR4.PAE) === 0 || csLong) return GP0;
		cpu.write32(L.EFER, efer | EFER.LMA);
	} else if (!paging && (old & CR0.PG) !== 0) {
		if ((cr4 & CR4.PCIDE) !== 0) return GP0;
		if ((efer & EFER.LMA) !== 0) {
			if ((cpu.read32(L.SEG + L.CS * L.SEG_BYTES + L.SEG_ATTR) & 0x2000) !== 0) return GP0;
			cpu.write32(L.EFER, efer & ~EFER.LMA);
		}
	}
	const defined = CR0.PE | CR0.MP | CR0.EM | CR0.TS | CR0.NE | CR0.WP | CR0.AM | CR0.NW | CR0.CD | CR0.PG;
	cpu.write32(L.CR0, (value & defined) | CR0.ET);
	cpu.write32(L.CR0 + 4, 0);
	return null;
}

/**
 * Writes CR4 as MOV to CR4 does.
 * @param value the low 32 bits; the caller has checked that the upper half is 0
 * @returns #GP(0) for unsupported bits, for PAE cleared in IA-32e mode, for PCIDE set outside of it,
 *   for CET set with CR0.WP clear; or null
 */
export function writeCr4(cpu: Cpu, value: number): Fault | null {
	if ((value & ~supportedCr4(cpu)) !== 0) return GP0;
	const lma = (cpu.read32(L.EFER) & EFER.LMA) !== 0;
	if (lma && (value & CR4.PAE) === 0) return GP0;
	// Paging of one depth cannot become paging of the other.
	if (lma && ((value ^ cpu.read32(L.CR4)) & CR4.LA57) !== 0) return GP0;
	if ((value & CR4.PCIDE) !== 0 && (cpu.read32(L.CR4) & CR4.PCIDE) === 0) {
		if (!lma || (cpu.read32(L.CR3) & 0xfff) !== 0) return GP0;
	}
	if ((value & CR4.CET) !== 0 && (cpu.read32(L.CR0) & CR0.WP) === 0) return GP0;
	cpu.write32(L.CR4, value);
	cpu.write32(L.CR4 + 4, 0);
	return null;
}

/**
 * Writes an extended control register as XSETBV does, after its privilege check.
 * @param index ECX: only XCR0 (0) exists
 * @param value EDX:EAX
 * @returns #UD with CR4.OSXSAVE clear; #GP(0) for another register, for components that the processor lacks
 *   and for combinations that it refuses (SDM Vol. 2, XSETBV; Vol. 1, 13.3); or null
 */
export function writeXcr(cpu: Cpu, index: number, value: number): Fault | null {
	if ((cpu.read32(L.CR4) & CR4.OSXSAVE) === 0) return UD;
	if (index !== 0 || !isValidXcr0(cpu, value)) return GP0;
	cpu.writeNumber(L.XCR0, value);
	return null;
}

/** Whether XCR0 may have this value on this processor. */
export function isValidXcr0(cpu: Cpu, value: number): boolean {
	if (value > 0xffffffff || (value & ~cpu.model.features.xcr0) !== 0) return false;
	if ((value & XFEATURE.x87) === 0) return false;
	if ((value & XFEATURE.avx) !== 0 && (value & XFEATURE.sse) === 0) return false;
	const avx512 = value & AVX512;
	if (avx512 !== 0 && (avx512 !== AVX512 || (value & XFEATURE.avx) === 0)) return false;
	const amx = value & AMX;
	return amx === 0 || amx === AMX;
}

/**
 * Reads an extended control register as XGETBV does.
 * @param index ECX: 0 is XCR0, 1 is XCR0 AND XINUSE
 * @returns its value, or a fault: #UD with CR4.OSXSAVE clear, #GP(0) for another register
 */
export function readXcr(cpu: Cpu, index: number): number | Fault {
	if ((cpu.read32(L.CR4) & CR4.OSXSAVE) === 0) return UD;
	if (index === 0) return cpu.xcr0;
	if (index === 1) return cpu.xcr0 & xinuse(cpu);
	return GP0;
}

/**
 * XINUSE: the state components that are not in their initial configuration (SDM Vol. 1, 13.6). Components
 * that live in registers of their own are judged by those; the others by the XINUSE field. Translated code sets the
 * field's SSE and AVX bits for whole regions, where it only says that the registers have to be looked at: so XINUSE
 * does not depend on how code was cut into regions.
 */
export function xinuse(cpu: Cpu): number {
	let bits = cpu.read32(L.XINUSE);
	if ((bits & XFEATURE.sse) !== 0 && isZeroFrom(cpu, L.XMM)) bits &= ~XFEATURE.sse;
	if ((bits & XFEATURE.avx) !== 0 && isZeroFrom(cpu, L.YMM_HIGH)) bits &= ~XFEATURE.avx;
	if (cpu.read32(L.PKRU) !== 0) bits |= XFEATURE.pkru;
	if (cpu.read32(L.PASID) !== 0) bits |= XFEATURE.pasid;
	if (!isZero(cpu, L.U_CET) || !isZero(cpu, L.PL3_SSP)) bits |= XFEATURE.cetUser;
	if (!isZero(cpu, L.PL0_SSP) || !isZero(cpu, L.PL1_SSP) || !isZero(cpu, L.PL2_SSP))
		bits |= XFEATURE.cetSupervisor;
	return bits;
}

/** Whether the 16 vectors of 16 bytes from an offset on are 0. */
function isZeroFrom(cpu: Cpu, offset: number): boolean {
	const first = (cpu.base + offset) >> 2;
	for (let at = first; at < first + 64; at++) if (cpu.u32[at] !== 0) return false;
	return true;
}

function isZero(cpu: Cpu, offset: number): boolean {
	return (cpu.read32(offset) | cpu.read32(offset + 4)) === 0;
}

/**
 * Writes PKRU as WRPKRU does, after its check that ECX and EDX are 0.
 * @returns #UD with CR4.PKE clear, or null
 */
export function wrpkru(cpu: Cpu, value: number): Fault | null {
	if ((cpu.read32(L.CR4) & CR4.PKE) === 0) return UD;
	cpu.write32(L.PKRU, value);
	return null;
}

/** Reads PKRU as RDPKRU does. @returns its value, or #UD with CR4.PKE clear */
export function rdpkru(cpu: Cpu): number | Fault {
	return (cpu.read32(L.CR4) & CR4.PKE) === 0 ? UD : cpu.read32(L.PKRU);
}
