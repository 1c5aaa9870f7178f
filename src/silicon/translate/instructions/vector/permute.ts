/** What AVX and AVX2 add: permutes, broadcasts, and moves across 128-bit lanes (SDM Vol. 1, 5.13 and 5.14). */
import { CC } from "../../../cpu/rflags.ts";
import { OPCODE as O } from "../../../wasm/builder.ts";
import { SIMD as S } from "../../../wasm/simd.ts";
import type { Emitter } from "../../emitter.ts";
import { flagsMatter } from "../../flags.ts";
import { halves } from "../../vector-memory.ts";
import type { Definition } from "../definition.ts";
import { immediateOf } from "./moves.ts";
import type { Row } from "./named.ts";
import { isMemory, source, sources, vectorIndex, writeHalves, writeRegister } from "./operands.ts";
import { byteLanes } from "./shuffle.ts";

/** Copies of vectors' halves, so that the destination may be written while they are read. */
function copies(e: Emitter, locals: readonly number[]): number[] {
	return locals.map((local) => {
		const copy = e.tempVector();
		e.code.get(local);
		e.code.set(copy);
		return copy;
	});
}

/** VPERM2F128 and VPERM2I128: each half is one of four, or 0. */
function permuteHalves(e: Emitter): void {
	const immediate = immediateOf(e);
	const [a, b] = sources(e);
	const from = copies(e, [a.low, a.high, b.low, b.high]);
	let control = immediate;
	writeHalves(e, [a], () => {
		if ((control & 8) !== 0) e.code.v128(0n, 0n);
		else e.code.get(from[control & 3]!);
		control >>= 4;
	});
}

/** VPERMQ and VPERMPD by an immediate: each quadword is one of four. */
function permuteQuadwords(e: Emitter): void {
	const immediate = immediateOf(e);
	const vector = source(e, 1);
	const [low, high] = copies(e, [vector.low, vector.high]);
	let control = immediate;
	writeHalves(e, [vector], () => {
		e.code.get(low!);
		e.code.get(high!);
		e.code.shuffle(byteLanes(8, [control & 3, (control >> 2) & 3]));
		control >>= 4;
	});
}

/** VPERMD and VPERMPS: each doubleword of the second source is picked by three bits of the first. */
function permuteDoublewords(e: Emitter): void {
	const { code } = e;
	const [indices, vector] = sources(e);
	const [low, high] = copies(e, [vector.low, vector.high]);
	const bytes = e.tempVector();
	writeHalves(e, [indices], (half) => {
		// An index i becomes the byte numbers 4i to 4i + 3; a swizzle gives 0 for those past its 16 bytes.
		code.get(half!);
		code.v128(0x7_0000_0007n, 0x7_0000_0007n);
		code.simd(S.v128And);
		code.v128(0x0404_0404_0404_0404n, 0x0404_0404_0404_0404n);
		code.simd(S.i32x4Mul);
		code.v128(0x0302_0100_0302_0100n, 0x0302_0100_0302_0100n);
		code.simd(S.i8x16Add);
		code.set(bytes);
		code.get(low!);
		code.get(bytes);
		code.simd(S.i8x16Swizzle);
		code.get(high!);
		code.get(bytes);
		code.v128(0x1010_1010_1010_1010n, 0x1010_1010_1010_1010n);
		code.simd(S.i8x16Sub);
		code.simd(S.i8x16Swizzle);
		code.simd(S.v128Or);
	});
}

/** VPERMILPS and VPERMILPD: within each half, by an immediate or by a vector. @param bytes of a lane */
function permuteInLane(bytes: 4 | 8): Definition {
	return (e) => {
		if (e.operand(2).kind === "immediate") {
			let control = immediateOf(e);
			writeHalves(e, [source(e, 1)], (half) => {
				const two = [0, 1].map((at) => (control >> at) & 1);
				const four = [0, 2, 4, 6].map((at) => (control >> at) & 3);
				e.code.get(half!);
				e.code.get(half!);
				e.code.shuffle(byteLanes(bytes, bytes === 8 ? two : four));
				if (bytes === 8) control >>= 2;
			});
			return;
		}
		writeHalves(e, sources(e), (a, control) => pushPermuted(e, bytes, a!, control!));
	};
}

