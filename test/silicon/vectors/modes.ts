/** The modes that cases run in, with the segments that Linux and native.c give them. */
import { CODE, WINDOW } from "./places.ts";

export const MODE = { long: 0, flat32: 1, code16: 2, based32: 3 } as const;
export type Mode = (typeof MODE)[keyof typeof MODE];
export const MODES = [MODE.long, MODE.flat32, MODE.code16, MODE.based32] as const;

/** Bits of a record's classes that say its mode, and that its faults are compared with address and error code. */
const MODE_SHIFT = 2;
export const CLASS_EXACT_FAULTS = 16;

export const modeOf = (classes: number): Mode => ((classes >> MODE_SHIFT) & 3) as Mode;
export const classOf = (mode: Mode): number => (mode << MODE_SHIFT) | CLASS_EXACT_FAULTS;

/** Width of the code, of a mode. */
export const bitnessOf = (mode: Mode): 16 | 32 | 64 =>
	mode === MODE.long ? 64 : mode === MODE.code16 ? 16 : 32;

/** CS SS DS ES. */
export const SELECTORS: Readonly<Record<Mode, readonly [cs: number, ss: number, ds: number, es: number]>> = {
	[MODE.long]: [0x33, 0x2b, 0, 0],
	[MODE.flat32]: [0x23, 0x2b, 0x2b, 0x2b],
	[MODE.code16]: [0x07, 0x0f, 0x0f, 0x0f],
	[MODE.based32]: [0x17, 0x2f, 0x1f, 0x27],
};

/** What is subtracted from a linear address in the window, and from one in the code. */
export const dataBase = (mode: Mode): number => (mode === MODE.long || mode === MODE.flat32 ? 0 : WINDOW);
export const codeBase = (mode: Mode): number => (mode === MODE.long || mode === MODE.flat32 ? 0 : CODE);

const descriptor = (base: number, limit: number, access: number, flags: number): bigint =>
	BigInt(limit & 0xffff) |
	(BigInt(base & 0xffffff) << 16n) |
	(BigInt(access) << 40n) |
	(BigInt((limit >> 16) & 15) << 48n) |
	(BigInt(flags) << 52n) |
	(BigInt(base >>> 24) << 56n);

/** Linux's GDT as far as a user can ask for it: code and data of the kernel, 32-bit code, data and 64-bit code of users. */
export const GDT: readonly bigint[] = [
	0n,
	descriptor(0, 0xfffff, 0x9b, 0xc),
	descriptor(0, 0xfffff, 0x9b, 0xa),
	descriptor(0, 0xfffff, 0x93, 0xc),
	descriptor(0, 0xfffff, 0xfb, 0xc),
	descriptor(0, 0xfffff, 0xf3, 0xc),
	descriptor(0, 0xfffff, 0xfb, 0xa),
];

/** native.c's: 16-bit code and data; 32-bit code, data, data that expands down, stack. */
export const LDT: readonly bigint[] = [
	descriptor(CODE, 0xfff, 0xfb, 0),
	descriptor(WINDOW, 0xffff, 0xf3, 0),
	descriptor(CODE, 0xfff, 0xfb, 4),
	descriptor(WINDOW, 0x80ff, 0xf3, 4),
	descriptor(WINDOW, 0x7fff, 0xf7, 4),
	descriptor(WINDOW, 0xffff, 0xf3, 4),
];
