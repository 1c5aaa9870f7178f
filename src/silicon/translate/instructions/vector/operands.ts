/**
 * Operands of vector instructions.
 *
 * An instruction without VEX leaves bits 255:128 of its destination alone; one with VEX.128 clears them. Definitions
 * serve both, and VEX.256, which does to each half what VEX.128 does to one unless it says otherwise.
 */
import { isVex } from "../../decode.ts";
import type { Emitter } from "../../emitter.ts";
import { vectorPlaceOf } from "../../registers.ts";
import { loadVector, type Vector, type VectorBytes } from "../../vector-memory.ts";

/** Number of the XMM or YMM register that an operand is. */
export function vectorIndex(e: Emitter, at: number): number {
	const operand = e.operand(at);
	const place = operand.kind === "register" ? vectorPlaceOf(operand.register) : undefined;
	if (place === undefined) throw new TypeError(`operand ${at} of code ${e.insn.code} is no vector register`);
	return place.index;
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
 * A source of 16 or 32 bytes: a register or memory.
 * @param aligned memory must be a multiple of its size, as it must without VEX unless an instruction says otherwise
 */
export function source(e: Emitter, at: number, aligned = !hasVex(e)): Vector {
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
