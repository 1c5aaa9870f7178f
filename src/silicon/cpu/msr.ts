/**
 * Model-specific registers: one row each, read and written by RDMSR and WRMSR of guests and host alike
 * (SDM Vol. 4; APM Vol. 2, appendix A). What has no row gives #GP(0).
 *
 * These are semantics alone: no cycles are charged, the TLB is left alone (`contextChanged` follows a guest's
 * WRMSR), and whether a guest's access exits was asked before.
 */
import { hasCet, isCetControl } from "./cet.ts";
import { CR0, CR4, EFER, XFEATURE } from "./control.ts";
import type { Cpu } from "./cpu.ts";
import { type Fault, GP0 } from "./fault.ts";
import { highHalf, lowHalf } from "./halves.ts";
import * as L from "./layout.ts";
import { segmentAt } from "./segments.ts";

/** MSR indices by the names of the manuals. */
export const MSR = {
	IA32_TSC: 0x10,
	IA32_APIC_BASE: 0x1b,
	IA32_FEATURE_CONTROL: 0x3a,
	IA32_TSC_ADJUST: 0x3b,
	IA32_SPEC_CTRL: 0x48,
	IA32_PRED_CMD: 0x49,
	IA32_BIOS_SIGN_ID: 0x8b,
	MSR_PLATFORM_INFO: 0xce,
	IA32_MTRRCAP: 0xfe,
	IA32_FLUSH_CMD: 0x10b,
	IA32_SYSENTER_CS: 0x174,
	IA32_SYSENTER_ESP: 0x175,
	IA32_SYSENTER_EIP: 0x176,
	IA32_MCG_CAP: 0x179,
	IA32_MCG_STATUS: 0x17a,
	IA32_MISC_ENABLE: 0x1a0,
	IA32_XFD: 0x1c4,
	IA32_XFD_ERR: 0x1c5,
	IA32_DEBUGCTL: 0x1d9,
	IA32_PAT: 0x277,
	IA32_MTRR_DEF_TYPE: 0x2ff,
	IA32_MC0_CTL: 0x400,
	IA32_U_CET: 0x6a0,
	IA32_S_CET: 0x6a2,
	IA32_PL0_SSP: 0x6a4,
	IA32_PL1_SSP: 0x6a5,
	IA32_PL2_SSP: 0x6a6,
	IA32_PL3_SSP: 0x6a7,
	IA32_INTERRUPT_SSP_TABLE: 0x6a8,
	IA32_TSC_DEADLINE: 0x6e0,
	IA32_PKRS: 0x6e1,
	IA32_PASID: 0xd93,
	IA32_XSS: 0xda0,
	IA32_EFER: 0xc0000080,
	IA32_STAR: 0xc0000081,
	IA32_LSTAR: 0xc0000082,
	IA32_CSTAR: 0xc0000083,
	IA32_FMASK: 0xc0000084,
	IA32_FS_BASE: 0xc0000100,
	IA32_GS_BASE: 0xc0000101,
	IA32_KERNEL_GS_BASE: 0xc0000102,
	IA32_TSC_AUX: 0xc0000103,
	SYSCFG: 0xc0010010,
	HWCR: 0xc0010015,
	VM_CR: 0xc0010114,
	VM_HSAVE_PA: 0xc0010117,
} as const;

interface Row {
	/** Absent: the register cannot be read. */
	readonly read?: (cpu: Cpu) => bigint;
	/** Returns a fault, or null when it took effect. Absent: the register cannot be written. */
	readonly write?: (cpu: Cpu, value: bigint) => Fault | null;
	/** Whether this model has the register. Absent: every model has it. */
	readonly present?: (cpu: Cpu) => boolean;
}

const MASK32 = 0xffffffffn;
/** Machine-check banks of this machine: IA32_MCG_CAP bits 7:0. */
const MC_BANKS = 10;

/** Whether bits 63 to 47, or to 56, are all equal. */
function isExtended(address: bigint, wide: boolean): boolean {
	return isExtendedHigh(highHalf(address), wide);
}

function isExtendedHigh(high: number, wide: boolean): boolean {
	const top = (high | 0) >> (wide ? 24 : 15);
	return top === 0 || top === -1;
}

/** Whether the bits of an address above those that paging translates now are all equal (SDM Vol. 1, 3.3.7.1). */
export function isCanonical(address: bigint, cpu: Cpu): boolean {
	return isCanonicalHigh(cpu, highHalf(address));
}

/** The same, of the high half of an address. */
export function isCanonicalHigh(cpu: Cpu, high: number): boolean {
	return isExtendedHigh(high, (cpu.read32(L.CR4) & CR4.LA57) !== 0);
}

