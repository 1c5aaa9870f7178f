/** Code for the lazy flags: what an instruction leaves behind, and what a condition makes of it. */
import { CC, FLAG } from "../cpu/rflags.ts";
import { OPCODE as O } from "../wasm/builder.ts";
import { HELPER } from "./core.ts";
import type { Emitter } from "./emitter.ts";

/** iced-x86 RflagsBits. */
export const BITS = { OF: 1, SF: 2, ZF: 4, AF: 8, CF: 16, PF: 32 } as const;
/** The six arithmetic flags as RflagsBits. */
export const ALL_BITS = 63;

const LOG2: Readonly<Record<number, number>> = { 1: 0, 2: 1, 4: 2, 8: 3 };

/** CC_OP for a kind and an operand size in bytes. */
export function ccOp(kind: number, bytes: number): number {
	return kind === CC.flags || kind === CC.explicit ? kind : kind + LOG2[bytes]!;
}

/** Whether any flag that the current instruction writes is read later. */
export function flagsMatter(e: Emitter): boolean {
	return (e.live & (e.insn.flagsWritten | e.insn.flagsUndefined)) !== 0;
}

/** Pops a value into CC_DST, CC_SRC or CC_SRC2. */
function setWide(e: Emitter, local: number, bytes: number): void {
	e.widen(bytes);
	e.code.set(local);
}

/**
 * Leaves lazy flags.
 * @param kind of CC
 * @param bytes operand size
 * @param dst local for CC_DST, of that size
 * @param src local for CC_SRC, of that size, or -1 if the kind has none
 */
export function setFlags(e: Emitter, kind: number, bytes: number, dst: number, src = -1): void {
	e.code.get(dst);
	setWide(e, e.ccDst, bytes);
	if (src >= 0) {
		e.code.get(src);
		setWide(e, e.ccSrc, bytes);
	}
	e.op = ccOp(kind, bytes);
}

/** Pushes all six flags as i32, in their RFLAGS places. */
export function pushFlags(e: Emitter): void {
	const code = e.code;
	if (e.op === CC.flags) {
		code.get(e.ccSrc);
		code.op(O.i32WrapI64);
		return;
	}
	e.beginHelper(HELPER.flags, -1);
	code.get(e.ccDst);
	code.get(e.ccSrc);
	code.get(e.ccSrc2);
	e.endHelper(3);
	code.op(O.i32WrapI64);
}

function pushFlagBit(e: Emitter, flag: number): void {
	pushFlags(e);
	e.code.i32(Math.log2(flag));
	e.code.op(O.i32ShrU);
	e.code.i32(1);
	e.code.op(O.i32And);
}

/** Pushes a bit of CC_SRC as i32. */
function pushSourceBit(e: Emitter, flag: number): void {
	e.code.get(e.ccSrc);
	e.code.op(O.i32WrapI64);
	if (flag !== 1) {
		e.code.i32(Math.log2(flag));
		e.code.op(O.i32ShrU);
	}
	e.code.i32(1);
	e.code.op(O.i32And);
}

function pushNarrow(e: Emitter, local: number, bytes: number): void {
	e.code.get(local);
	if (bytes !== 8) e.code.op(O.i32WrapI64);
}

function pushSigned(e: Emitter, local: number, bytes: number): void {
	pushNarrow(e, local, bytes);
	e.signed(bytes);
}

/** Pushes the result that the lazy state is about, not cut to size. */
function pushResult(e: Emitter, kind: number, bytes: number): void {
	pushNarrow(e, e.ccDst, bytes);
	if (kind !== CC.sub) return;
	pushNarrow(e, e.ccSrc, bytes);
	e.by(bytes, O.i64Sub, O.i32Sub);
}

/** Pushes CF as 0 or 1. */
export function pushCarry(e: Emitter): void {
	const kind = e.op < 4 ? e.op : e.op & ~3;
	const bytes = 1 << (e.op & 3);
	const code = e.code;
	switch (kind) {
		case CC.sub:
		case CC.add:
			// Both are zero-extended in i64, so one compare serves all sizes.
			code.get(e.ccDst);
			code.get(e.ccSrc);
			code.op(O.i64LtU);
			break;
		case CC.logic:
			code.i32(0);
			break;
		case CC.inc:
		case CC.dec:
		case CC.result:
		case CC.flags:
			pushSourceBit(e, FLAG.CF);
			break;
		case CC.adc:
			// Carry in: the sum wrapped or came round to the operand itself.
			code.get(e.ccDst);
			code.get(e.ccSrc);
			code.op(O.i64LtU);
			code.get(e.ccDst);
			code.get(e.ccSrc);
			code.op(O.i64Eq);
			code.get(e.ccSrc2);
			code.op(O.i32WrapI64);
			code.op(O.i32And);
			code.op(O.i32Or);
			break;
		case CC.sbb: {
			// The left operand, cut to size, against the right one.
			const left = e.temp64();
			code.get(e.ccDst);
			code.get(e.ccSrc);
			code.op(O.i64Add);
			code.get(e.ccSrc2);
			code.op(O.i64Add);
			if (bytes !== 8) {
				code.i64(2 ** (bytes * 8) - 1);
				code.op(O.i64And);
			}
			code.tee(left);
			code.get(e.ccSrc);
			code.op(O.i64LtU);
			code.get(left);
			code.get(e.ccSrc);
			code.op(O.i64Eq);
			code.get(e.ccSrc2);
			code.op(O.i32WrapI64);
			code.op(O.i32And);
			code.op(O.i32Or);
			break;
		}
		default:
			pushFlagBit(e, FLAG.CF);
	}
}

