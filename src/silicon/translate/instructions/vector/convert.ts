/** Conversions between integers, single, double and half precision, and rounding (SDM Vol. 1, 5.5.1.5, 5.6.1.6, 5.10.4, 14.4). */
import * as L from "../../../cpu/layout.ts";
import { OPCODE as O } from "../../../wasm/builder.ts";
import { SATURATING, SIMD as S } from "../../../wasm/simd.ts";
import type { Emitter } from "../../emitter.ts";
import {
	halves,
	passVector,
	storeVector,
	takeVector,
	tempVectorOf,
	type Vector,
} from "../../vector-memory.ts";
import type { Definition } from "../definition.ts";
import {
	callScalarOperation,
	DOUBLE,
	elseExactlyScalar,
	type Lanes,
	lanesIn,
	pushDenormal,
	pushFastMxcsr,
	pushInRange,
	pushNaN,
	pushNone,
	pushNotDenormal,
	pushNumber,
	pushZero,
	SINGLE,
	tempFloat,
} from "./float-lanes.ts";
import { immediateOf } from "./moves.ts";
import { callOperation, elseExactly } from "./operations.ts";
import type { Row } from "./named.ts";
import { scalarSource, upperIndex, writeScalar } from "./packed-float.ts";
import {
	hasVex,
	isMemory,
	source,
	vectorBytes,
	vectorIndex,
	writeLow,
	writeRegister,
	zeroExtendScalar,
} from "./operands.ts";

// ---- scalars between integers and floating point -----------------------------------------------------

/** CVTSI2SS and CVTSI2SD. */
function fromInteger(lanes: Lanes, name: string): Definition {
	return (e) => {
		const { code } = e;
		const at = hasVex(e) ? 2 : 1;
		const bytes = e.bytes(at);
		const integer = e.temp64();
		const result = tempFloat(e, lanes);
		e.read(at);
		if (bytes === 4) code.op(O.i64ExtendI32S);
		code.tee(integer);
		e.by(lanes.bytes, O.f64ConvertI64S, O.f32ConvertI64S);
		code.set(result);
		if (bytes === 8 || lanes.bytes === 4) {
			// Exact, or inexact that tells nothing new.
			const exact = lanes.bytes === 8 ? 2n ** 53n : 2n ** 24n;
			code.get(integer);
			code.i64(exact);
			code.op(O.i64Add);
			code.i64(2n * exact);
			code.op(O.i64LeU);
			pushFastMxcsr(e);
			code.op(O.i32Or);
			code.op(O.i32Eqz);
			code.if();
			code.get(0);
			code.get(integer);
			code.access(O.i64Store, L.VECTOR_A);
			callOperation(e, name, [], 0);
			code.get(0);
			code.access(lanes.bytes === 8 ? O.f64Load : O.f32Load, L.VECTOR_RESULT);
			code.set(result);
			code.end();
		}
		writeScalar(e, lanes, upperIndex(e), result);
	};
}

/** The conversion of an integer to floating point, by the bytes of both. */
function conversion(integerBytes: number, floatBytes: number): number {
	if (floatBytes === 8) return integerBytes === 8 ? O.f64ConvertI64S : O.f64ConvertI32S;
	return integerBytes === 8 ? O.f32ConvertI64S : O.f32ConvertI32S;
}

/** CVTSS2SI and its like. @param truncate CVTTSS2SI */
function toInteger(lanes: Lanes, name: string, truncate: boolean): Definition {
	return (e) => {
		const { code } = e;
		const bytes = e.bytes(0);
		const float = scalarSource(e, lanes, 1);
		const integral = tempFloat(e, lanes);
		const result = e.temp(bytes);
		code.get(float);
		if (truncate) e.by(lanes.bytes, O.f64Trunc, O.f32Trunc);
		else e.by(lanes.bytes, O.f64Nearest, O.f32Nearest);
		code.tee(integral);
		if (bytes === 8) code.saturating(lanes.bytes === 8 ? SATURATING.i64F64S : SATURATING.i64F32S);
		else code.saturating(lanes.bytes === 8 ? SATURATING.i32F64S : SATURATING.i32F32S);
		code.set(result);
		// In range, and integral as it stands or with an inexact that tells nothing new.
		code.get(integral);
		e.by(lanes.bytes, O.f64Abs, O.f32Abs);
		pushPower(e, lanes, bytes * 8 - 1);
		e.by(lanes.bytes, O.f64Lt, O.f32Lt);
		code.get(result);
		code.op(conversion(bytes, lanes.bytes));
		code.get(float);
		e.by(lanes.bytes, O.f64Eq, O.f32Eq);
		pushFastMxcsr(e);
		code.op(O.i32Or);
		code.op(O.i32And);
		code.op(O.i32Eqz);
		code.if();
		callScalarOperation(e, lanes, name, [float], (bytes * 8) | (truncate ? 0x100 : 0));
		code.get(0);
		code.access(bytes === 8 ? O.i64Load : O.i32Load, L.VECTOR_RESULT);
		code.set(result);
		code.end();
		code.get(result);
		e.write(0);
	};
}

