/** Unpacking, packing, shuffling and blending within 128 bits (SDM Vol. 1, 5.5.1.4, 5.6.1.4, 5.6.3, 5.8.8, 5.10.5 and 5.10.6). */
import { OPCODE as O } from "../../../wasm/builder.ts";
import { SIMD as S } from "../../../wasm/simd.ts";
import type { Emitter } from "../../emitter.ts";
import type { Vector } from "../../vector-memory.ts";
import type { Definition } from "../definition.ts";
import { immediateOf } from "./moves.ts";
import type { Row } from "./named.ts";
import { binary, halfwise } from "./packed-integer.ts";
import {
	hasVex,
	isMemory,
	registerVector,
	source,
	sources,
	vectorBytes,
	vectorIndex,
	writeHalves,
	writeLow,
	zeroExtendScalar,
} from "./operands.ts";

/** Byte lanes from lanes of a size. */
export function byteLanes(bytes: number, lanes: readonly number[]): number[] {
	return lanes.flatMap((lane) => Array.from({ length: bytes }, (_, at) => lane * bytes + at));
}

/** Pushes bytes picked from two vectors. */
function pushShuffled(e: Emitter, a: number, b: number, lanes: readonly number[]): void {
	e.code.get(a);
	e.code.get(b);
	e.code.shuffle(lanes);
}

/** A shuffle of both sources that no immediate controls. */
function fixed(lanes: readonly number[]): Definition {
	return halfwise((e, a, b) => pushShuffled(e, a, b, lanes));
}

/** PUNPCKL and PUNPCKH: lanes of both sources in turn. @param bytes of a lane */
function unpack(bytes: number, high: boolean): Definition {
	const count = 16 / bytes;
	const first = high ? count / 2 : 0;
	const lanes = Array.from({ length: count }, (_, at) => first + (at >> 1) + (at % 2 === 0 ? 0 : count));
	return fixed(byteLanes(bytes, lanes));
}

/** A shuffle of one source that an immediate controls, the same in both halves. */
function byImmediate(bytes: number, lanesOf: (immediate: number) => readonly number[]): Definition {
	return (e) => {
		const lanes = byteLanes(bytes, lanesOf(immediateOf(e)));
		writeHalves(e, [source(e, 1)], (half) => pushShuffled(e, half!, half!, lanes));
	};
}

const fields = (immediate: number) => [0, 2, 4, 6].map((shift) => (immediate >> shift) & 3);

/** SHUFPS and SHUFPD; the immediate's bits beyond those of one half are the other half's. */
function shuffleFloats(bytes: 4 | 8): Definition {
	return (e) => {
		const immediate = immediateOf(e);
		let half = 0;
		writeHalves(e, sources(e), (a, b) => {
			const [p, q, r, s] = fields(immediate);
			const bit = (at: number) => (immediate >> (half * 2 + at)) & 1;
			const lanes = bytes === 4 ? [p!, q!, r! + 4, s! + 4] : [bit(0), bit(1) + 2];
			pushShuffled(e, a!, b!, byteLanes(bytes, lanes));
			half++;
		});
	};
}

/** PSHUFB: an index with bit 7 set gives 0; bits 6:4 do not count. */
const shuffleBytes = halfwise((e, a, b) => {
	const { code } = e;
	code.get(a);
	code.get(b);
	code.v128(0x8f8f_8f8f_8f8f_8f8fn, 0x8f8f_8f8f_8f8f_8f8fn);
	code.simd(S.v128And);
	code.simd(S.i8x16Swizzle);
});

/** PALIGNR: 16 bytes from within the first source above the second. */
function alignRight(e: Emitter): void {
	const { code } = e;
	const count = immediateOf(e);
	writeHalves(e, sources(e), (a, b) => {
		const [low, high] = count < 16 ? [b!, a!] : [a!, -1];
		const from = count < 16 ? count : count - 16;
		if (from >= 16) {
			code.v128(0n, 0n);
			return;
		}
		code.get(low);
		if (high < 0) code.v128(0n, 0n);
		else code.get(high);
		code.shuffle(Array.from({ length: 16 }, (_, at) => from + at));
	});
}

