/** Binary arithmetic and logic (SDM Vol. 1, 5.1.2 and 5.1.4). */
import * as L from "../../cpu/layout.ts";
import { CC } from "../../cpu/rflags.ts";
import { OPCODE as O } from "../../wasm/builder.ts";
import { Mnemonic as M } from "../decode.ts";
import { HELPER } from "../core.ts";
import type { Emitter } from "../emitter.ts";
import { BITS, flagsMatter, pushCarry, setFlags } from "../flags.ts";
import { type Definition, readSigned } from "./definition.ts";

/** ADD, SUB, AND, OR, XOR: wide and narrow opcode, and the kind of flags they leave. */
function binary(wide: number, narrow: number, kind: number): Definition {
	return (e) => {
		const bytes = e.bytes(0);
		const left = e.temp(bytes);
		const right = e.temp(bytes);
		const result = e.temp(bytes);
		e.read(1, bytes);
		e.code.set(right);
		const modification = e.beginModify(e.operand(0));
		e.code.tee(left);
		e.code.get(right);
		e.by(bytes, wide, narrow);
		if (kind !== CC.logic) e.clean(bytes);
		e.code.set(result);
		e.endModify(modification, result);
		if (!flagsMatter(e)) return;
		if (kind === CC.sub) setFlags(e, kind, bytes, left, right);
		else setFlags(e, kind, bytes, result, kind === CC.logic ? -1 : right);
	};
}

/** CMP and TEST: nothing is written but flags. */
function compare(e: Emitter): void {
	const bytes = e.bytes(0);
	const left = e.temp(bytes);
	const right = e.temp(bytes);
	e.read(0);
	e.code.set(left);
	e.read(1, bytes);
	e.code.set(right);
	if (flagsMatter(e)) setFlags(e, CC.sub, bytes, left, right);
}

function test(e: Emitter): void {
	const bytes = e.bytes(0);
	const result = e.temp(bytes);
	e.read(0);
	e.read(1, bytes);
	e.by(bytes, O.i64And, O.i32And);
	e.code.set(result);
	if (flagsMatter(e)) setFlags(e, CC.logic, bytes, result);
}

/** ADC and SBB. */
function withCarry(wide: number, narrow: number, kind: number): Definition {
	return (e) => {
		const bytes = e.bytes(0);
		const code = e.code;
		const carry = e.temp32();
		const right = e.temp(bytes);
		const result = e.temp(bytes);
		e.read(1, bytes);
		code.set(right);
		const modification = e.beginModify(e.operand(0));
		code.get(right);
		e.by(bytes, wide, narrow);
		pushCarry(e);
		code.tee(carry);
		if (bytes === 8) code.op(O.i64ExtendI32U);
		e.by(bytes, wide, narrow);
		e.clean(bytes);
		code.set(result);
		e.endModify(modification, result);
		if (!flagsMatter(e)) return;
		setFlags(e, kind, bytes, result, right);
		code.get(carry);
		code.op(O.i64ExtendI32U);
		code.set(e.ccSrc2);
	};
}

/** INC and DEC, which leave CF as it was. */
function step(wide: number, narrow: number, kind: number): Definition {
	return (e) => {
		const bytes = e.bytes(0);
		const result = e.temp(bytes);
		const modification = e.beginModify(e.operand(0));
		e.constant(bytes, 1);
		e.by(bytes, wide, narrow);
		e.clean(bytes);
		e.code.set(result);
		e.endModify(modification, result);
		if (!flagsMatter(e)) return;
		if ((e.live & BITS.CF) !== 0) {
			pushCarry(e);
			e.code.op(O.i64ExtendI32U);
		} else e.code.i64(0);
		e.code.set(e.ccSrc);
		setFlags(e, kind, bytes, result);
	};
}

function neg(e: Emitter): void {
	const bytes = e.bytes(0);
	const code = e.code;
	const value = e.temp(bytes);
	const zero = e.temp(bytes);
	const result = e.temp(bytes);
	const modification = e.beginModify(e.operand(0));
	code.set(value);
	e.constant(bytes, 0);
	code.tee(zero);
	code.get(value);
	e.by(bytes, O.i64Sub, O.i32Sub);
	e.clean(bytes);
	code.set(result);
	e.endModify(modification, result);
	if (flagsMatter(e)) setFlags(e, CC.sub, bytes, zero, value);
}