/** Pushes 2^power in a format. */
function pushPower(e: Emitter, lanes: Lanes, power: number): void {
	e.code.f64(2 ** power);
	if (lanes.bytes === 4) e.code.op(O.f32DemoteF64);
}

// ---- scalars between precisions ----------------------------------------------------------------------

/** CVTSS2SD: exact, unless there is a NaN or a denormal to be told of. */
function singleToDouble(e: Emitter): void {
	const { code } = e;
	const float = scalarSource(e, SINGLE, hasVex(e) ? 2 : 1);
	const result = tempFloat(e, DOUBLE);
	code.get(float);
	code.op(O.f64PromoteF32);
	code.set(result);
	pushNotDenormal(e, SINGLE, float);
	pushNumber(e, SINGLE, float);
	code.op(O.i32And);
	code.op(O.i32Eqz);
	code.if();
	callScalarOperation(e, SINGLE, "cvtps2pd", [float], 1);
	code.get(0);
	code.access(O.f64Load, L.VECTOR_RESULT);
	code.set(result);
	code.end();
	writeScalar(e, DOUBLE, upperIndex(e), result);
}

/** CVTSD2SS. */
function doubleToSingle(e: Emitter): void {
	const { code } = e;
	const float = scalarSource(e, DOUBLE, hasVex(e) ? 2 : 1);
	const result = tempFloat(e, SINGLE);
	code.get(float);
	code.op(O.f32DemoteF64);
	code.set(result);
	pushFastMxcsr(e);
	pushInRange(e, SINGLE, result);
	pushZero(e, DOUBLE, float);
	code.op(O.i32Or);
	code.op(O.i32And);
	code.op(O.i32Eqz);
	code.if();
	callScalarOperation(e, DOUBLE, "cvtpd2ps", [float], 1);
	code.get(0);
	code.access(O.f32Load, L.VECTOR_RESULT);
	code.set(result);
	code.end();
	writeScalar(e, SINGLE, upperIndex(e), result);
}

// ---- packed ------------------------------------------------------------------------------------------

/** A source of half the destination's size, or less: a register, or memory that need not be aligned. */
function narrowSource(e: Emitter): number {
	if (!isMemory(e, 1)) return e.xmmLocal(vectorIndex(e, 1));
	if (e.bytes(1) === 16) return source(e, 1).low;
	const vector = e.tempVector();
	e.read(1);
	zeroExtendScalar(e, 8);
	e.code.set(vector);
	return vector;
}

/** The lanes of an XMM register that a widening conversion reads, half by half of its destination, alone and lowest. */
function widened(e: Emitter): { from: number[]; result: Vector } {
	const { code } = e;
	const vector = narrowSource(e);
	const result = tempVectorOf(e, vectorBytes(e, 0));
	const from = halves(result).map((_, half) => {
		const part = e.tempVector();
		code.get(vector);
		code.v128(0n, 0n);
		const first = half * 8;
		code.shuffle(Array.from({ length: 16 }, (_, at) => (at < 8 ? first + at : 16)));
		code.set(part);
		return part;
	});
	return { from, result };
}

/** Passes what `widened` gave as one vector in VECTOR_A. */
function passWidened(e: Emitter, from: readonly number[]): void {
	for (const [half, local] of from.entries()) {
		e.code.get(0);
		e.code.get(local);
		e.code.simdLane(S.i64x2ExtractLane, 0);
		e.code.access(O.i64Store, L.VECTOR_A + half * 8);
	}
}