/** The same for registers that hold addresses for later: by what the processor can translate in any mode. */
export function isCanonicalForRegister(address: bigint, cpu: Cpu): boolean {
	return isExtended(address, cpu.model.features.la57);
}

/** The same, of the high half of an address. */
export function isCanonicalHighForRegister(high: number, cpu: Cpu): boolean {
	return isExtendedHigh(high, cpu.model.features.la57);
}

/** A register that is a field of the state block; `valid` refuses values. */
function field(
	offset: number,
	valid: (value: bigint, cpu: Cpu) => boolean,
	present?: (cpu: Cpu) => boolean,
): Row {
	const row: Row = {
		read: (cpu) => cpu.read64(offset),
		write: (cpu, value) => {
			if (!valid(value, cpu)) return GP0;
			cpu.write64(offset, value);
			return null;
		},
	};
	return present === undefined ? row : { ...row, present };
}

/** A register whose value is fixed; writes fault unless `ignoreWrites`. */
function fixed(value: bigint, ignoreWrites = false, present?: (cpu: Cpu) => boolean): Row {
	return {
		read: () => value,
		...(ignoreWrites ? { write: () => null } : {}),
		...(present === undefined ? {} : { present }),
	};
}

const any = () => true;
const low32 = (value: bigint) => value <= MASK32;
const mask = (bits: bigint) => (value: bigint) => (value & ~bits) === 0n;
const canonical = (value: bigint, cpu: Cpu) => isCanonicalForRegister(value, cpu);
/** Whether IA32_PL0_SSP to IA32_PL3_SSP may hold a value: canonical, and a multiple of 4. */
export const isShadowStackPointer = (value: bigint, cpu: Cpu) =>
	isCanonicalForRegister(value, cpu) && (value & 3n) === 0n;
const isIntel = (cpu: Cpu) => cpu.model.vendorString === "GenuineIntel";
const isAmd = (cpu: Cpu) => cpu.model.vendorString === "AuthenticAMD";
const hasXss = (bit: number) => (cpu: Cpu) => (cpu.model.features.xss & bit) !== 0;
const hasCetOf = (cpu: Cpu) => hasCet(cpu.model.features);
const hasShadowStacks = (cpu: Cpu) => cpu.model.features.cetSs;
/** Whether IA32_U_CET or IA32_S_CET may hold a value, its bitmap's base included. */
export const isCetValue = (value: bigint, cpu: Cpu) =>
	isCetControl(value, cpu.model.features) && isCanonicalForRegister(value, cpu);

/** Every byte of IA32_PAT is one of the memory types UC, WC, WT, WP, WB, UC- (SDM Vol. 3A, 13.12.2). */
export function isPat(value: bigint): boolean {
	return arePats(lowHalf(value), highHalf(value));
}

/** The same, of the halves of IA32_PAT. */
export function arePats(low: number, high: number): boolean {
	return areMemoryTypes(low) && areMemoryTypes(high);
}

/** Whether each of four bytes is below 8, and neither 2 nor 3. */
function areMemoryTypes(types: number): boolean {
	return (types & 0xf8f8f8f8) === 0 && ((types >>> 1) & ~(types >>> 2) & 0x01010101) === 0;
}

/** DEBUGCTL: LBR, BTF and the trace bits of each vendor (SDM Vol. 4; APM Vol. 2, 13.1.1.6). */
export function isDebugctl(value: bigint, cpu: Cpu): boolean {
	return (value & ~(isIntel(cpu) ? 0x5fc7n : 0x3fn)) === 0n;
}

/** The halves of IA32_PERF_GLOBAL_CTRL, on Golden Cove: eight counters, four of fixed function, PERF_METRICS (SDM Vol. 4, table 2-2). */
export function arePerfGlobalCtrl(low: number, high: number): boolean {
	return (low & ~0xff) === 0 && (high & ~0x1000f) === 0;
}

/** Time stamp counter as RDTSC reads it: cycles, plus what WRMSR set, plus the guest's offset. */
export function readTsc(cpu: Cpu): number {
	const own = Math.floor(cpu.cycles) + cpu.f64[(cpu.base + L.TSC_BIAS) >> 3]!;
	return cpu.guest === null ? own : own + cpu.guest.tscOffset;
}