function not(e: Emitter): void {
	const bytes = e.bytes(0);
	const result = e.temp(bytes);
	const modification = e.beginModify(e.operand(0));
	e.constant(bytes, -1);
	e.by(bytes, O.i64Xor, O.i32Xor);
	e.clean(bytes);
	e.code.set(result);
	e.endModify(modification, result);
}

/** Pushes the upper 64 bits of the product of two i64 locals, from four 32-bit products. */
export function pushHighProduct(e: Emitter, a: number, b: number, signed: boolean): void {
	const code = e.code;
	const low = (local: number) => {
		code.get(local);
		code.i64(0xffffffff);
		code.op(O.i64And);
	};
	const high = (local: number) => {
		code.get(local);
		code.i64(32);
		code.op(O.i64ShrU);
	};
	const middle = e.temp64();
	const cross = e.temp64();
	// middle = high(a) low(b) + high(low(a) low(b)); cross = low(a) high(b) + low(middle)
	high(a);
	low(b);
	code.op(O.i64Mul);
	low(a);
	low(b);
	code.op(O.i64Mul);
	code.i64(32);
	code.op(O.i64ShrU);
	code.op(O.i64Add);
	code.set(middle);
	low(a);
	high(b);
	code.op(O.i64Mul);
	low(middle);
	code.op(O.i64Add);
	code.set(cross);
	high(a);
	high(b);
	code.op(O.i64Mul);
	high(middle);
	code.op(O.i64Add);
	high(cross);
	code.op(O.i64Add);
	if (!signed) return;
	for (const [sign, other] of [
		[a, b],
		[b, a],
	] as const) {
		code.get(sign);
		code.i64(63);
		code.op(O.i64ShrS);
		code.get(other);
		code.op(O.i64And);
		code.op(O.i64Sub);
	}
}

/** Leaves the flags of a product: CF = OF = the i32 on the stack. */
function setProductFlags(e: Emitter, bytes: number, low: number): void {
	e.code.i32(0x801);
	e.code.op(O.i32Mul);
	e.code.op(O.i64ExtendI32U);
	e.code.set(e.ccSrc);
	setFlags(e, CC.result, bytes, low);
}

/** MUL and one-operand IMUL: RDX:RAX = RAX × operand. */
function wideProduct(signed: boolean): Definition {
	return (e) => {
		const bytes = e.bytes(0);
		const code = e.code;
		if (bytes === 8) {
			wideProduct64(e, signed);
			return;
		}
		const extend = signed
			? bytes === 1
				? O.i64Extend8S
				: bytes === 2
					? O.i64Extend16S
					: O.i64Extend32S
			: null;
		const product = e.temp64();
		const low = e.temp32();
		e.read(0);
		code.op(O.i64ExtendI32U);
		if (extend !== null) code.op(extend);
		e.getIndex(L.RAX, bytes);
		code.op(O.i64ExtendI32U);
		if (extend !== null) code.op(extend);
		code.op(O.i64Mul);
		code.set(product);
		code.get(product);
		e.narrow(bytes);
		code.set(low);
		if (bytes === 1) {
			code.get(product);
			e.narrow(2);
			e.setIndex(L.RAX, 2);
		} else {
			code.get(low);
			e.setIndex(L.RAX, bytes);
			code.get(product);
			code.i64(bytes * 8);
			code.op(O.i64ShrU);
			e.narrow(bytes);
			e.setIndex(L.RDX, bytes);
		}
		if (!flagsMatter(e)) return;
		code.get(product);
		code.get(low);
		code.op(O.i64ExtendI32U);
		if (extend !== null) code.op(extend);
		code.op(O.i64Ne);
		setProductFlags(e, bytes, low);
	};
}

