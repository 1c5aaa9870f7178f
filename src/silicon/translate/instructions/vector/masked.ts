/** Moves of single elements by a mask, and gathers (SDM Vol. 1, 5.6.4, 5.13 and 5.14.3; Vol. 2C). */
import * as L from "../../../cpu/layout.ts";
import { OPCODE as O } from "../../../wasm/builder.ts";
import { SIMD as S } from "../../../wasm/simd.ts";
import { GATHER, HELPER } from "../../core.ts";
import type { Emitter } from "../../emitter.ts";
import { placeOf, vectorPlaceOf } from "../../registers.ts";
import {
	bytesOfVector,
	halves,
	leaveIfStatus,
	passVector,
	takeVector,
	tempVectorOf,
	type Vector,
} from "../../vector-memory.ts";
import type { Definition } from "../definition.ts";
import type { Row } from "./named.ts";
import { isMemory, registerVector, source, vectorBytes, vectorIndex, writeRegister } from "./operands.ts";

/** Lanes of a size in bytes: how a sign is spread over its lane. */
interface Signs {
	readonly bytes: 1 | 4 | 8;
	readonly shift: number;
}
const BYTES: Signs = { bytes: 1, shift: S.i8x16ShrS };
const DOUBLEWORDS: Signs = { bytes: 4, shift: S.i32x4ShrS };
const QUADWORDS: Signs = { bytes: 8, shift: S.i64x2ShrS };

/** Pushes a mask of the lanes whose sign is set. */
function pushMask(e: Emitter, { bytes, shift }: Signs, mask: number): void {
	e.code.get(mask);
	e.code.i32(bytes * 8 - 1);
	e.code.simd(shift);
}

/** From memory, where lanes whose mask is clear do not fault. Pops the linear address. */
function load(e: Emitter, signs: Signs, mask: Vector): void {
	const { code } = e;
	const bytes = bytesOfVector(mask);
	const result = tempVectorOf(e, bytes);
	const linear = e.temp64();
	const entry = e.temp32();
	code.set(linear);
	e.lookUp(L.TLB_READ, linear, entry, bytes);
	code.if();
	e.hostAddress(L.TLB_READ, linear, entry);
	code.set(entry);
	for (const [half, local] of halves(result).entries()) {
		code.get(entry);
		code.simdAccess(S.v128Load, half * 16);
		pushMask(e, signs, halves(mask)[half]!);
		code.simd(S.v128And);
		code.set(local);
	}
	code.else();
	passVector(e, mask, L.VECTOR_B);
	e.beginHelper(HELPER.maskedLoad, bytes | (signs.bytes << 16));
	code.get(linear);
	e.endHelper(1);
	leaveIfStatus(e);
	takeVector(e, result);
	code.end();
	writeRegister(e, vectorIndex(e, 0), result);
}

/** To memory. Pops the linear address. */
function store(e: Emitter, signs: Signs, mask: Vector, value: Vector): void {
	const { code } = e;
	const bytes = bytesOfVector(mask);
	const linear = e.temp64();
	const entry = e.temp32();
	code.set(linear);
	e.lookUp(L.TLB_WRITE, linear, entry, bytes);
	code.if();
	e.hostAddress(L.TLB_WRITE, linear, entry);
	code.set(entry);
	for (const [half, local] of halves(value).entries()) {
		code.get(entry);
		code.get(local);
		code.get(entry);
		code.simdAccess(S.v128Load, half * 16);
		pushMask(e, signs, halves(mask)[half]!);
		code.simd(S.v128Bitselect);
		code.simdAccess(S.v128Store, half * 16);
	}
	code.else();
	passVector(e, value, L.VECTOR_A);
	passVector(e, mask, L.VECTOR_B);
	e.beginHelper(HELPER.maskedStore, bytes | (signs.bytes << 16));
	code.get(linear);
	e.endHelper(1);
	code.op(O.i32WrapI64);
	e.endSlowStore(entry);
	code.end();
}

/** VMASKMOVPS, VPMASKMOVD and their like. */
function maskedMove(signs: Signs): Definition {
	return (e) => {
		const mask = registerVector(e, vectorIndex(e, 1), vectorBytes(e, 1));
		e.linearAddress(0, vectorBytes(e, 1), isMemory(e, 0));
		if (!isMemory(e, 0)) load(e, signs, mask);
		else store(e, signs, mask, registerVector(e, vectorIndex(e, 2), vectorBytes(e, 2)));
	};
}

