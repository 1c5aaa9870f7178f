/** AES, carry-less products, SHA and sums of differences of the reference (SDM Vol. 2; FIPS 180-4 and 197). */
import type { Instruction } from "iced-x86";
import type { Operation, Reference } from "../state.ts";
import { eachHalf, eachHalfOfOne, immediate, join, putBytes, split, toNumber, twoSources } from "./lanes.ts";

/** Multiplication of polynomials over GF(2). */
function carryless(a: bigint, b: bigint): bigint {
	let sum = 0n;
	for (let at = 0n; b >> at !== 0n; at++) if ((b >> at) & 1n) sum ^= a << at;
	return sum;
}

/** The product in GF(2^8), reduced by long division. */
function fieldProduct(a: number, b: number): number {
	let value = Number(carryless(BigInt(a), BigInt(b)));
	for (let at = 14; at >= 8; at--) if ((value >> at) & 1) value ^= 0x11b << (at - 8);
	return value;
}

function substitute(x: number): number {
	// x^254 is the inverse.
	let inverse = 1;
	for (let n = 0; n < 254; n++) inverse = fieldProduct(inverse, x);
	let out = 0;
	for (let bit = 0; bit < 8; bit++) {
		const at = (n: number) => (inverse >> ((bit + n) % 8)) & 1;
		out |= (at(0) ^ at(4) ^ at(5) ^ at(6) ^ at(7) ^ ((0x63 >> bit) & 1)) << bit;
	}
	return out;
}
const BOX = Array.from({ length: 256 }, (_, x) => substitute(x));
const INVERSE_BOX = BOX.map((_, x) => BOX.indexOf(x));

// The state as a matrix: byte 4c + r is row r, column c.
const shiftRows = (s: Uint8Array, by: number) => s.map((_, at) => s[(at + 4 * by * (at % 4) + 64) % 16]!);
function mixColumns(s: Uint8Array, row: readonly number[]): Uint8Array {
	return s.map((_, at) => {
		const [r, c] = [at % 4, at - (at % 4)];
		return [0, 1, 2, 3].reduce((sum, k) => sum ^ fieldProduct(s[c + k]!, row[(k - r + 4) % 4]!), 0);
	});
}
const MIX = [2, 3, 1, 1];
const UNMIX = [14, 11, 13, 9];
const xor = (a: Uint8Array, b: Uint8Array) => a.map((byte, at) => byte ^ b[at]!);
const box = (s: Uint8Array, table: readonly number[]) => s.map((byte) => table[byte]!);

const keyGenAssist = eachHalfOfOne((a, constant) => {
	const [, x1, , x3] = [0, 4, 8, 12].map((at) => toNumber(box(a.subarray(at, at + 4), BOX)));
	const turned = (word: bigint) => ((word >> 8n) | (word << 24n)) & 0xffffffffn;
	return join([x1!, turned(x1!) ^ BigInt(constant), x3!, turned(x3!) ^ BigInt(constant)], 4);
});

const mpsadbw = eachHalf((a, b, immediateByte, half) => {
	const control = immediateByte >> (3 * half);
	const block = b.subarray((control & 3) * 4, (control & 3) * 4 + 4);
	const first = (control & 4) === 0 ? 0 : 4;
	const sum = (at: number) =>
		[0, 1, 2, 3].reduce((total, k) => total + Math.abs(a[first + at + k]! - block[k]!), 0);
	return join(
		[0, 1, 2, 3, 4, 5, 6, 7].map((at) => BigInt(sum(at))),
		2,
	);
});

const phminposuw = eachHalfOfOne((a) => {
	const words = split(a, 2);
	const smallest = [...words].sort((a, b) => Number(a - b))[0]!;
	return join([smallest, BigInt(words.indexOf(smallest)), 0n, 0n, 0n, 0n, 0n, 0n], 2);
});

// ---- SHA: words named as in the manual, highest first --------------------------------------------------

const w32 = (x: bigint) => BigInt.asUintN(32, x);
const rol = (x: bigint, n: bigint) => w32((x << n) | (x >> (32n - n)));
const ror = (x: bigint, n: bigint) => rol(x, 32n - n);

function sha(operation: (a: bigint[], b: bigint[], r: Reference, i: Instruction) => bigint[]): Operation {
	return (r, i) => {
		const [a, b] = twoSources(r, i);
		const out = operation(split(a, 4).reverse(), split(b, 4).reverse(), r, i);
		putBytes(r, i, 0, join(out.reverse(), 4));
	};
}