function wideProduct64(e: Emitter, signed: boolean): void {
	const code = e.code;
	const left = e.temp64();
	const right = e.temp64();
	const low = e.temp64();
	const high = e.temp64();
	e.read(0);
	code.set(left);
	e.getIndex(L.RAX, 8);
	code.set(right);
	code.get(left);
	code.get(right);
	code.op(O.i64Mul);
	code.set(low);
	pushHighProduct(e, left, right, signed);
	code.set(high);
	code.get(low);
	e.setIndex(L.RAX, 8);
	code.get(high);
	e.setIndex(L.RDX, 8);
	if (!flagsMatter(e)) return;
	code.get(high);
	if (signed) {
		code.get(low);
		code.i64(63);
		code.op(O.i64ShrS);
	} else code.i64(0);
	code.op(O.i64Ne);
	setProductFlags(e, 8, low);
}

function imul(e: Emitter): void {
	const count = e.insn.operands.length;
	if (count === 1) {
		wideProduct(true)(e);
		return;
	}
	const bytes = e.bytes(0);
	const code = e.code;
	const left = e.temp(bytes);
	const right = e.temp(bytes);
	const result = e.temp(bytes);
	e.read(count === 3 ? 1 : 0);
	code.set(left);
	e.read(count === 3 ? 2 : 1, bytes);
	code.set(right);
	code.get(left);
	code.get(right);
	e.by(bytes, O.i64Mul, O.i32Mul);
	e.clean(bytes);
	code.tee(result);
	e.write(0);
	if (!flagsMatter(e)) return;
	setFlags(e, CC.imul, bytes, result, left);
	code.get(right);
	e.widen(bytes);
	code.set(e.ccSrc2);
}

/** Notes #DE and leaves. */
function leaveWithDivideError(e: Emitter): void {
	const fields: [number, number][] = [
		[L.FAULT, 1],
		[L.FAULT_VECTOR, 0],
		[L.FAULT_ERROR_CODE, 0],
		[L.FAULT_HAS_ERROR_CODE, 0],
	];
	for (const [offset, value] of fields) {
		e.code.get(0);
		e.code.i32(value);
		e.code.access(O.i32Store, offset);
	}
	e.leaveWithFault();
}

/** DIV and IDIV. Flags stay as they are. */
function divide(signed: boolean): Definition {
	return (e) => {
		if (e.bytes(0) === 8) divide64(e, signed);
		else divideNarrow(e, signed);
	};
}

function divideNarrow(e: Emitter, signed: boolean): void {
	const bytes = e.bytes(0);
	const code = e.code;
	const dividend = e.temp64();
	const divisor = e.temp64();
	const quotient = e.temp64();
	if (signed) readSigned(e, 0, 8);
	else {
		e.read(0);
		code.op(O.i64ExtendI32U);
	}
	code.tee(divisor);
	code.op(O.i64Eqz);
	code.if();
	leaveWithDivideError(e);
	code.end();
	if (bytes === 1) {
		e.getIndex(L.RAX, 2);
		code.op(O.i64ExtendI32U);
		if (signed) code.op(O.i64Extend16S);
	} else {
		e.getIndex(L.RDX, bytes);
		code.op(O.i64ExtendI32U);
		code.i64(bytes * 8);
		code.op(O.i64Shl);
		e.getIndex(L.RAX, bytes);
		code.op(O.i64ExtendI32U);
		code.op(O.i64Or);
		if (signed && bytes === 2) code.op(O.i64Extend32S);
	}
	code.set(dividend);
	if (signed && bytes === 4) {
		// The one quotient that i64.div_s traps on does not fit anyway.
		code.get(dividend);
		code.i64(-(2n ** 63n));
		code.op(O.i64Eq);
		code.get(divisor);
		code.i64(-1);
		code.op(O.i64Eq);
		code.op(O.i32And);
		code.if();
		leaveWithDivideError(e);
		code.end();
	}
	code.get(dividend);
	code.get(divisor);
	code.op(signed ? O.i64DivS : O.i64DivU);
	code.tee(quotient);
	code.get(quotient);
	if (signed) code.op(bytes === 1 ? O.i64Extend8S : bytes === 2 ? O.i64Extend16S : O.i64Extend32S);
	else {
		code.i64(2 ** (bytes * 8) - 1);
		code.op(O.i64And);
	}
	code.op(O.i64Ne);
	code.if();
	leaveWithDivideError(e);
	code.end();
	// AH, or (R/E)DX, gets the remainder.
	const remainder = e.temp32();
	code.get(dividend);
	code.get(divisor);
	code.op(signed ? O.i64RemS : O.i64RemU);
	e.narrow(bytes);
	code.set(remainder);
	if (bytes === 1) {
		code.get(remainder);
		code.i32(8);
		code.op(O.i32Shl);
		code.get(quotient);
		e.narrow(1);
		code.op(O.i32Or);
		e.setIndex(L.RAX, 2);
		return;
	}
	code.get(quotient);
	e.narrow(bytes);
	e.setIndex(L.RAX, bytes);
	code.get(remainder);
	e.setIndex(L.RDX, bytes);
}