/** CVTPS2PD. */
function singlesToDoubles(e: Emitter): void {
	const { code } = e;
	const { from, result } = widened(e);
	for (const [half, local] of halves(result).entries()) {
		code.get(from[half]!);
		code.simd(S.f64x2PromoteLowF32x4);
		code.set(local);
	}
	pushNone(e, from.length, (half) => {
		pushDenormal(e, SINGLE, from[half]!);
		pushNaN(e, SINGLE, from[half]!);
		code.simd(S.v128Or);
	});
	code.op(O.i32Eqz);
	code.if();
	passWidened(e, from);
	callOperation(e, "cvtps2pd", [], lanesIn(result, 8));
	takeVector(e, result);
	code.end();
	writeRegister(e, vectorIndex(e, 0), result);
}

/** CVTDQ2PD: exact. */
function integersToDoubles(e: Emitter): void {
	const { from, result } = widened(e);
	for (const [half, local] of halves(result).entries()) {
		e.code.get(from[half]!);
		e.code.simd(S.f64x2ConvertLowI32x4S);
		e.code.set(local);
	}
	writeRegister(e, vectorIndex(e, 0), result);
}

/** Pushes vectors of two doubles each, narrowed by an opcode that leaves the result in the low half, as one vector. */
function pushNarrowed(e: Emitter, from: readonly number[], opcode: number): void {
	for (const part of from) {
		e.code.get(part);
		e.code.simd(opcode);
	}
	if (from.length > 1) {
		e.code.shuffle([0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23]);
	}
}

/** CVTPD2PS. The result is judged as doubles, which hold it exactly. */
function doublesToSingles(e: Emitter): void {
	const { code } = e;
	const vector = source(e, 1);
	const from = halves(vector);
	const result: Vector = { low: e.tempVector(), high: -1 };
	pushNarrowed(e, from, S.f32x4DemoteF64x2Zero);
	code.set(result.low);
	pushFastMxcsr(e);
	pushNone(e, from.length, (half) => {
		const magnitude = e.tempVector();
		code.get(from[half]!);
		code.simd(S.f32x4DemoteF64x2Zero);
		code.simd(S.f64x2PromoteLowF32x4);
		code.simd(S.f64x2Abs);
		code.tee(magnitude);
		pushDoubles(e, 2 ** -126);
		code.simd(S.f64x2Le);
		code.get(from[half]!);
		code.v128(0n, 0n);
		code.simd(S.f64x2Eq);
		code.simd(S.v128Andnot);
		code.get(magnitude);
		pushDoubles(e, Number.POSITIVE_INFINITY);
		code.simd(S.f64x2Lt);
		code.simd(S.v128Not);
		code.simd(S.v128Or);
	});
	code.op(O.i32And);
	elseExactly(e, "cvtpd2ps", [vector], lanesIn(vector, 8), result);
	writeRegister(e, vectorIndex(e, 0), result);
}

function pushDoubles(e: Emitter, value: number): void {
	e.code.f64(value);
	e.code.simd(S.f64x2Splat);
}

/** CVTPD2DQ and CVTTPD2DQ. */
function doublesToIntegers(name: string, integral: number): Definition {
	return (e) => {
		const { code } = e;
		const vector = source(e, 1);
		const from = halves(vector);
		const rounded = from.map((local) => {
			const part = e.tempVector();
			code.get(local);
			code.simd(integral);
			code.set(part);
			return part;
		});
		const result: Vector = { low: e.tempVector(), high: -1 };
		pushNarrowed(e, rounded, S.i32x4TruncSatF64x2SZero);
		code.set(result.low);
		pushInexactOr(e, rounded, from, S.f64x2Ne);
		pushNone(e, from.length, (half) => {
			code.get(rounded[half]!);
			code.simd(S.f64x2Abs);
			pushDoubles(e, 2 ** 31);
			code.simd(S.f64x2Lt);
			code.simd(S.v128Not);
		});
		code.op(O.i32And);
		elseExactly(e, name, [vector], lanesIn(vector, 8), result);
		writeRegister(e, vectorIndex(e, 0), result);
	};
}

/** Pushes whether rounded vectors are the same as they were, or MXCSR allows that they are not. */
function pushInexactOr(
	e: Emitter,
	rounded: readonly number[],
	from: readonly number[],
	notEqual: number,
): void {
	pushNone(e, from.length, (half) => {
		e.code.get(rounded[half]!);
		e.code.get(from[half]!);
		e.code.simd(notEqual);
	});
	pushFastMxcsr(e);
	e.code.op(O.i32Or);
}

