/** The shape of an instruction's definition, and helpers that several chapters share. */
import { OPCODE as O } from "../../wasm/builder.ts";
import type { Emitter } from "../emitter.ts";

/** Emits the code of the emitter's current instruction. */
export type Definition = (e: Emitter) => void;

/** Pushes a register operand or memory value sign-extended to another size. */
export function readSigned(e: Emitter, at: number, to: number): void {
	const from = e.bytes(at);
	e.read(at);
	if (to === 8 && from !== 8) {
		e.code.op(O.i64ExtendI32U);
		e.code.op(from === 1 ? O.i64Extend8S : from === 2 ? O.i64Extend16S : O.i64Extend32S);
	} else if (to !== 8) {
		e.signed(from);
		e.clean(to);
	}
}

/** Pushes bit `at` of a local of a size, as i32. */
export function pushBit(e: Emitter, local: number, bytes: number, at: number): void {
	e.code.get(local);
	if (at > 0) {
		e.constant(bytes, at);
		e.by(bytes, O.i64ShrU, O.i32ShrU);
	}
	if (bytes === 8) e.code.op(O.i32WrapI64);
	e.code.i32(1);
	e.code.op(O.i32And);
}
