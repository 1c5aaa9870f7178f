/**
 * Operands of vector instructions.
 *
 * An instruction without VEX leaves bits 255:128 of its destination alone; one with VEX.128 clears them. Definitions
 * serve both, and VEX.256, which does to each half what VEX.128 does to one unless it says otherwise. An MMX operand is taken
 * as the low half of a vector whose upper half is 0, and of a result its low half is kept; where that is not what the MMX form
 * does, mmx.ts has a definition of its own.
 */
import * as L from "../../../cpu/layout.ts";
import { OPCODE as O } from "../../../wasm/builder.ts";
import { SIMD } from "../../../wasm/simd.ts";
import { isVex } from "../../decode.ts";
import type { Emitter } from "../../emitter.ts";
import { mmxIndexOf, vectorPlaceOf } from "../../registers.ts";
import { loadVector, type Vector, type VectorBytes } from "../../vector-memory.ts";

/** Number of the XMM or YMM register that an operand is. */
export function vectorIndex(e: Emitter, at: number): number {
	const operand = e.operand(at);
	const place = operand.kind === "register" ? vectorPlaceOf(operand.register) : undefined;
	if (place === undefined) throw new TypeError(`operand ${at} of code ${e.insn.code} is no vector register`);
	return place.index;
}

/** Number of the MMX register that an operand is, or -1 if it is none. */
export function mmxIndex(e: Emitter, at: number): number {
	const operand = e.operand(at);
	return operand.kind === "register" ? mmxIndexOf(operand.register) : -1;
}

/** Where MM0 lies, which is the significand of the physical x87 register 0; the others are 16 bytes apart. */
const MM0 = L.XSTATE + 32;

/** Pops a vector into an MMX register: its low half; sign and exponent of the x87 register become ones. */
export function writeMmx(e: Emitter, index: number): void {
	const { code } = e;
	const at = MM0 + 16 * index;
	const vector = e.tempVector();
	code.set(vector);
	code.get(0);
	code.get(vector);
	code.simdLane(SIMD.i64x2ExtractLane, 0);
	code.access(O.i64Store, at);
	code.get(0);
	code.i32(0xffff);
	code.access(O.i32Store16, at + 8);
}

/** Pops an integer of 4 or 8 bytes, pushes a vector with it at the bottom and 0 above. */
export function zeroExtendScalar(e: Emitter, bytes: number): void {
	const value = e.temp(bytes);
	e.code.set(value);
	e.code.v128(0n, 0n);
	e.code.get(value);
	e.code.simdLane(bytes === 8 ? SIMD.i64x2ReplaceLane : SIMD.i32x4ReplaceLane, 0);
}

/** An MMX register, or memory of 4 or 8 bytes, as a vector. */
function mmxSource(e: Emitter, at: number): Vector {
	const { code } = e;
	const low = e.tempVector();
	const index = mmxIndex(e, at);
	if (index >= 0) {
		code.get(0);
		code.simdAccess(SIMD.v128Load64Zero, MM0 + 16 * index);
	} else {
		e.read(at);
		zeroExtendScalar(e, e.bytes(at));
	}
	code.set(low);
	return { low, high: -1 };
}

/** Whether an operand is memory. */
export function isMemory(e: Emitter, at: number): boolean {
	return e.operand(at).kind === "memory";
}

/** Whether the current instruction is encoded with VEX. */
export function hasVex(e: Emitter): boolean {
	return isVex(e.insn.code);
}

/** The vector in a register: its own locals, so it is not to be changed. */
export function registerVector(e: Emitter, index: number, bytes: VectorBytes): Vector {
	return { low: e.xmmLocal(index), high: bytes === 32 ? e.ymmHighLocal(index) : -1 };
}

/** Size of a vector operand. */
export function vectorBytes(e: Emitter, at: number): VectorBytes {
	return e.bytes(at) === 32 ? 32 : 16;
}

/**
 * A source of 16 or 32 bytes, or an MMX one: a register or memory.
 * @param aligned memory must be a multiple of its size, as it must without VEX unless an instruction says otherwise
 */
export function source(e: Emitter, at: number, aligned = !hasVex(e)): Vector {
	if (mmxIndex(e, at) >= 0 || e.bytes(at) < 16) return mmxSource(e, at);
	const bytes = vectorBytes(e, at);
	if (!isMemory(e, at)) return registerVector(e, vectorIndex(e, at), bytes);
	e.linearAddress();
	return loadVector(e, bytes, aligned);
}

/** The two sources of an instruction that has its destination as the first without VEX, and a third operand with it. */
export function sources(e: Emitter): [Vector, Vector] {
	if (!hasVex(e)) return [source(e, 0), source(e, 1)];
	return [source(e, 1), source(e, 2)];
}

/** Clears bits 255:128 of a register if the instruction is encoded with VEX. */
export function clearAbove(e: Emitter, index: number): void {
	if (!hasVex(e)) return;
	e.code.v128(0n, 0n);
	e.setYmmHigh(index);
}

/**
 * Writes the destination register, operand 0, half by half.
 * @param push pushes the result of a half from the locals of that half
 */
export function writeHalves(e: Emitter, from: readonly Vector[], push: (...locals: number[]) => void): void {
	if (mmxIndex(e, 0) >= 0) {
		push(...from.map(({ low }) => low));
		writeMmx(e, mmxIndex(e, 0));
		return;
	}
	const index = vectorIndex(e, 0);
	push(...from.map(({ low }) => low));
	e.setXmm(index);
	if (e.bytes(0) === 32) {
		push(...from.map(({ high }) => high));
		e.setYmmHigh(index);
	} else clearAbove(e, index);
}

/** Writes a vector to a register of its size. */
export function writeRegister(e: Emitter, index: number, vector: Vector): void {
	e.code.get(vector.low);
	e.setXmm(index);
	if (vector.high < 0) clearAbove(e, index);
	else {
		e.code.get(vector.high);
		e.setYmmHigh(index);
	}
}

/** Pops 16 bytes into the destination register, operand 0. */
export function writeLow(e: Emitter): void {
	const index = vectorIndex(e, 0);
	e.setXmm(index);
	clearAbove(e, index);
}
