/** Shifts and rotates (SDM Vol. 1, 5.1.5). */
import * as L from "../../cpu/layout.ts";
import { CC, FLAG } from "../../cpu/rflags.ts";
import { OPCODE as O } from "../../wasm/builder.ts";
import { Mnemonic as M } from "../decode.ts";
import type { Emitter } from "../emitter.ts";
import { flagsMatter, pushCarry, pushFlags, setFlags } from "../flags.ts";
import { type Definition, pushBit } from "./definition.ts";

/** How far to shift: known now, or in a local of the operand's size. Masked to 5 or 6 bits. */
type Count = { readonly known: number } | { readonly local: number };

function count(e: Emitter, at: number, bytes: number): Count {
	const mask = bytes === 8 ? 63 : 31;
	const operand = e.operand(at);
	if (operand.kind === "immediate") return { known: Number(operand.value) & mask };
	const local = e.temp(bytes);
	e.getIndex(L.RCX, 1);
	e.code.i32(mask);
	e.code.op(O.i32And);
	if (bytes === 8) e.code.op(O.i64ExtendI32U);
	e.code.set(local);
	return { local };
}

/** Pushes the count plus an offset. */
function pushCount(e: Emitter, by: Count, bytes: number, offset = 0): void {
	if ("known" in by) {
		e.constant(bytes, by.known + offset);
		return;
	}
	e.code.get(by.local);
	if (offset === 0) return;
	e.constant(bytes, offset);
	e.by(bytes, O.i64Add, O.i32Add);
}

/** Emits code that sets flags only if the count is not 0: with a count of 0 x86 leaves them alone. */
function whenCounted(e: Emitter, by: Count, bytes: number, setter: () => void): void {
	if (!flagsMatter(e)) return;
	if ("known" in by) {
		if (by.known !== 0) setter();
		return;
	}
	e.settleOp();
	e.code.get(by.local);
	e.by(bytes, O.i64Eqz, O.i32Eqz);
	e.code.op(O.i32Eqz);
	e.code.if();
	setter();
	e.settleOp();
	e.code.end();
	e.op = -1;
}

/** Combines CF and OF, as 0 or 1 on the stack (CF below), into a RESULT state about a local. */
function setResult(e: Emitter, bytes: number, result: number): void {
	e.code.i32(Math.log2(FLAG.OF));
	e.code.op(O.i32Shl);
	e.code.op(O.i32Or);
	e.code.op(O.i64ExtendI32U);
	e.code.set(e.ccSrc);
	setFlags(e, CC.result, bytes, result);
}

type ShiftKind = "shl" | "shr" | "sar";
const WIDE = { shl: O.i64Shl, shr: O.i64ShrU, sar: O.i64ShrS } as const;
const NARROW = { shl: O.i32Shl, shr: O.i32ShrU, sar: O.i32ShrS } as const;

function shift(kind: ShiftKind): Definition {
	return (e) => {
		const bytes = e.bytes(0);
		const code = e.code;
		const value = e.temp(bytes);
		const result = e.temp(bytes);
		const by = count(e, 1, bytes);
		const modification = e.beginModify(e.operand(0));
		if (kind === "sar") e.signed(bytes);
		code.tee(value);
		pushCount(e, by, bytes);
		e.by(bytes, WIDE[kind], NARROW[kind]);
		e.clean(bytes);
		code.set(result);
		e.endModify(modification, result);
		whenCounted(e, by, bytes, () => {
			// One step before the end: the bit about to go is CF.
			const before = e.temp(bytes);
			const top = bytes * 8 - 1;
			code.get(value);
			pushCount(e, by, bytes, -1);
			e.by(bytes, WIDE[kind], NARROW[kind]);
			code.set(before);
			pushBit(e, before, bytes, kind === "shl" ? top : 0);
			if (kind === "shl") {
				pushBit(e, before, bytes, top);
				pushBit(e, result, bytes, top);
				code.op(O.i32Xor);
			} else if (kind === "shr") pushBit(e, before, bytes, top);
			else code.i32(0);
			setResult(e, bytes, result);
		});
	};
}

/** SHLX, SHRX, SARX: no flags, count in a register. */
function shiftWithoutFlags(kind: ShiftKind): Definition {
	return (e) => {
		const bytes = e.bytes(0);
		e.read(1);
		e.read(2);
		e.by(bytes, WIDE[kind], NARROW[kind]);
		e.write(0);
	};
}

function rorx(e: Emitter): void {
	const bytes = e.bytes(0);
	e.read(1);
	e.read(2, bytes);
	e.by(bytes, O.i64Rotr, O.i32Rotr);
	e.write(0);
}