/** Writes EFER (SDM Vol. 3A, 2.2.1): LMA is read-only, LME cannot change while paging is on. */
function writeEfer(cpu: Cpu, value: bigint): Fault | null {
	let defined = EFER.SCE | EFER.LME | EFER.LMA | EFER.NXE;
	if (isAmd(cpu)) defined |= EFER.SVME | EFER.FFXSR;
	if (value > MASK32 || (Number(value) & ~defined) !== 0) return GP0;
	const old = cpu.read32(L.EFER);
	const wanted = (Number(value) & ~EFER.LMA) | (old & EFER.LMA);
	if (((wanted ^ old) & EFER.LME) !== 0 && (cpu.read32(L.CR0) & CR0.PG) !== 0) return GP0;
	cpu.write32(L.EFER, wanted);
	return null;
}

/**
 * Writes IA32_XSS. A number, because the host does it on every entry and exit.
 * @returns #GP(0) for bits that the model lacks, or null (SDM Vol. 1, 13.3)
 */
export function writeXss(cpu: Cpu, value: number): Fault | null {
	if (!cpu.model.features.xsaves || value > 0xffffffff || (value & ~cpu.model.features.xss) !== 0) return GP0;
	cpu.writeNumber(L.XSS, value);
	return null;
}

/** Writes IA32_XFD. @returns #GP(0) for components without XFD, or null (SDM Vol. 1, 13.14) */
export function writeXfd(cpu: Cpu, value: number): Fault | null {
	if (value > 0xffffffff || (value & ~cpu.model.features.xfd) !== 0) return GP0;
	cpu.writeNumber(L.XFD, value);
	return null;
}

/** Writes IA32_XFD_ERR. @returns #GP(0) for components without XFD, or null */
export function writeXfdErr(cpu: Cpu, value: number): Fault | null {
	if (value > 0xffffffff || (value & ~cpu.model.features.xfd) !== 0) return GP0;
	cpu.writeNumber(L.XFD_ERR, value);
	return null;
}

const hasXfd = (cpu: Cpu) => cpu.model.features.xfd !== 0;
const ssp = (offset: number) => field(offset, isShadowStackPointer, hasShadowStacks);

