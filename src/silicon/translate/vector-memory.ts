/** Loads and stores of 16 and 32 bytes in translated code. */
import * as L from "../cpu/layout.ts";
import { OPCODE as O } from "../wasm/builder.ts";
import { SIMD } from "../wasm/simd.ts";
import { ALIGNED, HELPER } from "./core.ts";
import type { Emitter } from "./emitter.ts";

/** A vector in locals: 16 bytes, or 32 in two halves. */
export interface Vector {
	readonly low: number;
	/** -1 if there is none. */
	readonly high: number;
}

/** Bytes of a vector operand: of an XMM or a YMM register. */
export type VectorBytes = 16 | 32;

/** Bytes of a vector. */
export function bytesOfVector(vector: Vector): VectorBytes {
	return vector.high < 0 ? 16 : 32;
}

/** Temporaries for a vector. */
export function tempVectorOf(e: Emitter, bytes: VectorBytes): Vector {
	return { low: e.tempVector(), high: bytes === 32 ? e.tempVector() : -1 };
}

/** The locals of a vector, in order. */
export function halves(vector: Vector): number[] {
	return vector.high < 0 ? [vector.low] : [vector.low, vector.high];
}

/** Puts a vector into the state block, for the helper. @param offset L.VECTOR_A and its like */
export function passVector(e: Emitter, vector: Vector, offset: number): void {
	for (const [at, local] of halves(vector).entries()) {
		e.code.get(0);
		e.code.get(local);
		e.code.simdAccess(SIMD.v128Store, offset + at * 16);
	}
}

/** Takes a vector from the state block. */
export function takeVector(e: Emitter, vector: Vector, offset = L.VECTOR_RESULT): void {
	for (const [at, local] of halves(vector).entries()) {
		e.code.get(0);
		e.code.simdAccess(SIMD.v128Load, offset + at * 16);
		e.code.set(local);
	}
}

/** Leaves with the noted fault if the i64 on the stack, a status of the helper, is not 0. */
export function leaveIfStatus(e: Emitter): void {
	e.code.op(O.i32WrapI64);
	e.code.if();
	e.leaveWithFault();
	e.code.end();
}

/** Pops a linear address, loads a vector from it. @param aligned #GP if it is no multiple of the vector's size */
export function loadVector(e: Emitter, bytes: VectorBytes, aligned: boolean): Vector {
	const code = e.code;
	const vector = tempVectorOf(e, bytes);
	const linear = e.temp64();
	const entry = e.temp32();
	code.set(linear);
	e.lookUp(L.TLB_READ, linear, entry, bytes, aligned);
	code.if();
	e.hostAddress(L.TLB_READ, linear, entry);
	if (bytes === 32) code.tee(entry);
	code.simdAccess(SIMD.v128Load, 0);
	code.set(vector.low);
	if (bytes === 32) {
		code.get(entry);
		code.simdAccess(SIMD.v128Load, 16);
		code.set(vector.high);
	}
	code.else();
	e.beginHelper(HELPER.vectorLoad, bytes | (aligned ? ALIGNED : 0));
	code.get(linear);
	e.endHelper(1);
	leaveIfStatus(e);
	takeVector(e, vector);
	code.end();
	return vector;
}

/** Pops a linear address, stores a vector there: all of it or, with a fault, nothing. See `Emitter.storeLocal`. */
export function storeVector(e: Emitter, vector: Vector, aligned: boolean): void {
	const code = e.code;
	const bytes = bytesOfVector(vector);
	const linear = e.temp64();
	const entry = e.temp32();
	code.set(linear);
	e.lookUp(L.TLB_WRITE, linear, entry, bytes, aligned);
	code.if();
	e.hostAddress(L.TLB_WRITE, linear, entry);
	if (bytes === 32) code.tee(entry);
	code.get(vector.low);
	code.simdAccess(SIMD.v128Store, 0);
	if (bytes === 32) {
		code.get(entry);
		code.get(vector.high);
		code.simdAccess(SIMD.v128Store, 16);
	}
	code.else();
	passVector(e, vector, L.VECTOR_A);
	e.beginHelper(HELPER.vectorStore, bytes | (aligned ? ALIGNED : 0));
	code.get(linear);
	e.endHelper(1);
	code.op(O.i32WrapI64);
	e.endSlowStore(entry);
	code.end();
}