/** 128 by 64 bits: in line where the dividend fits 64 bits, which is what compilers emit; else a helper. */
function divide64(e: Emitter, signed: boolean): void {
	const code = e.code;
	const divisor = e.temp64();
	const quotient = e.temp64();
	const remainder = e.temp64();
	const rax = e.registerLocal(L.RAX);
	const rdx = e.registerLocal(L.RDX);
	e.read(0);
	code.set(divisor);
	code.get(rdx);
	if (signed) {
		code.get(rax);
		code.i64(63);
		code.op(O.i64ShrS);
		code.op(O.i64Eq);
		// Neither 0 nor -1, which need care.
		code.get(divisor);
		code.i64(1);
		code.op(O.i64Add);
		code.i64(1);
		code.op(O.i64GtU);
	} else {
		code.op(O.i64Eqz);
		code.get(divisor);
		code.i64(0);
		code.op(O.i64Ne);
	}
	code.op(O.i32And);
	code.if();
	code.get(rax);
	code.get(divisor);
	code.op(signed ? O.i64DivS : O.i64DivU);
	code.set(quotient);
	code.get(rax);
	code.get(divisor);
	code.op(signed ? O.i64RemS : O.i64RemU);
	code.set(remainder);
	code.else();
	e.beginHelper(HELPER.divide, signed ? 1 : 0);
	code.get(rdx);
	code.get(rax);
	code.get(divisor);
	e.endHelper(3);
	code.op(O.i32WrapI64);
	code.if();
	leaveWithDivideError(e);
	code.end();
	code.get(0);
	code.access(O.i64Load, L.SCRATCH);
	code.set(quotient);
	code.get(0);
	code.access(O.i64Load, L.SCRATCH + 8);
	code.set(remainder);
	code.end();
	code.get(quotient);
	e.setIndex(L.RAX, 8);
	code.get(remainder);
	e.setIndex(L.RDX, 8);
}

/** Binary arithmetic and logic, by mnemonic. */
// biome-ignore format: one row an instruction
export const ARITHMETIC: ReadonlyMap<number, Definition> = new Map<number, Definition>([
	[M.Add, binary(O.i64Add, O.i32Add, CC.add)],
	[M.Sub, binary(O.i64Sub, O.i32Sub, CC.sub)],
	[M.And, binary(O.i64And, O.i32And, CC.logic)],
	[M.Or,  binary(O.i64Or, O.i32Or, CC.logic)],
	[M.Xor, binary(O.i64Xor, O.i32Xor, CC.logic)],
	[M.Adc, withCarry(O.i64Add, O.i32Add, CC.adc)],
	[M.Sbb, withCarry(O.i64Sub, O.i32Sub, CC.sbb)],
	[M.Inc, step(O.i64Add, O.i32Add, CC.inc)],
	[M.Dec, step(O.i64Sub, O.i32Sub, CC.dec)],
	[M.Cmp, compare],
	[M.Test, test],
	[M.Neg, neg],
	[M.Not, not],
	[M.Mul, wideProduct(false)],
	[M.Imul, imul],
	[M.Div, divide(false)],
	[M.Idiv, divide(true)],
]);