/** CVTPS2DQ and CVTTPS2DQ. */
function singlesToIntegers(name: string, integral: number): Definition {
	return (e) => {
		const { code } = e;
		const vector = source(e, 1);
		const from = halves(vector);
		const result = tempVectorOf(e, vectorBytes(e, 0));
		const rounded = from.map((local, half) => {
			const part = e.tempVector();
			code.get(local);
			code.simd(integral);
			code.tee(part);
			code.simd(S.i32x4TruncSatF32x4S);
			code.set(halves(result)[half]!);
			return part;
		});
		pushInexactOr(e, rounded, from, S.f32x4Ne);
		pushNone(e, from.length, (half) => {
			code.get(rounded[half]!);
			code.simd(S.f32x4Abs);
			// 2^31
			code.v128(0x4f000000_4f000000n, 0x4f000000_4f000000n);
			code.simd(S.f32x4Lt);
			code.simd(S.v128Not);
		});
		code.op(O.i32And);
		elseExactly(e, name, [vector], lanesIn(vector, 4), result);
		writeRegister(e, vectorIndex(e, 0), result);
	};
}

/** CVTDQ2PS: exact up to 2^24. */
function integersToSingles(e: Emitter): void {
	const { code } = e;
	const vector = source(e, 1);
	const from = halves(vector);
	const result = tempVectorOf(e, vectorBytes(e, 0));
	for (const [half, local] of halves(result).entries()) {
		code.get(from[half]!);
		code.simd(S.f32x4ConvertI32x4S);
		code.set(local);
	}
	pushNone(e, from.length, (half) => {
		code.get(from[half]!);
		code.v128(0x01000000_01000000n, 0x01000000_01000000n);
		code.simd(S.i32x4Add);
		code.v128(0x02000000_02000000n, 0x02000000_02000000n);
		code.simd(S.i32x4GtU);
	});
	pushFastMxcsr(e);
	code.op(O.i32Or);
	elseExactly(e, "cvtdq2ps", [vector], lanesIn(vector, 4), result);
	writeRegister(e, vectorIndex(e, 0), result);
}

// ---- rounding to integral values -----------------------------------------------------------------------

/** Wasm's operations by rounding control; the current one counts as the nearest where the fast way is taken at all. */
const PACKED_ROUND: readonly (readonly [number, number])[] = [
	[S.f32x4Nearest, S.f64x2Nearest],
	[S.f32x4Floor, S.f64x2Floor],
	[S.f32x4Ceil, S.f64x2Ceil],
	[S.f32x4Trunc, S.f64x2Trunc],
];
const SCALAR_ROUND: readonly (readonly [number, number])[] = [
	[O.f32Nearest, O.f64Nearest],
	[O.f32Floor, O.f64Floor],
	[O.f32Ceil, O.f64Ceil],
	[O.f32Trunc, O.f64Trunc],
];

const roundingOf = (control: number) => ((control & 4) !== 0 ? 0 : control & 3);
/** Rounding by the immediate, with inexact not reported: MXCSR's DAZ is all that matters. */
const isSelfContained = (control: number) => (control & 12) === 8;

function roundPacked(lanes: Lanes, name: string): Definition {
	return (e) => {
		const { code } = e;
		const control = immediateOf(e);
		const vector = source(e, 1);
		const from = halves(vector);
		const result = tempVectorOf(e, vectorBytes(e, 0));
		const single = lanes.bytes === 4;
		for (const [half, local] of halves(result).entries()) {
			code.get(from[half]!);
			code.simd(PACKED_ROUND[roundingOf(control)]![single ? 0 : 1]!);
			code.set(local);
		}
		pushInexactOr(e, halves(result), from, single ? S.f32x4Ne : S.f64x2Ne);
		pushNone(e, from.length, (half) => pushNaN(e, lanes, from[half]!));
		code.op(O.i32And);
		if (isSelfContained(control)) {
			pushNone(e, from.length, (half) => {
				pushDenormal(e, lanes, from[half]!);
				pushNaN(e, lanes, from[half]!);
				code.simd(S.v128Or);
			});
			code.op(O.i32Or);
		}
		elseExactly(e, name, [vector], lanesIn(vector, lanes.bytes) | (control << 8), result);
		writeRegister(e, vectorIndex(e, 0), result);
	};
}