/** Pushes lanes picked by bits 1:0 (of doublewords) or bit 1 (of quadwords) of a control vector. */
function pushPermuted(e: Emitter, bytes: 4 | 8, vector: number, control: number): void {
	const { code } = e;
	const single = bytes === 4;
	code.get(vector);
	code.get(control);
	if (!single) {
		code.i32(1);
		code.simd(S.i64x2ShrU);
	}
	const mask = single ? 0x3_0000_0003n : 1n;
	code.v128(mask, mask);
	code.simd(S.v128And);
	// The index into every byte of its lane, times the lane's bytes, plus each byte's place.
	code.v128(0n, 0n);
	code.shuffle(
		single ? byteLanes(1, [0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12]) : FIRST_OF_QUADWORD,
	);
	code.i32(single ? 2 : 3);
	code.simd(S.i8x16Shl);
	const places = single ? 0x0302_0100_0302_0100n : 0x0706_0504_0302_0100n;
	code.v128(places, places);
	code.simd(S.i8x16Add);
	code.simd(S.i8x16Swizzle);
}

const FIRST_OF_QUADWORD = [0, 0, 0, 0, 0, 0, 0, 0, 8, 8, 8, 8, 8, 8, 8, 8];

/** VBROADCASTSS and its like: the lowest lane of a register or memory in all lanes. */
function broadcast(splat: number, extract: number): Definition {
	return (e) => {
		if (isMemory(e, 1)) e.read(1);
		else {
			e.code.get(e.xmmLocal(vectorIndex(e, 1)));
			e.code.simdLane(extract, 0);
		}
		e.code.simd(splat);
		const vector = e.tempVector();
		e.code.set(vector);
		writeRegister(e, vectorIndex(e, 0), { low: vector, high: e.bytes(0) === 32 ? vector : -1 });
	};
}

/** Pushes whether no bit is set in vectors combined half by half by an opcode and masked. */
function pushNone(
	e: Emitter,
	pairs: readonly (readonly [number, number])[],
	opcode: number,
	mask: bigint,
): void {
	const { code } = e;
	for (const [at, [b, a]] of pairs.entries()) {
		code.get(b);
		code.get(a);
		code.simd(opcode);
		if (at > 0) code.simd(S.v128Or);
	}
	if (mask !== -1n) {
		code.v128(mask, mask);
		code.simd(S.v128And);
	}
	code.simd(S.v128AnyTrue);
	code.op(O.i32Eqz);
}

/** PTEST, VTESTPS, VTESTPD: ZF if both have no bit in common, CF if the second has none that the first lacks. */
function test(mask: bigint): Definition {
	return (e) => {
		const { code } = e;
		const [a, b] = [source(e, 0), source(e, 1)];
		if (!flagsMatter(e)) return;
		const first = halves(a);
		const pairs = halves(b).map((half, at) => [half, first[at]!] as const);
		pushNone(e, pairs, S.v128And, mask);
		code.i32(6);
		code.op(O.i32Shl);
		pushNone(e, pairs, S.v128Andnot, mask);
		code.op(O.i32Or);
		code.op(O.i64ExtendI32U);
		code.set(e.ccSrc);
		e.op = CC.flags;
	};
}

/** By name. */
// biome-ignore format: one row an instruction
export const PERMUTE: readonly Row[] = [
	["PERM2F128", permuteHalves],    ["PERM2I128", permuteHalves],
	["PERMQ", permuteQuadwords],     ["PERMPD", permuteQuadwords],
	["PERMD", permuteDoublewords],   ["PERMPS", permuteDoublewords],
	["PERMILPS", permuteInLane(4)],  ["PERMILPD", permuteInLane(8)],
	["PBROADCASTB", broadcast(S.i8x16Splat, S.i8x16ExtractLaneU)],
	["PBROADCASTW", broadcast(S.i16x8Splat, S.i16x8ExtractLaneU)],
	["PBROADCASTD", broadcast(S.i32x4Splat, S.i32x4ExtractLane)],
	["PBROADCASTQ", broadcast(S.i64x2Splat, S.i64x2ExtractLane)],
	["BROADCASTSS", broadcast(S.i32x4Splat, S.i32x4ExtractLane)],
	["BROADCASTSD", broadcast(S.i64x2Splat, S.i64x2ExtractLane)],
	["PTEST", test(-1n)],
	["TESTPS", test(0x8000_0000_8000_0000n)],
	["TESTPD", test(0x8000_0000_0000_0000n)],
];