/** MASKMOVDQU and MASKMOVQ: to where RDI points. */
function maskmov(e: Emitter): void {
	e.code.get(e.registerLocal(L.RDI));
	e.cutAddress(e.insn.addressBytes);
	e.addSegmentBase(e.insn.segment, e.bytes(1), true);
	const linear = e.temp64();
	e.code.set(linear);
	const [value, mask] = [source(e, 1), source(e, 2)];
	e.code.get(linear);
	store(e, BYTES, mask, value);
}

// ---- gathers ---------------------------------------------------------------------------------------

/** Pushes the offset of a gather's elements without their indices. */
function pushBaseOffset(e: Emitter): void {
	const base = placeOf(e.insn.base);
	e.code.i64(e.insn.displacement);
	if (base === undefined) return;
	e.code.get(e.registerLocal(base.index));
	e.code.op(O.i64Add);
}

/** VGATHERDPS and its like: index and lane of sizes in bytes. What was done before a fault stays. */
function gather(indexBytes: 4 | 8, laneBytes: 4 | 8): Definition {
	return (e) => {
		const { code, insn } = e;
		const [to, mask] = [vectorIndex(e, 0), vectorIndex(e, 2)];
		const bytes = vectorBytes(e, 0);
		const index = vectorPlaceOf(insn.index)!;
		const lanes = Math.min(bytes / laneBytes, index.bytes / indexBytes);
		passVector(e, registerVector(e, to, bytes), L.VECTOR_A);
		passVector(e, registerVector(e, index.index, index.bytes), L.VECTOR_B);
		passVector(e, registerVector(e, mask, bytes), L.VECTOR_C);
		code.get(0);
		code.i64(0);
		e.addSegmentBase(insn.segment, 1, false);
		code.access(O.i64Store, L.VECTOR_SEGMENT_BASE);
		const detail =
			(lanes << GATHER.lanes) |
			(laneBytes << GATHER.laneBytes) |
			(indexBytes << GATHER.indexBytes) |
			(insn.scale << GATHER.scale) |
			(insn.addressBytes << GATHER.addressBytes);
		e.beginHelper(HELPER.gather, detail);
		pushBaseOffset(e);
		e.endHelper(1);
		const result = tempVectorOf(e, bytes);
		const left = tempVectorOf(e, bytes);
		code.op(O.i32WrapI64);
		takeVector(e, result, L.VECTOR_A);
		takeVector(e, left, L.VECTOR_C);
		code.if();
		writeBack(e, to, result);
		writeBack(e, mask, left);
		e.leaveWithFault();
		code.end();
		// Lanes of 4 bytes and indices of 8 may be two only: what is above is cleared.
		if (lanes * laneBytes === 8) clearUpper(e, result.low);
		writeRegister(e, to, result);
		code.v128(0n, 0n);
		code.set(left.low);
		writeRegister(e, mask, { low: left.low, high: left.high < 0 ? -1 : left.low });
	};
}

/** Writes a register of which all but the changed elements stays. */
function writeBack(e: Emitter, index: number, vector: Vector): void {
	e.code.get(vector.low);
	e.setXmm(index);
	if (vector.high < 0) return;
	e.code.get(vector.high);
	e.setYmmHigh(index);
}

/** Clears the upper 8 bytes of a local. */
function clearUpper(e: Emitter, local: number): void {
	e.code.get(local);
	e.code.i64(0);
	e.code.simdLane(S.i64x2ReplaceLane, 1);
	e.code.set(local);
}

/** By name. */
// biome-ignore format: one row an instruction
export const MASKED: readonly Row[] = [
	["MASKMOVPS", maskedMove(DOUBLEWORDS)], ["MASKMOVPD", maskedMove(QUADWORDS)],
	["PMASKMOVD", maskedMove(DOUBLEWORDS)], ["PMASKMOVQ", maskedMove(QUADWORDS)],
	["MASKMOVDQU", maskmov],  ["MASKMOVQ", maskmov],
	["PGATHERDD", gather(4, 4)],  ["PGATHERDQ", gather(4, 8)],
	["PGATHERQD", gather(8, 4)],  ["PGATHERQQ", gather(8, 8)],
	["GATHERDPS", gather(4, 4)],  ["GATHERDPD", gather(4, 8)],
	["GATHERQPS", gather(8, 4)],  ["GATHERQPD", gather(8, 8)],
];