function roundScalar(lanes: Lanes, name: string): Definition {
	return (e) => {
		const { code } = e;
		const control = immediateOf(e);
		const float = scalarSource(e, lanes, hasVex(e) ? 2 : 1);
		const result = tempFloat(e, lanes);
		code.get(float);
		code.op(SCALAR_ROUND[roundingOf(control)]![lanes.bytes === 4 ? 0 : 1]!);
		code.tee(result);
		code.get(float);
		e.by(lanes.bytes, O.f64Eq, O.f32Eq);
		pushFastMxcsr(e);
		if (isSelfContained(control)) {
			pushNotDenormal(e, lanes, float);
			code.op(O.i32Or);
		}
		pushNumber(e, lanes, float);
		code.op(O.i32And);
		code.op(O.i32Or);
		elseExactlyScalar(e, lanes, name, [float], 1 | (control << 8), result);
		writeScalar(e, lanes, upperIndex(e), result);
	};
}

// ---- half precision ------------------------------------------------------------------------------------

/** VCVTPH2PS. */
function fromHalves(e: Emitter): void {
	const result = tempVectorOf(e, vectorBytes(e, 0));
	passVector(e, { low: narrowSource(e), high: -1 }, L.VECTOR_A);
	callOperation(e, "cvtph2ps", [], lanesIn(result, 4));
	takeVector(e, result);
	writeRegister(e, vectorIndex(e, 0), result);
}

/** VCVTPS2PH: 8 or 16 bytes to a register or memory. */
function toHalves(e: Emitter): void {
	const vector = source(e, 1);
	const result: Vector = { low: e.tempVector(), high: -1 };
	// A fault of the store comes before MXCSR's flags.
	if (isMemory(e, 0)) {
		const linear = e.temp64();
		e.linearAddress();
		e.code.set(linear);
		e.probeStore(linear, e.bytes(0));
	}
	callOperation(e, "cvtps2ph", [vector], lanesIn(vector, 4) | (immediateOf(e) << 8));
	takeVector(e, result);
	if (!isMemory(e, 0)) {
		e.code.get(result.low);
		writeLow(e);
	} else if (e.bytes(0) === 16) {
		e.linearAddress();
		storeVector(e, result, false);
	} else {
		e.code.get(result.low);
		e.code.simdLane(S.i64x2ExtractLane, 0);
		e.write(0);
	}
}

/** By name. */
// biome-ignore format: one row an instruction
export const CONVERT: readonly Row[] = [
	["CVTSI2SS", fromInteger(SINGLE, "cvtsi2ss")], ["CVTSI2SD", fromInteger(DOUBLE, "cvtsi2sd")],
	["CVTSS2SI", toInteger(SINGLE, "cvtss2si", false)], ["CVTSD2SI", toInteger(DOUBLE, "cvtsd2si", false)],
	["CVTTSS2SI", toInteger(SINGLE, "cvtss2si", true)], ["CVTTSD2SI", toInteger(DOUBLE, "cvtsd2si", true)],
	["CVTSS2SD", singleToDouble],   ["CVTSD2SS", doubleToSingle],
	["CVTPS2PD", singlesToDoubles], ["CVTPD2PS", doublesToSingles],
	["CVTDQ2PS", integersToSingles], ["CVTDQ2PD", integersToDoubles],
	["CVTPS2DQ", singlesToIntegers("cvtps2dq", S.f32x4Nearest)],
	["CVTTPS2DQ", singlesToIntegers("cvttps2dq", S.f32x4Trunc)],
	["CVTPD2DQ", doublesToIntegers("cvtpd2dq", S.f64x2Nearest)],
	["CVTTPD2DQ", doublesToIntegers("cvttpd2dq", S.f64x2Trunc)],
	["ROUNDPS", roundPacked(SINGLE, "roundps")], ["ROUNDPD", roundPacked(DOUBLE, "roundpd")],
	["ROUNDSS", roundScalar(SINGLE, "roundps")], ["ROUNDSD", roundScalar(DOUBLE, "roundpd")],
	["CVTPH2PS", fromHalves],       ["CVTPS2PH", toHalves],
];
