/**
 * How floating-point instructions get x86's results, flags and NaNs out of Wasm's operations, which have none of the
 * flags and NaNs of their own.
 *
 * The Wasm operation is done at once. Where MXCSR rounds to nearest with everything masked, without DAZ and FTZ, and
 * with PE set already (then inexact tells nothing new), and operands and result are ordinary, that is all. Ordinary
 * means: no operand is a NaN or a denormal, and no result is infinite, tiny or a NaN. Anything else is computed anew by
 * the operations of simd/float.ts, bit for bit.
 */
import * as L from "../../../cpu/layout.ts";
import { OPCODE as O, TYPE } from "../../../wasm/builder.ts";
import { SIMD as S } from "../../../wasm/simd.ts";
import type { Emitter } from "../../emitter.ts";
import { halves, type Vector } from "../../vector-memory.ts";
import { callOperation, OFFSETS } from "./operations.ts";

/** Lanes of single or of double precision. */
export interface Lanes {
	readonly bytes: 4 | 8;
	/** Opcodes on packed lanes, as integers. */
	readonly add: number;
	readonly lessThan: number;
	readonly greaterThan: number;
	readonly lessOrEqual: number;
	/** As floating-point numbers. */
	readonly equal: number;
	readonly splat: number;
	readonly extract: number;
	readonly replace: number;
	readonly promote: number;
	/** Bits of +∞, and of the smallest normal number. */
	readonly infinity: bigint;
	readonly smallest: bigint;
}

export const SINGLE: Lanes = {
	bytes: 4,
	add: S.i32x4Add,
	lessThan: S.i32x4LtS,
	greaterThan: S.i32x4GtS,
	lessOrEqual: S.i32x4LeS,
	equal: S.f32x4Eq,
	splat: S.f32x4Splat,
	extract: S.f32x4ExtractLane,
	replace: S.f32x4ReplaceLane,
	promote: O.f32ReinterpretI32,
	infinity: 0x7f800000n,
	smallest: 0x800000n,
};
export const DOUBLE: Lanes = {
	bytes: 8,
	add: S.i64x2Add,
	lessThan: S.i64x2LtS,
	greaterThan: S.i64x2GtS,
	lessOrEqual: S.i64x2LeS,
	equal: S.f64x2Eq,
	splat: S.f64x2Splat,
	extract: S.f64x2ExtractLane,
	replace: S.f64x2ReplaceLane,
	promote: O.f64ReinterpretI64,
	infinity: 0x7ff0000000000000n,
	smallest: 0x10000000000000n,
};

/** Pushes a vector constant with the same number in all lanes. */
function pushSame(e: Emitter, lanes: Lanes, value: bigint): void {
	const lane = BigInt.asUintN(lanes.bytes * 8, value);
	const half = lanes.bytes === 8 ? lane : (lane << 32n) | lane;
	e.code.v128(half, half);
}

const mostPositive = (lanes: Lanes) => (1n << BigInt(lanes.bytes * 8 - 1)) - 1n;

/** Pushes a vector's lanes without their signs. */
function pushMagnitudes(e: Emitter, lanes: Lanes, vector: number): void {
	e.code.get(vector);
	pushSame(e, lanes, mostPositive(lanes));
	e.code.simd(S.v128And);
}

/** Pushes a mask of the lanes that are denormals. */
export function pushDenormal(e: Emitter, lanes: Lanes, vector: number): void {
	// Shifted so that 0 is the largest signed number and denormals are the smallest ones.
	pushMagnitudes(e, lanes, vector);
	pushSame(e, lanes, mostPositive(lanes));
	e.code.simd(lanes.add);
	pushSame(e, lanes, mostPositive(lanes) + lanes.smallest);
	e.code.simd(lanes.lessThan);
}

/** Pushes a mask of the lanes that are NaNs. */
export function pushNaN(e: Emitter, lanes: Lanes, vector: number): void {
	pushMagnitudes(e, lanes, vector);
	pushSame(e, lanes, lanes.infinity);
	e.code.simd(lanes.greaterThan);
}

/** Pushes a mask of the lanes that are infinite or NaNs. */
export function pushNotFinite(e: Emitter, lanes: Lanes, vector: number): void {
	pushMagnitudes(e, lanes, vector);
	pushSame(e, lanes, lanes.infinity - 1n);
	e.code.simd(lanes.greaterThan);
}

/**
 * Pushes a mask of the lanes of a result that are not in the normal range, or at its lower end, where x86 may have
 * found the exact result tiny. A 0 is exact where one of `zeros`, operands, is 0.
 */
export function pushOutOfRange(e: Emitter, lanes: Lanes, result: number, zeros: readonly number[]): void {
	const { code } = e;
	pushNotFinite(e, lanes, result);
	pushMagnitudes(e, lanes, result);
	pushSame(e, lanes, lanes.smallest);
	code.simd(lanes.lessOrEqual);
	// That a lane is 0 and may be.
	for (const [at, zero] of zeros.entries()) {
		code.get(zero);
		code.v128(0n, 0n);
		code.simd(lanes.equal);
		if (at > 0) code.simd(S.v128Or);
	}
	code.get(result);
	code.v128(0n, 0n);
	code.simd(lanes.equal);
	code.simd(S.v128And);
	code.simd(S.v128Andnot);
	code.simd(S.v128Or);
}

