/** The modes that regions are translated for, as small numbers. */
import { CET, cetControl } from "../cpu/cet.ts";
import { CR4 } from "../cpu/control.ts";
import type { Cpu } from "../cpu/cpu.ts";
import * as L from "../cpu/layout.ts";
import { FLAG } from "../cpu/rflags.ts";
import { avxEnabled, sseEnabled } from "../cpu/vector-state.ts";

/** What a region is translated for. Part of the key under which it is kept. */
export interface Mode {
	/** Its number. */
	readonly key: number;
	readonly bitness: 16 | 32 | 64;
	/** ES, CS, SS and DS begin at 0 and end at 4 GiB, and allow what they are used for. Always so in 64-bit mode. */
	readonly flat: boolean;
	/** Bytes of the stack pointer: 2, 4 or 8. */
	readonly stackBytes: number;
	/** One instruction only: interrupt shadows, restarted stores, debugging. */
	readonly single: boolean;
	/** SSE instructions, and those encoded with VEX, are enabled. Where they are not, they are the system side's. */
	readonly sse: boolean;
	readonly avx: boolean;
	/** 0, or L.USER_BANK at level 3: where its TLBs and jump cache lie. */
	readonly bank: number;
	/** Unaligned accesses fault: CR0.AM and RFLAGS.AC at level 3. */
	readonly aligned: boolean;
	/** Near CALL and RET use a shadow stack, and are the system side's. */
	readonly shadowStack: boolean;
	/** Indirect branches are tracked: they and ENDBRANCH are the system side's. */
	readonly tracked: boolean;
}

const EFER_LMA = 1 << 10;
const CS_L = 1 << 13;
const ATTR_DB = 1 << 14;
const CR0_PE = 1;
const CR0_AM = 1 << 18;

const FLAT = 4;
const STACK32 = 8;
/** Added to a mode's number: regions of one instruction. */
export const SINGLE = 16;
const NO_SSE = 32;
const NO_AVX = 64;
const USER = 128;
const ALIGNED = 256;
const SHADOW_STACK = 512;
/** In a mode's number: indirect branches are tracked. */
export const TRACKED = 1024;
/** Numbers of modes are below this. */
export const MODES = 2048;

/** Usable, S, and the type bits that tell writable data that grows upward. */
const DATA_MASK = 0x1001e;
const WRITABLE_DATA = 0x12;

function attributes(cpu: Cpu, segment: number): number {
	return cpu.u32[(cpu.base + L.SEG + segment * L.SEG_BYTES + L.SEG_ATTR) >> 2]!;
}

/** Whether a segment begins at 0 and ends at 4 GiB. */
function spansAll(cpu: Cpu, segment: number): boolean {
	const at = (cpu.base + L.SEG + segment * L.SEG_BYTES) >> 2;
	return cpu.u32[at] === 0 && cpu.u32[at + 2] === 0xffffffff;
}

function isFlatData(cpu: Cpu, segment: number): boolean {
	return spansAll(cpu, segment) && (attributes(cpu, segment) & DATA_MASK) === WRITABLE_DATA;
}

/** The number of the mode that a processor is in. Paging is no part of it. */
export function modeOf(cpu: Cpu): number {
	const key = segmentsOf(cpu) | (sseEnabled(cpu) ? 0 : NO_SSE) | (avxEnabled(cpu) ? 0 : NO_AVX);
	return (cpu.read32(L.CR4) & CR4.CET) === 0 ? key : key | enforcementOf(cpu, (key & USER) !== 0 ? 3 : 0);
}

/** What of control-flow enforcement is on at a privilege level. */
function enforcementOf(cpu: Cpu, level: number): number {
	const control = cetControl(cpu, level);
	return (
		((control & CET.SH_STK_EN) === 0 ? 0 : SHADOW_STACK) | ((control & CET.ENDBR_EN) === 0 ? 0 : TRACKED)
	);
}

function segmentsOf(cpu: Cpu): number {
	const stack = attributes(cpu, L.SS);
	const user = (stack & 0x60) === 0x60;
	let key = 0;
	if (user) {
		key = USER;
		if ((cpu.read32(L.RFLAGS) & FLAG.AC) !== 0 && (cpu.read32(L.CR0) & CR0_AM) !== 0) key |= ALIGNED;
	}
	const code = attributes(cpu, L.CS);
	if ((code & CS_L) !== 0 && (cpu.read32(L.EFER) & EFER_LMA) !== 0) return key | 2 | FLAT;
	if ((cpu.read32(L.CR0) & CR0_PE) !== 0 && (code & ATTR_DB) !== 0) key |= 1;
	if (spansAll(cpu, L.CS) && isFlatData(cpu, L.SS) && isFlatData(cpu, L.DS) && isFlatData(cpu, L.ES))
		key |= FLAT;
	if ((stack & ATTR_DB) !== 0) key |= STACK32;
	return key;
}

/** Whether code of a mode may lie at an offset other than its linear address, or end below 4 GiB. */
export function hasCodeLimits(key: number): boolean {
	return (key & FLAT) === 0;
}

const modes: Mode[] = [];
for (let key = 0; key < MODES; key++) {
	const bitness = ([16, 32, 64, 64] as const)[key & 3]!;
	const stackBytes = bitness === 64 ? 8 : (key & STACK32) !== 0 ? 4 : 2;
	modes.push({
		key,
		bitness,
		flat: (key & FLAT) !== 0,
		stackBytes,
		single: (key & SINGLE) !== 0,
		sse: (key & NO_SSE) === 0,
		avx: (key & NO_AVX) === 0,
		bank: bankFrom(key),
		aligned: (key & ALIGNED) !== 0,
		shadowStack: (key & SHADOW_STACK) !== 0,
		tracked: (key & TRACKED) !== 0,
	});
}

/** `bank` of the mode behind a number. */
export function bankFrom(key: number): number {
	return (key & USER) !== 0 ? L.USER_BANK : 0;
}

/** The mode behind a number. */
export function modeFrom(key: number): Mode {
	return modes[key]!;
}