/** PBLENDW, BLENDPS, BLENDPD, VPBLENDD: a bit of the immediate a lane. @param repeats in each half, else it goes on */
function blend(bytes: number, repeats: boolean): Definition {
	return (e) => {
		const immediate = immediateOf(e);
		const count = 16 / bytes;
		let first = 0;
		writeHalves(e, sources(e), (a, b) => {
			const lanes = Array.from({ length: count }, (_, at) =>
				((immediate >> (first + at)) & 1) !== 0 ? count + at : at,
			);
			pushShuffled(e, a!, b!, byteLanes(bytes, lanes));
			if (!repeats) first += count;
		});
	};
}

/** PBLENDVB, BLENDVPS, BLENDVPD: the signs of a third vector, XMM0 or with VEX operand 3. */
function blendBySigns(shift: number, count: number): Definition {
	return (e) => {
		const { code } = e;
		const bytes = vectorBytes(e, 0);
		const signs: Vector = hasVex(e) ? source(e, 3) : registerVector(e, 0, bytes);
		writeHalves(e, [...sources(e), signs], (a, b, mask) => {
			code.get(b!);
			code.get(a!);
			code.get(mask!);
			code.i32(count);
			code.simd(shift);
			code.simd(S.v128Bitselect);
		});
	};
}

/** PMOVSX and PMOVZX: lanes of `from` bytes, as many as the destination takes, to lanes of `to` bytes. */
function extend(from: number, to: number, opcodes: readonly number[]): Definition {
	return (e) => {
		const { code } = e;
		const part = (16 / to) * from;
		const wanted = e.bytes(0) === 32 ? 2 * part : part;
		let vector: number;
		if (!isMemory(e, 1)) vector = e.xmmLocal(vectorIndex(e, 1));
		else if (wanted === 16) vector = source(e, 1).low;
		else {
			vector = e.tempVector();
			e.read(1);
			zeroExtendScalar(e, wanted === 8 ? 8 : 4);
			code.set(vector);
		}
		// The second half's lanes begin in the middle of those that are wanted. They are kept, as the destination may be
		// the source.
		const kept = e.tempVector();
		code.get(vector);
		code.set(kept);
		let first = 0;
		writeHalves(e, [{ low: kept, high: kept }], (half) => {
			code.get(half!);
			if (first > 0) {
				code.get(half!);
				code.shuffle(Array.from({ length: 16 }, (_, at) => (at + first) & 15));
			}
			for (const opcode of opcodes) code.simd(opcode);
			first = part;
		});
	};
}

/** PINSRB, PINSRW, PINSRD and PINSRQ. @param bytes of a lane */
function insert(bytes: number, opcode: number): Definition {
	return (e) => {
		const { code } = e;
		const last = e.insn.operands.length - 1;
		const value = e.temp(bytes === 8 ? 8 : 4);
		e.read(last - 1);
		if (e.bytes(last - 1) === 8 && bytes !== 8) code.op(O.i32WrapI64);
		code.set(value);
		code.get(e.xmmLocal(vectorIndex(e, hasVex(e) ? 1 : 0)));
		code.get(value);
		code.simdLane(opcode, immediateOf(e) & (16 / bytes - 1));
		writeLow(e);
	};
}

/** PEXTRB, PEXTRW, PEXTRD, PEXTRQ and EXTRACTPS, zero-extended into a register. */
function extract(bytes: number, opcode: number): Definition {
	return (e) => {
		e.code.get(e.xmmLocal(vectorIndex(e, 1)));
		e.code.simdLane(opcode, immediateOf(e) & (16 / bytes - 1));
		if (e.bytes(0) === 8 && bytes !== 8) e.widen(4);
		e.write(0);
	};
}

/** INSERTPS: a lane of the second source into one of the first, and lanes cleared. */
function insertFloat(e: Emitter): void {
	const { code } = e;
	const immediate = immediateOf(e);
	const [first, second] = hasVex(e) ? [1, 2] : [0, 1];
	const value = e.temp32();
	if (isMemory(e, second)) e.read(second);
	else {
		code.get(e.xmmLocal(vectorIndex(e, second)));
		code.simdLane(S.i32x4ExtractLane, immediate >> 6);
	}
	code.set(value);
	code.get(e.xmmLocal(vectorIndex(e, first)));
	code.get(value);
	code.simdLane(S.i32x4ReplaceLane, (immediate >> 4) & 3);
	const cleared = immediate & 15;
	if (cleared !== 0) {
		code.v128(0n, 0n);
		const lanes = [0, 1, 2, 3].map((at) => ((cleared >> at) & 1) * 4 + at);
		code.shuffle(byteLanes(4, lanes));
	}
	writeLow(e);
}