const K = [0x5a827999n, 0x6ed9eba1n, 0x8f1bbcdcn, 0xca62c1d6n];
const F = [
	(b: bigint, c: bigint, d: bigint) => (b & c) ^ (~b & d),
	(b: bigint, c: bigint, d: bigint) => b ^ c ^ d,
	(b: bigint, c: bigint, d: bigint) => (b & c) ^ (b & d) ^ (c & d),
	(b: bigint, c: bigint, d: bigint) => b ^ c ^ d,
];

const sha1rnds4 = sha((state, w, _, i) => {
	const group = immediate(i) & 3;
	let [a, b, c, d] = state as [bigint, bigint, bigint, bigint];
	let e = 0n;
	for (let round = 0; round < 4; round++) {
		const t = w32(F[group]!(b, c, d) + rol(a, 5n) + w[round]! + e + K[group]!);
		[a, b, c, d, e] = [t, a, rol(b, 30n), c, d];
	}
	return [a, b, c, d];
});
const sha1msg2 = sha(([a, b, c, d], [, w13, w14, w15]) => {
	const w16 = rol(a! ^ w13!, 1n);
	return [w16, rol(b! ^ w14!, 1n), rol(c! ^ w15!, 1n), rol(d! ^ w16, 1n)];
});
const s0 = (x: bigint) => ror(x, 7n) ^ ror(x, 18n) ^ (x >> 3n);
const s1 = (x: bigint) => ror(x, 17n) ^ ror(x, 19n) ^ (x >> 10n);
const S0 = (x: bigint) => ror(x, 2n) ^ ror(x, 13n) ^ ror(x, 22n);
const S1 = (x: bigint) => ror(x, 6n) ^ ror(x, 11n) ^ ror(x, 25n);

const sha256rnds2 = sha(([c0, d0, g0, h0], [a0, b0, e0, f0], r) => {
	let [a, b, c, d, e, f, g, h] = [a0!, b0!, c0!, d0!, e0!, f0!, g0!, h0!];
	for (const wk of split(r.vectors.slice(0, 8), 4)) {
		const t = w32(F[0]!(e, f, g) + S1(e) + wk + h);
		[a, b, c, d, e, f, g, h] = [w32(t + F[2]!(a, b, c) + S0(a)), a, b, c, w32(t + d), e, f, g];
	}
	return [a, b, e, f];
});
const sha256msg2 = sha(([w3, w2, w1, w0], [w15, w14]) => {
	const w16 = w32(w0! + s1(w14!));
	const w17 = w32(w1! + s1(w15!));
	return [w32(w3! + s1(w17)), w32(w2! + s1(w16)), w17, w16];
});

/** By name. */
// biome-ignore format: one row an instruction
export const CRYPTOGRAPHY: readonly (readonly [string, Operation])[] = [
	["aesenc", eachHalf((a, b) => xor(mixColumns(box(shiftRows(a, 1), BOX), MIX), b))],
	["aesenclast", eachHalf((a, b) => xor(box(shiftRows(a, 1), BOX), b))],
	["aesdec", eachHalf((a, b) => xor(mixColumns(box(shiftRows(a, -1), INVERSE_BOX), UNMIX), b))],
	["aesdeclast", eachHalf((a, b) => xor(box(shiftRows(a, -1), INVERSE_BOX), b))],
	["aesimc", eachHalfOfOne((a) => mixColumns(a, UNMIX))],
	["aeskeygenassist", keyGenAssist],
	["pclmulqdq", eachHalf((a, b, control) => join([carryless(split(a, 8)[control & 1]!, split(b, 8)[(control >> 4) & 1]!)], 16))],
	["sha1rnds4", sha1rnds4],
	["sha1nexte", sha(([a], [w0, w1, w2, w3]) => [w0! + rol(a!, 30n), w1!, w2!, w3!])],
	["sha1msg1", sha(([a, b, c, d], [e, f]) => [a! ^ c!, b! ^ d!, c! ^ e!, d! ^ f!])],
	["sha1msg2", sha1msg2],
	["sha256rnds2", sha256rnds2],
	["sha256msg1", sha(([w3, w2, w1, w0], [, , , w4]) => [w3! + s0(w4!), w2! + s0(w3!), w1! + s0(w2!), w0! + s0(w1!)])],
	["sha256msg2", sha256msg2],
	["mpsadbw", mpsadbw], ["phminposuw", phminposuw],
];