function pushZero(e: Emitter): void {
	const kind = e.op & ~3;
	const bytes = 1 << (e.op & 3);
	if (e.op < 4) pushFlagBit(e, FLAG.ZF);
	else if (kind === CC.sub) {
		e.code.get(e.ccDst);
		e.code.get(e.ccSrc);
		e.code.op(O.i64Eq);
	} else {
		pushNarrow(e, e.ccDst, bytes);
		e.by(bytes, O.i64Eqz, O.i32Eqz);
	}
}

function pushSign(e: Emitter): void {
	const bytes = 1 << (e.op & 3);
	if (e.op < 4) {
		pushFlagBit(e, FLAG.SF);
		return;
	}
	pushResult(e, e.op & ~3, bytes);
	e.signed(bytes);
	e.constant(bytes, 0);
	e.by(bytes, O.i64LtS, O.i32LtS);
}

function pushOverflow(e: Emitter): void {
	const kind = e.op & ~3;
	const bytes = 1 << (e.op & 3);
	const code = e.code;
	if (e.op < 4) pushFlagBit(e, FLAG.OF);
	else if (kind === CC.logic) code.i32(0);
	else if (kind === CC.result) pushSourceBit(e, FLAG.OF);
	else if (kind === CC.inc || kind === CC.dec) {
		const least = 2n ** BigInt(bytes * 8 - 1);
		pushNarrow(e, e.ccDst, bytes);
		e.constant(bytes, kind === CC.inc ? least : least - 1n);
		e.by(bytes, O.i64Eq, O.i32Eq);
	} else pushFlagBit(e, FLAG.OF);
}

function pushParity(e: Emitter): void {
	const bytes = 1 << (e.op & 3);
	if (e.op < 4) {
		pushFlagBit(e, FLAG.PF);
		return;
	}
	const code = e.code;
	pushResult(e, e.op & ~3, bytes);
	if (bytes === 8) code.op(O.i32WrapI64);
	code.i32(0xff);
	code.op(O.i32And);
	code.op(O.i32Popcnt);
	code.i32(1);
	code.op(O.i32And);
	code.op(O.i32Eqz);
}

/** Pushes SF ≠ OF: less than, signed. @param orEqual or ZF */
function pushLess(e: Emitter, orEqual: boolean): void {
	const kind = e.op < 4 ? e.op : e.op & ~3;
	const bytes = 1 << (e.op & 3);
	const code = e.code;
	if (kind === CC.sub) {
		pushSigned(e, e.ccDst, bytes);
		pushSigned(e, e.ccSrc, bytes);
		if (orEqual) e.by(bytes, O.i64LeS, O.i32LeS);
		else e.by(bytes, O.i64LtS, O.i32LtS);
		return;
	}
	if (kind === CC.logic) {
		pushSigned(e, e.ccDst, bytes);
		e.constant(bytes, 0);
		if (orEqual) e.by(bytes, O.i64LeS, O.i32LeS);
		else e.by(bytes, O.i64LtS, O.i32LtS);
		return;
	}
	pushSign(e);
	pushOverflow(e);
	code.op(O.i32Xor);
	if (!orEqual) return;
	pushZero(e);
	code.op(O.i32Or);
}

function pushBelowOrEqual(e: Emitter): void {
	if (e.op >= 4 && (e.op & ~3) === CC.sub) {
		e.code.get(e.ccDst);
		e.code.get(e.ccSrc);
		e.code.op(O.i64LeU);
		return;
	}
	pushCarry(e);
	pushZero(e);
	e.code.op(O.i32Or);
}

/** Pushes whether a condition holds, as 0 or 1. @param condition its encoding, 0 (O) to 15 (G) */
export function pushCondition(e: Emitter, condition: number): void {
	switch (condition >> 1) {
		case 0:
			pushOverflow(e);
			break;
		case 1:
			pushCarry(e);
			break;
		case 2:
			pushZero(e);
			break;
		case 3:
			pushBelowOrEqual(e);
			break;
		case 4:
			pushSign(e);
			break;
		case 5:
			pushParity(e);
			break;
		case 6:
			pushLess(e, false);
			break;
		default:
			pushLess(e, true);
	}
	if ((condition & 1) !== 0) e.code.op(O.i32Eqz);
}
