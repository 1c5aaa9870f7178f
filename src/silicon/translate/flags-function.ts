/** The flag computation of the core module: what cpu/rflags.ts computes in TypeScript, as WebAssembly. */
import * as L from "../cpu/layout.ts";
import { ARITHMETIC_FLAGS, CC, FLAG } from "../cpu/rflags.ts";
import { Code, OPCODE as O, TYPE } from "../wasm/builder.ts";
import { CPU } from "./block-emitter.ts";

const { i32, i64 } = TYPE;

// Parameters and locals of `flags`.
const OP = 1;
const DST = 2;
const SRC = 3;
const SRC2 = 4;
const KIND = 5;
const A = 6;
const B = 7;
const RESULT = 8;
const CARRIES = 9;
const SHIFT = 10;
const FLAGS = 11;
export const FLAGS_LOCALS = [i32, i64, i64, i64, i64, i32, i32] as const;

/** Emits `if (KIND === kind) {`. The caller emits the body and the end. */
function ifKind(code: Code, kind: number): void {
	code.get(KIND);
	code.i32(kind);
	code.op(O.i32Eq);
	code.if();
}

function binary(code: Code, left: number, opcode: number, right: number): void {
	code.get(left);
	code.get(right);
	code.op(opcode);
}

/** The operands and the result of each kind, from what the lazy state keeps. See cpu/rflags.ts. */
function operands(code: Code): void {
	code.get(DST);
	code.set(RESULT);
	code.get(SRC);
	code.set(B);
	for (const [kind, opcode] of [
		[CC.add, O.i64Sub],
		[CC.adc, O.i64Sub],
		[CC.sbb, O.i64Add],
	] as const) {
		ifKind(code, kind);
		binary(code, DST, opcode, SRC);
		if (kind !== CC.add) {
			code.get(SRC2);
			code.op(opcode);
		}
		code.set(A);
		code.end();
	}
	ifKind(code, CC.sub);
	code.get(DST);
	code.set(A);
	binary(code, DST, O.i64Sub, SRC);
	code.set(RESULT);
	code.end();
	for (const [kind, opcode] of [
		[CC.inc, O.i64Sub],
		[CC.dec, O.i64Add],
	] as const) {
		ifKind(code, kind);
		code.get(DST);
		code.i64(1);
		code.op(opcode);
		code.set(A);
		code.i64(1);
		code.set(B);
		code.end();
	}
}

/** Carries out of each bit: additions directly, subtractions with the left operand inverted. */
function carries(code: Code): void {
	const majority = (inverted: boolean): void => {
		const left = () => {
			code.get(A);
			if (!inverted) return;
			code.i64(-1);
			code.op(O.i64Xor);
		};
		left();
		code.get(B);
		code.op(O.i64And);
		left();
		code.get(B);
		code.op(O.i64Or);
		code.get(RESULT);
		if (!inverted) {
			code.i64(-1);
			code.op(O.i64Xor);
		}
		code.op(O.i64And);
		code.op(O.i64Or);
		code.set(CARRIES);
	};
	for (const kind of [CC.add, CC.adc, CC.inc]) {
		ifKind(code, kind);
		majority(false);
		code.end();
	}
	for (const kind of [CC.sub, CC.sbb, CC.dec]) {
		ifKind(code, kind);
		majority(true);
		code.end();
	}
}

/** ORs a flag into FLAGS if the i32 on the stack is 1. */
function orFlag(code: Code, flag: number): void {
	if (flag !== 1) {
		code.i32(Math.log2(flag));
		code.op(O.i32Shl);
	}
	code.get(FLAGS);
	code.op(O.i32Or);
	code.set(FLAGS);
}

/** Pushes a local shifted so that the operand's sign is bit 63. */
function shifted(code: Code, local: number): void {
	code.get(local);
	code.get(SHIFT);
	code.op(O.i64ExtendI32U);
	code.op(O.i64Shl);
}

/** Pushes a local's sign, 0 or 1, after shifting. */
function top(code: Code, local: number, extra: number): void {
	shifted(code, local);
	if (extra > 0) {
		code.i64(extra);
		code.op(O.i64Shl);
	}
	code.i64(0);
	code.op(O.i64LtS);
}