// biome-ignore format: a table
const rows: readonly (readonly [number, Row])[] = [
	[MSR.IA32_TSC, {
		read: (cpu) => BigInt.asUintN(64, BigInt(readTsc(cpu))),
		write: (cpu, value) => {
			cpu.f64[(cpu.base + L.TSC_BIAS) >> 3] = Number(BigInt.asIntN(64, value)) - Math.floor(cpu.cycles);
			return null;
		},
	}],
	[MSR.IA32_APIC_BASE, field(L.APIC_BASE, (value, cpu) =>
		(value & 0x6ffn) === 0n && value >> BigInt(cpu.model.features.physicalAddressBits) === 0n)],
	[MSR.IA32_FEATURE_CONTROL, fixed(5n, false, (cpu) => cpu.model.vendors.includes("vmx"))],
	[MSR.IA32_SPEC_CTRL, field(L.SPEC_CTRL, mask(0x5f7n))],
	[MSR.IA32_PRED_CMD, { write: (_cpu, value) => ((value & ~0x81n) === 0n ? null : GP0) }],
	[MSR.IA32_BIOS_SIGN_ID, fixed(1n << 32n, true)],
	[MSR.MSR_PLATFORM_INFO, { read: (cpu) => BigInt(Math.round(cpu.model.tscHz / 1e8)) << 8n, present: isIntel }],
	[MSR.IA32_MTRRCAP, fixed(0x508n)],
	[MSR.IA32_FLUSH_CMD, { write: (_cpu, value) => ((value & ~1n) === 0n ? null : GP0), present: isIntel }],
	[MSR.IA32_SYSENTER_CS, field(L.SYSENTER_CS, any)],
	[MSR.IA32_SYSENTER_ESP, field(L.SYSENTER_ESP, canonical)],
	[MSR.IA32_SYSENTER_EIP, field(L.SYSENTER_EIP, canonical)],
	[MSR.IA32_MCG_CAP, fixed(BigInt(MC_BANKS))],
	[MSR.IA32_MCG_STATUS, field(L.MCG_STATUS, mask(7n))],
	[MSR.IA32_MISC_ENABLE, field(L.MISC_ENABLE, low32, isIntel)],
	[MSR.IA32_XFD, { read: (cpu) => BigInt(cpu.xfd), write: (cpu, value) => writeXfd(cpu, Number(value)), present: hasXfd }],
	[MSR.IA32_XFD_ERR, {
		read: (cpu) => cpu.read64(L.XFD_ERR), write: (cpu, value) => writeXfdErr(cpu, Number(value)), present: hasXfd,
	}],
	[MSR.IA32_DEBUGCTL, field(L.DEBUGCTL, isDebugctl)],
	[MSR.IA32_PAT, field(L.PAT, isPat)],
	[MSR.IA32_MTRR_DEF_TYPE, fixed(0xc06n)],
	[MSR.IA32_U_CET, field(L.U_CET, isCetValue, hasCetOf)],
	[MSR.IA32_S_CET, field(L.S_CET, isCetValue, hasCetOf)],
	[MSR.IA32_PL0_SSP, ssp(L.PL0_SSP)],
	[MSR.IA32_PL1_SSP, ssp(L.PL1_SSP)],
	[MSR.IA32_PL2_SSP, ssp(L.PL2_SSP)],
	[MSR.IA32_PL3_SSP, ssp(L.PL3_SSP)],
	[MSR.IA32_INTERRUPT_SSP_TABLE, field(L.INTERRUPT_SSP_TABLE, canonical, hasShadowStacks)],
	[MSR.IA32_TSC_DEADLINE, field(L.TSC_DEADLINE, any)],
	[MSR.IA32_PKRS, {
		read: (cpu) => BigInt(cpu.read32(L.PKRS)),
		write: (cpu, value) => {
			if (value > MASK32) return GP0;
			cpu.write32(L.PKRS, Number(value));
			return null;
		},
		present: (cpu) => cpu.model.features.pks,
	}],
	[MSR.IA32_PASID, field(L.PASID, mask(0x800fffffn), hasXss(XFEATURE.pasid))],
	[MSR.IA32_XSS, {
		read: (cpu) => BigInt(cpu.xss),
		write: (cpu, value) => writeXss(cpu, Number(value)),
		present: (cpu) => cpu.model.features.xsaves,
	}],
	[MSR.IA32_EFER, { read: (cpu) => cpu.read64(L.EFER), write: writeEfer }],
	[MSR.IA32_STAR, field(L.STAR, any)],
	[MSR.IA32_LSTAR, field(L.LSTAR, canonical)],
	[MSR.IA32_CSTAR, field(L.CSTAR, canonical)],
	[MSR.IA32_FMASK, field(L.SFMASK, low32)],
	[MSR.IA32_FS_BASE, field(segmentAt(L.FS) + L.SEG_BASE, canonical)],
	[MSR.IA32_GS_BASE, field(segmentAt(L.GS) + L.SEG_BASE, canonical)],
	[MSR.IA32_KERNEL_GS_BASE, field(L.KERNEL_GS_BASE, canonical)],
	[MSR.IA32_TSC_AUX, field(L.TSC_AUX, low32)],
	[MSR.SYSCFG, fixed(0x40000n, true, isAmd)],
	[MSR.HWCR, fixed(0x1000010n, true, isAmd)],
	[MSR.VM_CR, fixed(0n, true, isAmd)],
	[MSR.VM_HSAVE_PA, fixed(0n, true, isAmd)],
];

const table = new Map<number, Row>(rows);
// Variable-range and fixed-range MTRRs: all memory is write-back through the default type.
for (let index = 0x200; index < 0x210; index++) table.set(index, fixed(0n, true));
for (const index of [0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f]) {
	table.set(index, fixed(0x0606060606060606n, true));
}
// Machine-check banks: CTL takes anything, STATUS, ADDR and MISC take only zeros (SDM Vol. 3B, 17.3.2).
for (let bank = 0; bank < MC_BANKS; bank++) {
	const base = MSR.IA32_MC0_CTL + 4 * bank;
	table.set(base, fixed(0n, true));
	for (const index of [base + 1, base + 2, base + 3]) {
		table.set(index, { read: () => 0n, write: (_cpu, value) => (value === 0n ? null : GP0) });
	}
}

function lookUp(cpu: Cpu, index: number): Row | undefined {
	const row = table.get(index);
	return row?.present !== undefined && !row.present(cpu) ? undefined : row;
}

/**
 * Reads an MSR as RDMSR does, after its privilege check.
 * @param index ECX, unsigned
 * @returns the value, or #GP(0) when the model has no such register
 */
export function readMsr(cpu: Cpu, index: number): bigint | Fault {
	return lookUp(cpu, index)?.read?.(cpu) ?? GP0;
}

/**
 * Writes an MSR as WRMSR does, after its privilege check.
 * @param index ECX, unsigned
 * @param value EDX:EAX
 * @returns #GP(0) for a missing register or a reserved value, or null
 */
export function writeMsr(cpu: Cpu, index: number, value: bigint): Fault | null {
	const write = lookUp(cpu, index)?.write;
	return write === undefined ? GP0 : write(cpu, value);
}