/** Replaces CF and OF, as 0 or 1 on the stack (CF below), and keeps the other flags. */
function setCarryAndOverflow(e: Emitter): void {
	const code = e.code;
	code.i32(Math.log2(FLAG.OF));
	code.op(O.i32Shl);
	code.op(O.i32Or);
	pushFlags(e);
	code.i32(~(FLAG.CF | FLAG.OF));
	code.op(O.i32And);
	code.op(O.i32Or);
	code.op(O.i64ExtendI32U);
	code.set(e.ccSrc);
	e.op = CC.flags;
}

/** Pushes a 1- or 2-byte local rotated: its bits are there once, so both halves are made. */
function pushNarrowRotation(e: Emitter, value: number, by: Count, bytes: number, left: boolean): void {
	const code = e.code;
	const bits = bytes * 8;
	const turn = e.temp32();
	pushCount(e, by, bytes);
	code.i32(bits - 1);
	code.op(O.i32And);
	code.set(turn);
	code.get(value);
	code.get(turn);
	code.op(left ? O.i32Shl : O.i32ShrU);
	code.get(value);
	code.i32(bits);
	code.get(turn);
	code.op(O.i32Sub);
	code.op(left ? O.i32ShrU : O.i32Shl);
	code.op(O.i32Or);
	e.clean(bytes);
}

function rotate(left: boolean): Definition {
	return (e) => {
		const bytes = e.bytes(0);
		const code = e.code;
		const top = bytes * 8 - 1;
		const value = e.temp(bytes);
		const result = e.temp(bytes);
		const by = count(e, 1, bytes);
		const modification = e.beginModify(e.operand(0));
		code.set(value);
		if (bytes <= 2) pushNarrowRotation(e, value, by, bytes, left);
		else {
			code.get(value);
			pushCount(e, by, bytes);
			if (left) e.by(bytes, O.i64Rotl, O.i32Rotl);
			else e.by(bytes, O.i64Rotr, O.i32Rotr);
		}
		code.set(result);
		e.endModify(modification, result);
		whenCounted(e, by, bytes, () => {
			pushBit(e, result, bytes, left ? 0 : top);
			pushBit(e, result, bytes, top);
			pushBit(e, result, bytes, left ? 0 : top - 1);
			code.op(O.i32Xor);
			setCarryAndOverflow(e);
		});
	};
}

/** Pushes the count modulo bits + 1, which is what RCL and RCR of 1 and 2 bytes turn by, as i64. */
function pushTurn(e: Emitter, by: Count, bytes: number): void {
	pushCount(e, by, bytes);
	e.widen(bytes);
	if (bytes > 2) return;
	e.code.i64(bytes * 8 + 1);
	e.code.op(O.i64RemU);
}

/** RCL and RCR of up to 4 bytes: a rotation of CF and the operand as one number in an i64. */
function rotateThroughCarry(left: boolean): Definition {
	return (e) => {
		const bytes = e.bytes(0);
		if (bytes === 8) {
			rotateThroughCarry64(e, left);
			return;
		}
		const code = e.code;
		const bits = bytes * 8;
		const whole = e.temp64();
		const turn = e.temp64();
		const turned = e.temp64();
		const result = e.temp32();
		const by = count(e, 1, bytes);
		const modification = e.beginModify(e.operand(0));
		code.op(O.i64ExtendI32U);
		pushCarry(e);
		code.op(O.i64ExtendI32U);
		code.i64(bits);
		code.op(O.i64Shl);
		code.op(O.i64Or);
		code.set(whole);
		pushTurn(e, by, bytes);
		code.set(turn);
		code.get(whole);
		code.get(turn);
		code.op(left ? O.i64Shl : O.i64ShrU);
		code.get(whole);
		code.i64(bits + 1);
		code.get(turn);
		code.op(O.i64Sub);
		code.op(left ? O.i64ShrU : O.i64Shl);
		code.op(O.i64Or);
		code.tee(turned);
		e.narrow(bytes);
		code.set(result);
		e.endModify(modification, result);
		whenCounted(e, by, bytes, () => {
			pushBit(e, turned, 8, bits);
			pushBit(e, result, bytes, bits - 1);
			pushBit(e, left ? turned : result, left ? 8 : bytes, left ? bits : bits - 2);
			code.op(O.i32Xor);
			setCarryAndOverflow(e);
		});
	};
}

