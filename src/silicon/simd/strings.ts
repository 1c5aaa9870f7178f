/** PCMPESTRI, PCMPESTRM, PCMPISTRI and PCMPISTRM (SDM Vol. 1, 12.12; Vol. 2B, 4.1), on the state block. */
import type { Cpu } from "../cpu/cpu.ts";
import * as L from "../cpu/layout.ts";
import { FLAG } from "../cpu/rflags.ts";
import type { VectorOperation } from "./operation.ts";

/** In the operation's immediate, above the instruction's own: lengths are given in VECTOR_C. */
export const EXPLICIT_LENGTHS = 0x100;
/** Where the index and the flags lie, 4 bytes each, behind the mask. */
export const STRING_INDEX = L.VECTOR_RESULT + 16;
export const STRING_FLAGS = L.VECTOR_RESULT + 20;

/** The elements of a string, and how many of them are valid. */
interface Elements {
	readonly values: readonly number[];
	readonly length: number;
}

function elementsAt(cpu: Cpu, offset: number, control: number): number[] {
	const { view } = cpu.memory;
	const at = cpu.base + offset;
	const [words, isSigned] = [(control & 1) !== 0, (control & 2) !== 0];
	return Array.from({ length: words ? 8 : 16 }, (_, index) => {
		if (words) return isSigned ? view.getInt16(at + index * 2, true) : view.getUint16(at + index * 2, true);
		return isSigned ? view.getInt8(at + index) : view.getUint8(at + index);
	});
}

/** Up to the first 0, or as many as a register says: its magnitude, at most all. */
function lengthOf(cpu: Cpu, values: readonly number[], immediate: number, register: number): number {
	if ((immediate & EXPLICIT_LENGTHS) === 0) {
		const end = values.indexOf(0);
		return end < 0 ? values.length : end;
	}
	const given = BigInt.asIntN(64, cpu.read64(L.VECTOR_C + register * 8));
	const magnitude = given < 0n ? -given : given;
	return magnitude > BigInt(values.length) ? values.length : Number(magnitude);
}

/** IntRes1, a bit an element of the second string. */
function aggregate(kind: number, first: Elements, second: Elements): number {
	let bits = 0;
	for (let at = 0; at < second.values.length; at++) if (matches(kind, first, second, at)) bits |= 1 << at;
	return bits;
}

function matches(kind: number, first: Elements, second: Elements, at: number): boolean {
	const value = second.values[at]!;
	const isValid = at < second.length;
	switch (kind) {
		case 0:
			return isValid && first.values.slice(0, first.length).includes(value);
		case 1:
			return isValid && isInRange(first, value);
		case 2:
			return isValid && at < first.length ? first.values[at] === value : !isValid && at >= first.length;
		default:
			return isSubstring(first, second, at);
	}
}

/** Ranges: pairs of a lower and an upper bound, both valid. */
function isInRange({ values, length }: Elements, value: number): boolean {
	for (let at = 0; at + 1 < length; at += 2) {
		if (values[at]! <= value && value <= values[at + 1]!) return true;
	}
	return false;
}

/** Equal ordered: the first string begins at an element of the second, as far as the vector goes. */
function isSubstring(first: Elements, second: Elements, from: number): boolean {
	for (let at = 0; at < first.length && from + at < second.values.length; at++) {
		if (from + at >= second.length || first.values[at] !== second.values[from + at]) return false;
	}
	return true;
}

/** The instruction's immediate in bits 7:0; see EXPLICIT_LENGTHS. */
const compareStrings: VectorOperation = (cpu, immediate) => {
	const control = immediate & 0xff;
	const [a, b] = [elementsAt(cpu, L.VECTOR_A, control), elementsAt(cpu, L.VECTOR_B, control)];
	const first = { values: a, length: lengthOf(cpu, a, immediate, 0) };
	const second = { values: b, length: lengthOf(cpu, b, immediate, 1) };
	const count = a.length;
	let bits = aggregate((control >> 2) & 3, first, second);
	const polarity = (control >> 4) & 3;
	if (polarity === 1) bits ^= (1 << count) - 1;
	else if (polarity === 3) bits ^= (1 << second.length) - 1;
	const fromTop = (control & 0x40) !== 0;
	const index = bits === 0 ? count : fromTop ? 31 - Math.clz32(bits) : 31 - Math.clz32(bits & -bits);
	const flags =
		(bits !== 0 ? FLAG.CF : 0) |
		(second.length < count ? FLAG.ZF : 0) |
		(first.length < count ? FLAG.SF : 0) |
		((bits & 1) !== 0 ? FLAG.OF : 0);
	cpu.write32(STRING_INDEX, index);
	cpu.write32(STRING_FLAGS, flags);
	writeMask(cpu, bits, count, fromTop);
};

/** The mask form's result: bits, or all ones in each element that matches. */
function writeMask(cpu: Cpu, bits: number, count: number, expanded: boolean): void {
	cpu.write64(L.VECTOR_RESULT, BigInt(expanded ? 0 : bits));
	cpu.write64(L.VECTOR_RESULT + 8, 0n);
	if (!expanded) return;
	const bytes = 16 / count;
	const from = cpu.base + L.VECTOR_RESULT;
	for (let at = 0; at < count; at++) {
		if (((bits >> at) & 1) !== 0) cpu.memory.u8.fill(0xff, from + at * bytes, from + (at + 1) * bytes);
	}
}

/** Operations by name. */
export const STRINGS: readonly (readonly [string, VectorOperation])[] = [["pcmpstr", compareStrings]];
