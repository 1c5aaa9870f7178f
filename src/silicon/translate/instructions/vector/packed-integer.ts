/**
 * Logic, arithmetic and comparison of packed integers (SDM Vol. 1, 5.5.2, 5.6.3, 5.8, 5.10.2 to 5.10.13 and 5.13).
 */
import { SIMD as S } from "../../../wasm/simd.ts";
import type { Emitter } from "../../emitter.ts";
import type { Definition } from "../definition.ts";
import type { Row } from "./named.ts";
import { source, sources, writeHalves } from "./operands.ts";

/** Both sources pushed, then opcodes without immediates. */
export function binary(...opcodes: readonly number[]): Definition {
	return (e) =>
		writeHalves(e, sources(e), (a, b) => {
			e.code.get(a!);
			e.code.get(b!);
			for (const opcode of opcodes) e.code.simd(opcode);
		});
}

/** One source pushed, then an opcode. */
export function unary(opcode: number): Definition {
	return (e) =>
		writeHalves(e, [source(e, 1)], (a) => {
			e.code.get(a!);
			e.code.simd(opcode);
		});
}

/** What is pushed of each pair of halves. */
export function halfwise(push: (e: Emitter, a: number, b: number) => void): Definition {
	return (e) => writeHalves(e, sources(e), (a, b) => push(e, a!, b!));
}

/** PANDN, ANDNPS, ANDNPD: the second source without the first's bits. */
const andNot = halfwise((e, a, b) => {
	e.code.get(b);
	e.code.get(a);
	e.code.simd(S.v128Andnot);
});

/** Pushes the product of both sources' halves, widened by two opcodes, with words of each product picked. */
function pushWidenedProduct(
	e: Emitter,
	a: number,
	b: number,
	[low, high]: readonly [number, number],
	lanes: readonly number[],
): void {
	for (const opcode of [low, high]) {
		e.code.get(a);
		e.code.get(b);
		e.code.simd(opcode);
	}
	e.code.shuffle(lanes);
}

const UPPER_WORDS = [2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23, 26, 27, 30, 31];

/** PMULHW and PMULHUW: the upper halves of the products. */
function multiplyHigh(low: number, high: number): Definition {
	return halfwise((e, a, b) => pushWidenedProduct(e, a, b, [low, high], UPPER_WORDS));
}

/** PMULHRSW: Wasm's rounding product saturates -1 × -1, x86's wraps. */
const multiplyRounding = halfwise((e, a, b) => {
	const { code } = e;
	const least = 0x8000_8000_8000_8000n;
	code.get(a);
	code.get(b);
	code.simd(S.i16x8Q15mulrSatS);
	for (const factor of [a, b]) {
		code.get(factor);
		code.v128(least, least);
		code.simd(S.i16x8Eq);
	}
	code.simd(S.v128And);
	code.simd(S.v128Xor);
});

const EVEN_DOUBLEWORDS = [0, 1, 2, 3, 8, 9, 10, 11, 0, 1, 2, 3, 8, 9, 10, 11];

/** PMULUDQ and PMULDQ: products of the even doublewords. */
function multiplyEven(opcode: number): Definition {
	return halfwise((e, a, b) => {
		for (const factor of [a, b]) {
			e.code.get(factor);
			e.code.get(factor);
			e.code.shuffle(EVEN_DOUBLEWORDS);
		}
		e.code.simd(opcode);
	});
}

/** Pushes a vector shifted by constant counts: left, then right by an opcode. */
function pushShifted(e: Emitter, vector: number, shifts: readonly (readonly [number, number])[]): void {
	e.code.get(vector);
	for (const [opcode, count] of shifts) {
		e.code.i32(count);
		e.code.simd(opcode);
	}
}

/** PMADDUBSW: bytes of the first source are unsigned, those of the second signed; sums of pairs saturate. */
const multiplyAddBytes = halfwise((e, a, b) => {
	const { code } = e;
	// The even bytes, then the odd ones.
	const left = [S.i16x8Shl, 8] as const;
	for (const even of [true, false]) {
		pushShifted(e, a, even ? [left, [S.i16x8ShrU, 8]] : [[S.i16x8ShrU, 8]]);
		pushShifted(e, b, even ? [left, [S.i16x8ShrS, 8]] : [[S.i16x8ShrS, 8]]);
		code.simd(S.i16x8Mul);
	}
	code.simd(S.i16x8AddSatS);
});

/** PSADBW: the sum of absolute differences of eight bytes, twice. */
const sumOfDifferences = halfwise((e, a, b) => {
	const { code } = e;
	const sums = e.tempVector();
	code.get(a);
	code.get(b);
	code.simd(S.i8x16SubSatU);
	code.get(b);
	code.get(a);
	code.simd(S.i8x16SubSatU);
	code.simd(S.v128Or);
	code.simd(S.i16x8ExtaddPairwiseI8x16U);
	code.simd(S.i32x4ExtaddPairwiseI16x8U);
	code.tee(sums);
	pushShifted(e, sums, [[S.i64x2ShrU, 32]]);
	code.simd(S.i32x4Add);
	code.v128(0xffff_ffffn, 0xffff_ffffn);
	code.simd(S.v128And);
});

/** PSIGNB, PSIGNW and PSIGND: the first source with the second's sign, 0 where that is 0. */
function sign(negate: number, shift: number, count: number): Definition {
	return halfwise((e, a, b) => {
		const { code } = e;
		const mask = e.tempVector();
		pushShifted(e, b, [[shift, count]]);
		code.set(mask);
		code.get(a);
		code.simd(negate);
		code.get(a);
		code.get(mask);
		code.simd(S.v128Bitselect);
		code.get(b);
		code.v128(0n, 0n);
		code.simd(count === 7 ? S.i8x16Eq : count === 15 ? S.i16x8Eq : S.i32x4Eq);
		code.simd(S.v128Andnot);
	});
}