/** Pushes whether the product of SRC and SRC2, sign-extended, is not RESULT: 0 or 1. */
function pushProductOverflow(code: Code): void {
	const signed = (local: number) => {
		shifted(code, local);
		code.get(SHIFT);
		code.op(O.i64ExtendI32U);
		code.op(O.i64ShrS);
	};
	// Up to 4 bytes the product fits 64 bits. For 8, divide back: exact unless an operand is 0 or -1.
	signed(SRC);
	code.set(A);
	signed(SRC2);
	code.set(B);
	code.get(SHIFT);
	code.if(TYPE.i32);
	binary(code, A, O.i64Mul, B);
	signed(RESULT);
	code.op(O.i64Ne);
	code.else();
	code.get(A);
	code.op(O.i64Eqz);
	code.if(TYPE.i32);
	code.i32(0);
	code.else();
	code.get(A);
	code.i64(-1);
	code.op(O.i64Eq);
	code.if(TYPE.i32);
	// -1 × B overflows for the most negative B only.
	code.get(B);
	code.i64(-(2n ** 63n));
	code.op(O.i64Eq);
	code.else();
	code.get(RESULT);
	code.get(A);
	code.op(O.i64DivS);
	code.get(B);
	code.op(O.i64Ne);
	code.end();
	code.end();
	code.end();
}

/** The six arithmetic flags of a lazy state: `flags(cpuBase, CC_OP, CC_DST, CC_SRC, CC_SRC2)`, its locals being FLAGS_LOCALS. */
export function flagsBody(): Code {
	const code = new Code();
	code.get(OP);
	code.op(O.i32Eqz);
	code.if();
	code.get(CPU);
	code.access(O.i32Load, L.RFLAGS);
	code.i32(ARITHMETIC_FLAGS);
	code.op(O.i32And);
	code.op(O.return);
	code.end();
	code.get(OP);
	code.i32(CC.flags);
	code.op(O.i32Eq);
	code.if();
	code.get(SRC);
	code.op(O.i32WrapI64);
	code.i32(ARITHMETIC_FLAGS);
	code.op(O.i32And);
	code.op(O.return);
	code.end();
	code.get(OP);
	code.i32(~3);
	code.op(O.i32And);
	code.set(KIND);
	// 64 less the operand's bits.
	code.i32(64);
	code.i32(8);
	code.get(OP);
	code.i32(3);
	code.op(O.i32And);
	code.op(O.i32Shl);
	code.op(O.i32Sub);
	code.set(SHIFT);
	operands(code);
	carries(code);
	// PF
	code.get(RESULT);
	code.op(O.i32WrapI64);
	code.i32(0xff);
	code.op(O.i32And);
	code.op(O.i32Popcnt);
	code.i32(1);
	code.op(O.i32And);
	code.op(O.i32Eqz);
	orFlag(code, FLAG.PF);
	// AF: the carry out of bit 3.
	code.get(CARRIES);
	code.op(O.i32WrapI64);
	code.i32(3);
	code.op(O.i32ShrU);
	code.i32(1);
	code.op(O.i32And);
	orFlag(code, FLAG.AF);
	shifted(code, RESULT);
	code.op(O.i64Eqz);
	orFlag(code, FLAG.ZF);
	top(code, RESULT, 0);
	orFlag(code, FLAG.SF);
	// OF: the carries out of the two highest bits differ.
	top(code, CARRIES, 0);
	top(code, CARRIES, 1);
	code.op(O.i32Xor);
	orFlag(code, FLAG.OF);
	top(code, CARRIES, 0);
	orFlag(code, FLAG.CF);
	for (const kind of [CC.inc, CC.dec]) {
		ifKind(code, kind);
		code.get(FLAGS);
		code.i32(~FLAG.CF);
		code.op(O.i32And);
		code.get(SRC);
		code.op(O.i32WrapI64);
		code.i32(FLAG.CF);
		code.op(O.i32And);
		code.op(O.i32Or);
		code.set(FLAGS);
		code.end();
	}
	ifKind(code, CC.result);
	code.get(FLAGS);
	code.get(SRC);
	code.op(O.i32WrapI64);
	code.i32(FLAG.CF | FLAG.AF | FLAG.OF);
	code.op(O.i32And);
	code.op(O.i32Or);
	code.set(FLAGS);
	code.end();
	ifKind(code, CC.imul);
	pushProductOverflow(code);
	code.i32(FLAG.CF | FLAG.OF);
	code.op(O.i32Mul);
	code.get(FLAGS);
	code.op(O.i32Or);
	code.set(FLAGS);
	code.end();
	code.get(FLAGS);
	return code;
}