/** MXCSR with everything masked, rounding to nearest, PE set, DAZ and FTZ clear; other flags do not count. */
const FAST_MXCSR = 0x1fa0;
const FAST_MXCSR_MASK = 0xffe0;

/** Pushes whether MXCSR allows the fast way: 0 or 1. */
export function pushFastMxcsr(e: Emitter): void {
	const { code } = e;
	code.get(0);
	code.access(O.i32Load, L.MXCSR);
	code.i32(FAST_MXCSR_MASK);
	code.op(O.i32And);
	code.i32(FAST_MXCSR);
	code.op(O.i32Eq);
}

/** Pushes whether no lane is set in any of the masks that are pushed for each half. */
export function pushNone(e: Emitter, count: number, pushMask: (half: number) => void): void {
	for (let half = 0; half < count; half++) {
		pushMask(half);
		if (half > 0) e.code.simd(S.v128Or);
	}
	e.code.simd(S.v128AnyTrue);
	e.code.op(O.i32Eqz);
}

// ---- scalars ---------------------------------------------------------------------------------------

/** An f32 or f64 local, free until the next instruction. */
export function tempFloat(e: Emitter, lanes: Lanes): number {
	return e.temporary(lanes.bytes === 8 ? TYPE.f64 : TYPE.f32);
}

/** Pushes an integer constant of a lane's size. */
function constant(e: Emitter, lanes: Lanes, value: bigint): void {
	e.constant(lanes.bytes, BigInt.asIntN(lanes.bytes * 8, value));
}

/** Pushes a floating-point local as an integer, shifted left by one: without its sign. */
function pushDoubled(e: Emitter, lanes: Lanes, float: number): void {
	e.code.get(float);
	e.by(lanes.bytes, O.i64ReinterpretF64, O.i32ReinterpretF32);
	constant(e, lanes, 1n);
	e.by(lanes.bytes, O.i64Shl, O.i32Shl);
}

/** Pushes whether a scalar is no denormal. */
export function pushNotDenormal(e: Emitter, lanes: Lanes, float: number): void {
	// 0 less 1 is the largest unsigned number.
	pushDoubled(e, lanes, float);
	constant(e, lanes, 1n);
	e.by(lanes.bytes, O.i64Sub, O.i32Sub);
	constant(e, lanes, 2n * lanes.smallest - 1n);
	e.by(lanes.bytes, O.i64GeU, O.i32GeU);
}

/** Pushes whether a scalar is finite. */
export function pushFinite(e: Emitter, lanes: Lanes, float: number): void {
	pushDoubled(e, lanes, float);
	constant(e, lanes, 2n * lanes.infinity);
	e.by(lanes.bytes, O.i64LtU, O.i32LtU);
}

/** Pushes whether a scalar is no NaN. */
export function pushNumber(e: Emitter, lanes: Lanes, float: number): void {
	e.code.get(float);
	e.code.get(float);
	e.by(lanes.bytes, O.f64Eq, O.f32Eq);
}

/** Pushes whether a scalar is above the smallest normal number and finite. */
export function pushInRange(e: Emitter, lanes: Lanes, float: number): void {
	const from = 2n * lanes.smallest + 2n;
	pushDoubled(e, lanes, float);
	constant(e, lanes, from);
	e.by(lanes.bytes, O.i64Sub, O.i32Sub);
	constant(e, lanes, 2n * lanes.infinity - from);
	e.by(lanes.bytes, O.i64LtU, O.i32LtU);
}

/** Pushes whether a scalar is 0. */
export function pushZero(e: Emitter, lanes: Lanes, float: number): void {
	pushDoubled(e, lanes, float);
	e.by(lanes.bytes, O.i64Eqz, O.i32Eqz);
}

/** Pushes the lowest lane of a vector as a floating-point number. */
export function pushLowest(e: Emitter, lanes: Lanes, vector: number): void {
	e.code.get(vector);
	e.code.simdLane(lanes.extract, 0);
}

/** Puts scalars into the state block. */
function passScalars(e: Emitter, lanes: Lanes, floats: readonly number[]): void {
	for (const [at, float] of floats.entries()) {
		e.code.get(0);
		e.code.get(float);
		e.code.access(lanes.bytes === 8 ? O.f64Store : O.f32Store, OFFSETS[at]!);
	}
}

/** Calls an operation of simd/ on scalars. Leaves if it notes a fault. */
export function callScalarOperation(
	e: Emitter,
	lanes: Lanes,
	name: string,
	floats: readonly number[],
	immediate: number,
): void {
	passScalars(e, lanes, floats);
	callOperation(e, name, [], immediate);
}

/** If the i32 on the stack is 0: computes a scalar result anew. */
export function elseExactlyScalar(
	e: Emitter,
	lanes: Lanes,
	name: string,
	floats: readonly number[],
	immediate: number,
	result: number,
): void {
	e.code.op(O.i32Eqz);
	e.code.if();
	callScalarOperation(e, lanes, name, floats, immediate);
	e.code.get(0);
	e.code.access(lanes.bytes === 8 ? O.f64Load : O.f32Load, L.VECTOR_RESULT);
	e.code.set(result);
	e.code.end();
}

/** Number of lanes in a vector. */
export function lanesIn(vector: Vector, bytes: number): number {
	return (halves(vector).length * 16) / bytes;
}