/** By name. */
// biome-ignore format: one row an instruction
export const SHUFFLE: readonly Row[] = [
	["PUNPCKLBW", unpack(1, false)],  ["PUNPCKHBW", unpack(1, true)],
	["PUNPCKLWD", unpack(2, false)],  ["PUNPCKHWD", unpack(2, true)],
	["PUNPCKLDQ", unpack(4, false)],  ["PUNPCKHDQ", unpack(4, true)],
	["PUNPCKLQDQ", unpack(8, false)], ["PUNPCKHQDQ", unpack(8, true)],
	["UNPCKLPS", unpack(4, false)],   ["UNPCKHPS", unpack(4, true)],
	["UNPCKLPD", unpack(8, false)],   ["UNPCKHPD", unpack(8, true)],
	["PACKSSWB", binary(S.i8x16NarrowI16x8S)], ["PACKUSWB", binary(S.i8x16NarrowI16x8U)],
	["PACKSSDW", binary(S.i16x8NarrowI32x4S)], ["PACKUSDW", binary(S.i16x8NarrowI32x4U)],
	["PSHUFD", byImmediate(4, fields)],
	["PSHUFLW", byImmediate(2, (immediate) => [...fields(immediate), 4, 5, 6, 7])],
	["PSHUFHW", byImmediate(2, (immediate) => [0, 1, 2, 3, ...fields(immediate).map((lane) => lane + 4)])],
	["SHUFPS", shuffleFloats(4)],     ["SHUFPD", shuffleFloats(8)],
	["PSHUFB", shuffleBytes],
	["PALIGNR", alignRight],
	["PBLENDW", blend(2, true)],      ["PBLENDD", blend(4, false)],
	["BLENDPS", blend(4, false)],     ["BLENDPD", blend(8, false)],
	["PBLENDVB", blendBySigns(S.i8x16ShrS, 7)],
	["BLENDVPS", blendBySigns(S.i32x4ShrS, 31)],
	["BLENDVPD", blendBySigns(S.i64x2ShrS, 63)],
	["PMOVSXBW", extend(1, 2, [S.i16x8ExtendLowI8x16S])],
	["PMOVSXBD", extend(1, 4, [S.i16x8ExtendLowI8x16S, S.i32x4ExtendLowI16x8S])],
	["PMOVSXBQ", extend(1, 8, [S.i16x8ExtendLowI8x16S, S.i32x4ExtendLowI16x8S, S.i64x2ExtendLowI32x4S])],
	["PMOVSXWD", extend(2, 4, [S.i32x4ExtendLowI16x8S])],
	["PMOVSXWQ", extend(2, 8, [S.i32x4ExtendLowI16x8S, S.i64x2ExtendLowI32x4S])],
	["PMOVSXDQ", extend(4, 8, [S.i64x2ExtendLowI32x4S])],
	["PMOVZXBW", extend(1, 2, [S.i16x8ExtendLowI8x16U])],
	["PMOVZXBD", extend(1, 4, [S.i16x8ExtendLowI8x16U, S.i32x4ExtendLowI16x8U])],
	["PMOVZXBQ", extend(1, 8, [S.i16x8ExtendLowI8x16U, S.i32x4ExtendLowI16x8U, S.i64x2ExtendLowI32x4U])],
	["PMOVZXWD", extend(2, 4, [S.i32x4ExtendLowI16x8U])],
	["PMOVZXWQ", extend(2, 8, [S.i32x4ExtendLowI16x8U, S.i64x2ExtendLowI32x4U])],
	["PMOVZXDQ", extend(4, 8, [S.i64x2ExtendLowI32x4U])],
	["PINSRB", insert(1, S.i8x16ReplaceLane)],  ["PEXTRB", extract(1, S.i8x16ExtractLaneU)],
	["PINSRW", insert(2, S.i16x8ReplaceLane)],  ["PEXTRW", extract(2, S.i16x8ExtractLaneU)],
	["PINSRD", insert(4, S.i32x4ReplaceLane)],  ["PEXTRD", extract(4, S.i32x4ExtractLane)],
	["PINSRQ", insert(8, S.i64x2ReplaceLane)],  ["PEXTRQ", extract(8, S.i64x2ExtractLane)],
	["EXTRACTPS", extract(4, S.i32x4ExtractLane)],
	["INSERTPS", insertFloat],
];
