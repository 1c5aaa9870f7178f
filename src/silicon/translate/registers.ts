/** General-purpose registers by iced-x86's numbers. */
import { Register } from "./decode.ts";

/** Where a general-purpose register lies. */
export interface Place {
	/** Encoding number, RAX = 0 … R15 = 15. */
	readonly index: number;
	readonly bytes: number;
	/** AH, CH, DH or BH: bits 15:8. */
	readonly high: boolean;
}

const places: Place[] = [];
for (let at = 0; at < 16; at++) {
	places[Register.AX + at] = { index: at, bytes: 2, high: false };
	places[Register.EAX + at] = { index: at, bytes: 4, high: false };
	places[Register.RAX + at] = { index: at, bytes: 8, high: false };
}
// AL CL DL BL, AH CH DH BH, then SPL … R15L.
for (let at = 0; at < 20; at++) {
	const high = at >= 4 && at < 8;
	const index = at < 4 ? at : at - 4;
	places[Register.AL + at] = { index, bytes: 1, high };
}

/** The place of a general-purpose register, or undefined for any other register. */
export function placeOf(register: number): Place | undefined {
	return places[register];
}

/** Offset of the segment register number, ES = 0 … GS = 5, or -1 if it is none. */
export function segmentOf(register: number): number {
	return register >= Register.ES && register <= Register.GS ? register - Register.ES : -1;
}

/** Number of an MMX register, or -1 for any other register. */
export function mmxIndexOf(register: number): number {
	return register >= Register.MM0 && register <= Register.MM7 ? register - Register.MM0 : -1;
}

/** Where a vector register lies: XMM and YMM registers of one number share their low half. */
export interface VectorPlace {
	readonly index: number;
	readonly bytes: 16 | 32;
}

const vectorPlaces: VectorPlace[] = [];
for (let at = 0; at < 16; at++) {
	vectorPlaces[Register.XMM0 + at] = { index: at, bytes: 16 };
	vectorPlaces[Register.YMM0 + at] = { index: at, bytes: 32 };
}

/** The place of an XMM or YMM register, or undefined for any other register. */
export function vectorPlaceOf(register: number): VectorPlace | undefined {
	return vectorPlaces[register];
}
