/** Instructions that are carried out by the operations of simd/, always or where the fast way does not do. */
import * as L from "../../../cpu/layout.ts";
import { vectorOperation } from "../../../simd/operations.ts";
import { OPCODE as O } from "../../../wasm/builder.ts";
import { HELPER } from "../../core.ts";
import type { Emitter } from "../../emitter.ts";
import { leaveIfStatus, passVector, takeVector, tempVectorOf, type Vector } from "../../vector-memory.ts";
import type { Definition } from "../definition.ts";
import { vectorBytes, vectorIndex, writeRegister } from "./operands.ts";

/** Where operands are passed. */
export const OFFSETS = [L.VECTOR_A, L.VECTOR_B, L.VECTOR_C];

/** Calls an operation of simd/ on vectors. Leaves if it notes a fault; then its result is in VECTOR_RESULT. */
export function callOperation(e: Emitter, name: string, from: readonly Vector[], immediate: number): void {
	for (const [at, vector] of from.entries()) passVector(e, vector, OFFSETS[at]!);
	e.beginHelper(HELPER.vector, vectorOperation(name));
	e.code.i64(immediate);
	e.endHelper(1);
	leaveIfStatus(e);
}

/** If the i32 on the stack is 0: computes the result anew, by an operation of simd/. */
export function elseExactly(
	e: Emitter,
	name: string,
	from: readonly Vector[],
	immediate: number,
	result: Vector,
): void {
	e.code.op(O.i32Eqz);
	e.code.if();
	callOperation(e, name, from, immediate);
	takeVector(e, result);
	e.code.end();
}

/**
 * An instruction that an operation always carries out.
 * @param operands of the operation, in order @param immediate of the operation
 */
export function byOperation(
	name: string,
	operands: (e: Emitter) => Vector[],
	immediate: (e: Emitter, result: Vector) => number,
): Definition {
	return (e) => {
		const from = operands(e);
		const result = tempVectorOf(e, vectorBytes(e, 0));
		callOperation(e, name, from, immediate(e, result));
		takeVector(e, result);
		writeRegister(e, vectorIndex(e, 0), result);
	};
}
