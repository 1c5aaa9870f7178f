/** AES-NI and VAES (SDM Vol. 1, 12.13; FIPS 197), on the state block. */
import type { Cpu } from "../cpu/cpu.ts";
import { places } from "./float.ts";
import type { VectorOperation } from "./operation.ts";

/** The product of two elements of GF(2^8) modulo x^8 + x^4 + x^3 + x + 1. */
function product(a: number, b: number): number {
	let [rest, factor, sum] = [a, b, 0];
	for (; factor !== 0; factor >>= 1) {
		if ((factor & 1) !== 0) sum ^= rest;
		rest = rest & 0x80 ? (rest << 1) ^ 0x11b : rest << 1;
	}
	return sum;
}

/** The S-box: the inverse, then an affine transformation. */
const SUBSTITUTE = Uint8Array.from({ length: 256 }, (_, x) => {
	let inverse = 0;
	while (x !== 0 && product(x, inverse) !== 1) inverse++;
	let out = 0x63;
	for (let turn = 0; turn < 5; turn++) out ^= (inverse << turn) | (inverse >> (8 - turn));
	return out & 0xff;
});
const INVERSE = new Uint8Array(256);
for (const [x, y] of SUBSTITUTE.entries()) INVERSE[y] = x;

/** A column as a byte in row 0 contributes to it. @param factors of rows 0 to 3 */
function column(byte: number, factors: readonly number[]): number {
	let word = 0;
	for (const [row, factor] of factors.entries()) word |= product(byte, factor) << (8 * row);
	return word >>> 0;
}
const MIX = [2, 1, 1, 3];
const INVERSE_MIX = [14, 9, 13, 11];
/** SubBytes and MixColumns of a byte in row 0, and their inverses; InvMixColumns alone. */
const ENCRYPT = Uint32Array.from({ length: 256 }, (_, x) => column(SUBSTITUTE[x]!, MIX));
const DECRYPT = Uint32Array.from({ length: 256 }, (_, x) => column(INVERSE[x]!, INVERSE_MIX));
const UNMIX = Uint32Array.from({ length: 256 }, (_, x) => column(x, INVERSE_MIX));

const rotate = (word: number, bits: number) => (word << bits) | (word >>> (32 - bits));
const byteOf = (word: number, row: number) => (word >>> (8 * row)) & 0xff;

/**
 * Rounds on each 16 bytes; the immediate is how many of them there are.
 * @param step columns by which each row is shifted: 1 to encrypt, 3 to decrypt
 * @param wordOf a column from the bytes of its rows, in row order
 */
function rounds(step: number, wordOf: (bytes: readonly number[]) => number): VectorOperation {
	return (cpu, count) => {
		const { u32 } = cpu;
		for (let half = 0; half < count; half++) {
			const [state, key, , result] = places(cpu, 2).map((place) => place + half * 4);
			for (let at = 0; at < 4; at++) {
				const bytes = [0, 1, 2, 3].map((row) => byteOf(u32[state! + ((at + row * step) & 3)]!, row));
				u32[result! + at] = wordOf(bytes) ^ u32[key! + at]!;
			}
		}
	};
}

/** A column by a table for row 0, turned for the others. */
const mixed = (table: Uint32Array) => (bytes: readonly number[]) =>
	bytes.reduce((word, byte, row) => word ^ rotate(table[byte]!, 8 * row), 0);
/** A column of substituted bytes, as the last round has it. */
const plain = (box: Uint8Array) => (bytes: readonly number[]) =>
	bytes.reduce((word, byte, row) => word | (box[byte]! << (8 * row)), 0);

const bytesOf = (word: number) => [0, 1, 2, 3].map((row) => byteOf(word, row));

/** AESIMC. */
const inverseMix: VectorOperation = (cpu) => {
	const [from, , , to] = places(cpu, 2);
	const unmix = mixed(UNMIX);
	for (let at = 0; at < 4; at++) cpu.u32[to! + at] = unmix(bytesOf(cpu.u32[from! + at]!));
};

/** AESKEYGENASSIST; the immediate is the round constant. */
const keyGenAssist: VectorOperation = (cpu: Cpu, constant) => {
	const [from, , , to] = places(cpu, 2);
	const substitute = plain(SUBSTITUTE);
	for (const at of [1, 3]) {
		const word = substitute(bytesOf(cpu.u32[from! + at]!));
		cpu.u32[to! + at - 1] = word;
		cpu.u32[to! + at] = rotate(word, 24) ^ constant;
	}
};

/** Operations by name. */
// biome-ignore format: one row an operation
export const AES: readonly (readonly [string, VectorOperation])[] = [
	["aesenc", rounds(1, mixed(ENCRYPT))], ["aesenclast", rounds(1, plain(SUBSTITUTE))],
	["aesdec", rounds(3, mixed(DECRYPT))], ["aesdeclast", rounds(3, plain(INVERSE))],
	["aesimc", inverseMix],                ["aeskeygenassist", keyGenAssist],
];