const pick = (bytes: number, odd: boolean) =>
	Array.from({ length: 16 }, (_, at) => {
		const lane = Math.floor(at / bytes) * 2 + (odd ? 1 : 0);
		return lane * bytes + (at % bytes);
	});

/** Pushes neighbours within each of two vectors combined. @param bytes of a lane */
export function pushHorizontal(e: Emitter, a: number, b: number, bytes: number, opcode: number): void {
	for (const odd of [false, true]) {
		e.code.get(a);
		e.code.get(b);
		e.code.shuffle(pick(bytes, odd));
	}
	e.code.simd(opcode);
}

/** PHADDW and its like. @param bytes of a lane */
export function horizontal(bytes: number, opcode: number): Definition {
	return halfwise((e, a, b) => pushHorizontal(e, a, b, bytes, opcode));
}

/** By name. */
// biome-ignore format: one row an instruction
export const PACKED_INTEGER: readonly Row[] = [
	["PAND", binary(S.v128And)],  ["ANDPS", binary(S.v128And)], ["ANDPD", binary(S.v128And)],
	["POR", binary(S.v128Or)],    ["ORPS", binary(S.v128Or)],   ["ORPD", binary(S.v128Or)],
	["PXOR", binary(S.v128Xor)],  ["XORPS", binary(S.v128Xor)], ["XORPD", binary(S.v128Xor)],
	["PANDN", andNot],            ["ANDNPS", andNot],           ["ANDNPD", andNot],

	["PADDB", binary(S.i8x16Add)],        ["PSUBB", binary(S.i8x16Sub)],
	["PADDW", binary(S.i16x8Add)],        ["PSUBW", binary(S.i16x8Sub)],
	["PADDD", binary(S.i32x4Add)],        ["PSUBD", binary(S.i32x4Sub)],
	["PADDQ", binary(S.i64x2Add)],        ["PSUBQ", binary(S.i64x2Sub)],
	["PADDSB", binary(S.i8x16AddSatS)],   ["PSUBSB", binary(S.i8x16SubSatS)],
	["PADDSW", binary(S.i16x8AddSatS)],   ["PSUBSW", binary(S.i16x8SubSatS)],
	["PADDUSB", binary(S.i8x16AddSatU)],  ["PSUBUSB", binary(S.i8x16SubSatU)],
	["PADDUSW", binary(S.i16x8AddSatU)],  ["PSUBUSW", binary(S.i16x8SubSatU)],
	["PAVGB", binary(S.i8x16AvgrU)],      ["PAVGW", binary(S.i16x8AvgrU)],

	["PMINUB", binary(S.i8x16MinU)],      ["PMAXUB", binary(S.i8x16MaxU)],
	["PMINSB", binary(S.i8x16MinS)],      ["PMAXSB", binary(S.i8x16MaxS)],
	["PMINUW", binary(S.i16x8MinU)],      ["PMAXUW", binary(S.i16x8MaxU)],
	["PMINSW", binary(S.i16x8MinS)],      ["PMAXSW", binary(S.i16x8MaxS)],
	["PMINUD", binary(S.i32x4MinU)],      ["PMAXUD", binary(S.i32x4MaxU)],
	["PMINSD", binary(S.i32x4MinS)],      ["PMAXSD", binary(S.i32x4MaxS)],

	["PCMPEQB", binary(S.i8x16Eq)],       ["PCMPGTB", binary(S.i8x16GtS)],
	["PCMPEQW", binary(S.i16x8Eq)],       ["PCMPGTW", binary(S.i16x8GtS)],
	["PCMPEQD", binary(S.i32x4Eq)],       ["PCMPGTD", binary(S.i32x4GtS)],
	["PCMPEQQ", binary(S.i64x2Eq)],       ["PCMPGTQ", binary(S.i64x2GtS)],

	["PMULLW", binary(S.i16x8Mul)],       ["PMULLD", binary(S.i32x4Mul)],
	["PMULHW", multiplyHigh(S.i32x4ExtmulLowI16x8S, S.i32x4ExtmulHighI16x8S)],
	["PMULHUW", multiplyHigh(S.i32x4ExtmulLowI16x8U, S.i32x4ExtmulHighI16x8U)],
	["PMULHRSW", multiplyRounding],
	["PMULUDQ", multiplyEven(S.i64x2ExtmulLowI32x4U)],
	["PMULDQ", multiplyEven(S.i64x2ExtmulLowI32x4S)],
	["PMADDWD", binary(S.i32x4DotI16x8S)],
	["PMADDUBSW", multiplyAddBytes],
	["PSADBW", sumOfDifferences],

	["PABSB", unary(S.i8x16Abs)], ["PABSW", unary(S.i16x8Abs)], ["PABSD", unary(S.i32x4Abs)],
	["PSIGNB", sign(S.i8x16Neg, S.i8x16ShrS, 7)],
	["PSIGNW", sign(S.i16x8Neg, S.i16x8ShrS, 15)],
	["PSIGND", sign(S.i32x4Neg, S.i32x4ShrS, 31)],

	["PHADDW", horizontal(2, S.i16x8Add)],  ["PHSUBW", horizontal(2, S.i16x8Sub)],
	["PHADDD", horizontal(4, S.i32x4Add)],  ["PHSUBD", horizontal(4, S.i32x4Sub)],
	["PHADDSW", horizontal(2, S.i16x8AddSatS)], ["PHSUBSW", horizontal(2, S.i16x8SubSatS)],
];
