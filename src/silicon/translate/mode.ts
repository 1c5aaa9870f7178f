/** The modes that regions are translated for, as small numbers. */
import type { Cpu } from "../cpu/cpu.ts";
import * as L from "../cpu/layout.ts";
import { avxEnabled, sseEnabled } from "../cpu/vector-state.ts";

/** What a region is translated for. Part of the key under which it is kept. */
export interface Mode {
	/** Its number. */
	readonly key: number;
	readonly bitness: 16 | 32 | 64;
	/** Bases of ES, CS, SS and DS are 0. Always so in 64-bit mode. */
	readonly flat: boolean;
	/** Bytes of the stack pointer: 2, 4 or 8. */
	readonly stackBytes: number;
	/** One instruction only, for interrupt shadows and restarted stores. */
	readonly single: boolean;
	/** SSE instructions, and those encoded with VEX, are enabled. Where they are not, they are the system side's. */
	readonly sse: boolean;
	readonly avx: boolean;
}

const EFER_LMA = 1 << 10;
const CS_L = 1 << 13;
const ATTR_DB = 1 << 14;
const CR0_PE = 1;

const FLAT = 4;
const STACK32 = 8;
/** Added to a mode's number: regions of one instruction. */
export const SINGLE = 16;
const NO_SSE = 32;
const NO_AVX = 64;
/** Numbers of modes are below this. */
export const MODES = 128;

function attributes(cpu: Cpu, segment: number): number {
	return cpu.u32[(cpu.base + L.SEG + segment * L.SEG_BYTES + L.SEG_ATTR) >> 2]!;
}

function hasBase(cpu: Cpu, segment: number): boolean {
	return cpu.u32[(cpu.base + L.SEG + segment * L.SEG_BYTES + L.SEG_BASE) >> 2]! !== 0;
}

/** The number of the mode that a processor is in. CPL and paging are no part of it. */
export function modeOf(cpu: Cpu): number {
	return segmentsOf(cpu) | (sseEnabled(cpu) ? 0 : NO_SSE) | (avxEnabled(cpu) ? 0 : NO_AVX);
}

function segmentsOf(cpu: Cpu): number {
	if ((cpu.read32(L.EFER) & EFER_LMA) !== 0 && (attributes(cpu, L.CS) & CS_L) !== 0) return 2 | FLAT;
	const protectedMode = (cpu.read32(L.CR0) & CR0_PE) !== 0;
	let key = protectedMode && (attributes(cpu, L.CS) & ATTR_DB) !== 0 ? 1 : 0;
	if (!hasBase(cpu, L.ES) && !hasBase(cpu, L.CS) && !hasBase(cpu, L.SS) && !hasBase(cpu, L.DS)) key |= FLAT;
	if ((attributes(cpu, L.SS) & ATTR_DB) !== 0) key |= STACK32;
	return key;
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
	});
}

/** The mode behind a number. */
export function modeFrom(key: number): Mode {
	return modes[key]!;
}
