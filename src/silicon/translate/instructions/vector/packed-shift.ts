/** Shifts of packed integers and of whole vectors (SDM Vol. 1, 5.6.3, 5.8.7 and 5.14.2). */
import { OPCODE as O, TYPE } from "../../../wasm/builder.ts";
import { SIMD as S } from "../../../wasm/simd.ts";
import type { Emitter } from "../../emitter.ts";
import type { Definition } from "../definition.ts";
import { immediateOf } from "./moves.ts";
import type { Row } from "./named.ts";
import { hasVex, source, sources, writeHalves } from "./operands.ts";

/** A shift of lanes: its Wasm opcode, their bits, and whether it fills with the sign. */
interface Shift {
	readonly opcode: number;
	readonly bits: number;
	readonly arithmetic: boolean;
}

/** The vector that is shifted: the destination, or with VEX the first source. */
function shifted(e: Emitter) {
	return source(e, hasVex(e) ? 1 : 0);
}

/** By an immediate: one past the lane's bits gives zeros or signs. */
function byImmediate(e: Emitter, shift: Shift): void {
	const { code } = e;
	const count = immediateOf(e);
	writeHalves(e, [shifted(e)], (half) => {
		if (count >= shift.bits && !shift.arithmetic) {
			code.v128(0n, 0n);
			return;
		}
		code.get(half!);
		code.i32(Math.min(count, shift.bits - 1));
		code.simd(shift.opcode);
	});
}

/** By the low 64 bits of an XMM register or 16 bytes of memory. */
function byVector(e: Emitter, shift: Shift): void {
	const { code } = e;
	const counts = source(e, e.insn.operands.length - 1);
	const count = e.temp32();
	const wide = e.temp64();
	const inRange = e.temp32();
	code.get(counts.low);
	code.simdLane(S.i64x2ExtractLane, 0);
	code.tee(wide);
	code.i64(shift.bits);
	code.op(O.i64LtU);
	code.tee(inRange);
	code.if(TYPE.i32);
	code.get(wide);
	code.op(O.i32WrapI64);
	code.else();
	code.i32(shift.bits - 1);
	code.end();
	code.set(count);
	writeHalves(e, [shifted(e)], (half) => {
		code.get(half!);
		code.get(count);
		code.simd(shift.opcode);
		if (shift.arithmetic) return;
		code.v128(0n, 0n);
		code.get(inRange);
		code.op(O.select);
	});
}

/** PSLLW and its like, in both forms. */
function shift(opcode: number, bits: number, arithmetic = false): Definition {
	const form = { opcode, bits, arithmetic };
	return (e) => {
		if (e.operand(e.insn.operands.length - 1).kind === "immediate") byImmediate(e, form);
		else byVector(e, form);
	};
}

/** PSLLDQ and PSRLDQ: bytes of each half, with zeros behind them. */
function shiftBytes(left: boolean): Definition {
	return (e) => {
		const { code } = e;
		const count = Math.min(immediateOf(e), 16);
		const lanes = Array.from({ length: 16 }, (_, at) => {
			const from = left ? at - count : at + count;
			return from >= 0 && from < 16 ? from : 16;
		});
		writeHalves(e, [shifted(e)], (half) => {
			code.get(half!);
			code.v128(0n, 0n);
			code.shuffle(lanes);
		});
	};
}

/** Pushes a lane of `bytes` bytes as i32 or i64. */
function pushLane(e: Emitter, vector: number, bytes: number, lane: number): void {
	e.code.get(vector);
	e.code.simdLane(bytes === 8 ? S.i64x2ExtractLane : S.i32x4ExtractLane, lane);
}

/** VPSLLVD and its like: each lane by its own count. */
function byLanes(bytes: 4 | 8, wide: number, narrow: number, arithmetic = false): Definition {
	return (e) => {
		const { code } = e;
		const bits = bytes * 8;
		writeHalves(e, sources(e), (a, counts) => {
			const count = e.temp(bytes);
			code.get(a!);
			for (let lane = 0; lane < 16 / bytes; lane++) {
				pushLane(e, a!, bytes, lane);
				pushLane(e, counts!, bytes, lane);
				code.tee(count);
				e.by(bytes, wide, narrow);
				// Beyond the lane: what a shift by all its bits leaves.
				if (arithmetic) {
					pushLane(e, a!, bytes, lane);
					e.constant(bytes, bits - 1);
					e.by(bytes, wide, narrow);
				} else e.constant(bytes, 0);
				code.get(count);
				e.constant(bytes, bits);
				e.by(bytes, O.i64LtU, O.i32LtU);
				code.op(O.select);
				code.simdLane(bytes === 8 ? S.i64x2ReplaceLane : S.i32x4ReplaceLane, lane);
			}
		});
	};
}

/** By name. */
// biome-ignore format: one row an instruction
export const PACKED_SHIFT: readonly Row[] = [
	["PSLLW", shift(S.i16x8Shl, 16)],  ["PSLLD", shift(S.i32x4Shl, 32)],  ["PSLLQ", shift(S.i64x2Shl, 64)],
	["PSRLW", shift(S.i16x8ShrU, 16)], ["PSRLD", shift(S.i32x4ShrU, 32)], ["PSRLQ", shift(S.i64x2ShrU, 64)],
	["PSRAW", shift(S.i16x8ShrS, 16, true)], ["PSRAD", shift(S.i32x4ShrS, 32, true)],
	["PSLLDQ", shiftBytes(true)], ["PSRLDQ", shiftBytes(false)],
	["PSLLVD", byLanes(4, O.i64Shl, O.i32Shl)],   ["PSLLVQ", byLanes(8, O.i64Shl, O.i32Shl)],
	["PSRLVD", byLanes(4, O.i64ShrU, O.i32ShrU)], ["PSRLVQ", byLanes(8, O.i64ShrU, O.i32ShrU)],
	["PSRAVD", byLanes(4, O.i64ShrS, O.i32ShrS, true)],
];