function rotateThroughCarry64(e: Emitter, left: boolean): void {
	const code = e.code;
	const value = e.temp64();
	const result = e.temp64();
	const carry = e.temp64();
	const by = count(e, 1, 8);
	const modification = e.beginModify(e.operand(0));
	code.set(value);
	pushCarry(e);
	code.op(O.i64ExtendI32U);
	code.set(carry);
	// value moved by n, CF at its edge, and what went round, one bit short.
	code.get(value);
	pushCount(e, by, 8);
	code.op(left ? O.i64Shl : O.i64ShrU);
	code.get(carry);
	if (left) pushCount(e, by, 8, -1);
	else {
		code.i64(64);
		pushCount(e, by, 8);
		code.op(O.i64Sub);
	}
	code.op(O.i64Shl);
	code.op(O.i64Or);
	code.get(value);
	code.i64(1);
	code.op(left ? O.i64ShrU : O.i64Shl);
	code.i64(64);
	pushCount(e, by, 8);
	code.op(O.i64Sub);
	code.op(left ? O.i64ShrU : O.i64Shl);
	code.op(O.i64Or);
	code.get(value);
	pushCount(e, by, 8);
	code.i64(0);
	code.op(O.i64Ne);
	code.op(O.select);
	code.set(result);
	e.endModify(modification, result);
	whenCounted(e, by, 8, () => {
		const out = e.temp64();
		code.get(value);
		if (left) {
			code.i64(64);
			pushCount(e, by, 8);
			code.op(O.i64Sub);
		} else pushCount(e, by, 8, -1);
		code.op(O.i64ShrU);
		code.set(out);
		pushBit(e, out, 8, 0);
		pushBit(e, result, 8, 63);
		pushBit(e, left ? out : result, 8, left ? 0 : 62);
		code.op(O.i32Xor);
		setCarryAndOverflow(e);
	});
}

/** SHLD and SHRD. A 16-bit count beyond 16 goes round into the destination again. */
function doubleShift(left: boolean): Definition {
	return (e) => {
		const bytes = e.bytes(0);
		const code = e.code;
		const top = bytes * 8 - 1;
		const value = e.temp(bytes);
		const source = e.temp(bytes);
		const result = e.temp(bytes);
		const by = count(e, 2, bytes);
		const modification = e.beginModify(e.operand(0));
		code.set(value);
		e.read(1);
		code.set(source);
		if (bytes === 8) pushDouble64(e, value, source, by, left);
		else pushDouble(e, value, source, by, bytes, left);
		code.set(result);
		e.endModify(modification, result);
		whenCounted(e, by, bytes, () => {
			const out = e.temp(bytes);
			code.get(value);
			if (left) {
				e.constant(bytes, bytes * 8);
				pushCount(e, by, bytes);
				e.by(bytes, O.i64Sub, O.i32Sub);
			} else pushCount(e, by, bytes, -1);
			e.by(bytes, O.i64ShrU, O.i32ShrU);
			code.set(out);
			pushBit(e, out, bytes, 0);
			pushBit(e, result, bytes, top);
			pushBit(e, value, bytes, top);
			code.op(O.i32Xor);
			setResult(e, bytes, result);
		});
	};
}

function pushDouble(
	e: Emitter,
	value: number,
	source: number,
	by: Count,
	bytes: number,
	left: boolean,
): void {
	const code = e.code;
	// Upper to lower: destination and source (32 bits); destination, source, destination (16 bits).
	const parts: [number, number][] =
		bytes === 4
			? left
				? [
						[value, 32],
						[source, 0],
					]
				: [
						[source, 32],
						[value, 0],
					]
			: [
					[value, 32],
					[source, 16],
					[value, 0],
				];
	for (const [at, [local, place]] of parts.entries()) {
		code.get(local);
		code.op(O.i64ExtendI32U);
		if (place > 0) {
			code.i64(place);
			code.op(O.i64Shl);
		}
		if (at > 0) code.op(O.i64Or);
	}
	pushCount(e, by, bytes);
	e.widen(bytes);
	code.op(left ? O.i64Shl : O.i64ShrU);
	if (left) {
		code.i64(32);
		code.op(O.i64ShrU);
	}
	e.narrow(bytes);
}

function pushDouble64(e: Emitter, value: number, source: number, by: Count, left: boolean): void {
	const code = e.code;
	code.get(value);
	pushCount(e, by, 8);
	code.op(left ? O.i64Shl : O.i64ShrU);
	code.get(source);
	code.i64(1);
	code.op(left ? O.i64ShrU : O.i64Shl);
	code.i64(63);
	pushCount(e, by, 8);
	code.op(O.i64Sub);
	code.op(left ? O.i64ShrU : O.i64Shl);
	code.op(O.i64Or);
}

/** Shifts and rotates, by mnemonic. */
// biome-ignore format: one row an instruction
export const SHIFT: ReadonlyMap<number, Definition> = new Map<number, Definition>([
	[M.Shl,  shift("shl")],
	[M.Sal,  shift("shl")],
	[M.Shr,  shift("shr")],
	[M.Sar,  shift("sar")],
	[M.Rol,  rotate(true)],
	[M.Ror,  rotate(false)],
	[M.Rcl,  rotateThroughCarry(true)],
	[M.Rcr,  rotateThroughCarry(false)],
	[M.Shld, doubleShift(true)],
	[M.Shrd, doubleShift(false)],
	[M.Shlx, shiftWithoutFlags("shl")],
	[M.Shrx, shiftWithoutFlags("shr")],
	[M.Sarx, shiftWithoutFlags("sar")],
	[M.Rorx, rorx],
]);
