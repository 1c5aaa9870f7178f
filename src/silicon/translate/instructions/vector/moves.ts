/** Moves of whole vectors and of their parts (SDM Vol. 1, 5.5.1.1, 5.6.1.1, 5.6.3, 5.7.1 and 5.10.1). */
import { OPCODE as O } from "../../../wasm/builder.ts";
import { SIMD } from "../../../wasm/simd.ts";
import type { Emitter } from "../../emitter.ts";
import { placeOf } from "../../registers.ts";
import { loadVector, storeVector, type Vector } from "../../vector-memory.ts";
import type { Definition } from "../definition.ts";
import type { Row } from "./named.ts";
import {
	clearAbove,
	hasVex,
	isMemory,
	registerVector,
	source,
	vectorBytes,
	vectorIndex,
	writeHalves,
	writeLow,
	writeRegister,
	zeroExtendScalar,
} from "./operands.ts";

/** MOVAPS and its like. @param aligned the memory operand has to be, with VEX too */
function move(aligned: boolean): Definition {
	return (e) => {
		if (!isMemory(e, 0)) {
			writeRegister(e, vectorIndex(e, 0), source(e, 1, aligned));
			return;
		}
		const vector = source(e, 1);
		e.linearAddress();
		storeVector(e, vector, aligned);
	};
}

/** Pushes the low 4 or 8 bytes of a vector as an integer. */
export function pushScalar(e: Emitter, vector: number, bytes: number): void {
	e.code.get(vector);
	e.code.simdLane(bytes === 8 ? SIMD.i64x2ExtractLane : SIMD.i32x4ExtractLane, 0);
}

/** Stores a scalar of a vector register. @param lane of its size */
function storeScalar(e: Emitter, vector: number, bytes: number, lane: number): void {
	e.code.get(vector);
	e.code.simdLane(bytes === 8 ? SIMD.i64x2ExtractLane : SIMD.i32x4ExtractLane, lane);
	e.write(0);
}

const LOW_4_OF_SECOND = [16, 17, 18, 19, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
const LOW_8_OF_SECOND = [16, 17, 18, 19, 20, 21, 22, 23, 8, 9, 10, 11, 12, 13, 14, 15];

/** MOVSS and MOVSD: registers merge, a load clears what is above it. */
function moveScalar(bytes: number): Definition {
	return (e) => {
		const last = e.insn.operands.length - 1;
		if (isMemory(e, 0)) {
			storeScalar(e, e.xmmLocal(vectorIndex(e, 1)), bytes, 0);
		} else if (isMemory(e, last)) {
			e.read(last);
			zeroExtendScalar(e, bytes);
			writeLow(e);
		} else {
			e.code.get(e.xmmLocal(vectorIndex(e, last - 1)));
			e.code.get(e.xmmLocal(vectorIndex(e, last)));
			e.code.shuffle(bytes === 8 ? LOW_8_OF_SECOND : LOW_4_OF_SECOND);
			writeLow(e);
		}
	};
}

/** MOVD and MOVQ: between a vector register and a general-purpose register, memory, or another vector register. */
function moveInteger(e: Emitter): void {
	const [to, from] = [e.operand(0), e.operand(1)];
	const fromVector = from.kind === "register" && placeOf(from.register) === undefined;
	const toVector = to.kind === "register" && placeOf(to.register) === undefined;
	if (!toVector) {
		pushScalar(e, e.xmmLocal(vectorIndex(e, 1)), e.bytes(0));
		e.write(0);
		return;
	}
	if (fromVector) pushScalar(e, e.xmmLocal(vectorIndex(e, 1)), 8);
	else e.read(1);
	zeroExtendScalar(e, fromVector ? 8 : e.bytes(1));
	writeLow(e);
}

/** MOVLPS, MOVLPD, MOVHPS and MOVHPD: one half of a vector from or to memory. */
function moveHalf(lane: 0 | 1): Definition {
	return (e) => {
		if (isMemory(e, 0)) {
			storeScalar(e, e.xmmLocal(vectorIndex(e, 1)), 8, lane);
			return;
		}
		const value = e.temp64();
		e.read(e.insn.operands.length - 1);
		e.code.set(value);
		e.code.get(e.xmmLocal(vectorIndex(e, hasVex(e) ? 1 : 0)));
		e.code.get(value);
		e.code.simdLane(SIMD.i64x2ReplaceLane, lane);
		writeLow(e);
	};
}

/** MOVHLPS and MOVLHPS. @param lanes what is picked from the first and second source */
function moveBetweenHalves(lanes: readonly number[]): Definition {
	return (e) => {
		const [first, second] = hasVex(e) ? [1, 2] : [0, 1];
		e.code.get(e.xmmLocal(vectorIndex(e, first)));
		e.code.get(e.xmmLocal(vectorIndex(e, second)));
		e.code.shuffle(lanes);
		writeLow(e);
	};
}

const bytesFrom = (...quadwords: number[]) =>
	quadwords.flatMap((at) => Array.from({ length: 8 }, (_, byte) => at * 8 + byte));
const doublewords = (...picked: number[]) =>
	picked.flatMap((at) => Array.from({ length: 4 }, (_, byte) => at * 4 + byte));

/** MOVSLDUP and MOVSHDUP. */
function duplicate(lanes: readonly number[]): Definition {
	return (e) =>
		writeHalves(e, [source(e, 1)], (half) => {
			e.code.get(half!);
			e.code.get(half!);
			e.code.shuffle(lanes);
		});
}

/** MOVDDUP, whose memory operand has 8 bytes if the destination has 16. */
function movddup(e: Emitter): void {
	if (vectorBytes(e, 0) === 32) {
		duplicate(bytesFrom(0, 0))(e);
		return;
	}
	if (isMemory(e, 1)) e.read(1);
	else pushScalar(e, e.xmmLocal(vectorIndex(e, 1)), 8);
	e.code.simd(SIMD.i64x2Splat);
	writeLow(e);
}

/** MOVMSKPS, MOVMSKPD and PMOVMSKB: the sign bits of all lanes. @param lanes of 16 bytes */
function moveMask(opcode: number, lanes: number): Definition {
	return (e) => {
		const { code } = e;
		const vector = source(e, 1);
		code.get(vector.low);
		code.simd(opcode);
		if (vector.high >= 0) {
			code.get(vector.high);
			code.simd(opcode);
			code.i32(lanes);
			code.op(O.i32Shl);
			code.op(O.i32Or);
		}
		if (e.bytes(0) === 8) e.widen(4);
		e.write(0);
	};
}

/** VZEROUPPER and VZEROALL: of the registers that the mode has. */
function zeroRegisters(all: boolean): Definition {
	return (e) => {
		const count = e.mode.bitness === 64 ? 16 : 8;
		for (let index = 0; index < count; index++) {
			if (all) {
				e.code.v128(0n, 0n);
				e.setXmm(index);
			}
			clearAbove(e, index);
		}
	};
}

/** VBROADCASTF128 and VBROADCASTI128. */
function broadcast128(e: Emitter): void {
	e.linearAddress();
	const { low } = loadVector(e, 16, false);
	writeRegister(e, vectorIndex(e, 0), { low, high: low });
}

/** VINSERTF128 and VINSERTI128. */
function insert128(e: Emitter): void {
	const first = registerVector(e, vectorIndex(e, 1), 32);
	const upper = (immediateOf(e, 3) & 1) !== 0;
	// The destination may be a source.
	const part = e.tempVector();
	const other = e.tempVector();
	e.code.get(source(e, 2).low);
	e.code.set(part);
	e.code.get(upper ? first.low : first.high);
	e.code.set(other);
	writeRegister(e, vectorIndex(e, 0), upper ? { low: other, high: part } : { low: part, high: other });
}

/** VEXTRACTF128 and VEXTRACTI128. */
function extract128(e: Emitter): void {
	const from = registerVector(e, vectorIndex(e, 1), 32);
	const low = (immediateOf(e, 2) & 1) !== 0 ? from.high : from.low;
	const vector: Vector = { low, high: -1 };
	if (isMemory(e, 0)) {
		e.linearAddress();
		storeVector(e, vector, false);
	} else writeRegister(e, vectorIndex(e, 0), vector);
}

/** An immediate operand of 8 bits, unsigned. */
export function immediateOf(e: Emitter, at = e.insn.operands.length - 1): number {
	const operand = e.operand(at);
	if (operand.kind !== "immediate")
		throw new TypeError(`operand ${at} of code ${e.insn.code} is no immediate`);
	return Number(operand.value & 0xffn);
}

/** By name. */
// biome-ignore format: one row an instruction
export const MOVES: readonly Row[] = [
	["MOVAPS", move(true)],      ["MOVAPD", move(true)],
	["MOVDQA", move(true)],
	["MOVUPS", move(false)],     ["MOVUPD", move(false)],
	["MOVDQU", move(false)],     ["LDDQU", move(false)],
	["MOVNTPS", move(true)],     ["MOVNTPD", move(true)],
	["MOVNTDQ", move(true)],     ["MOVNTDQA", move(true)],
	["MOVSS", moveScalar(4)],    ["MOVSD", moveScalar(8)],
	["MOVD", moveInteger],       ["MOVQ", moveInteger],
	["MOVLPS", moveHalf(0)],     ["MOVLPD", moveHalf(0)],
	["MOVHPS", moveHalf(1)],     ["MOVHPD", moveHalf(1)],
	["MOVHLPS", moveBetweenHalves(bytesFrom(3, 1))],
	["MOVLHPS", moveBetweenHalves(bytesFrom(0, 2))],
	["MOVSLDUP", duplicate(doublewords(0, 0, 2, 2))],
	["MOVSHDUP", duplicate(doublewords(1, 1, 3, 3))],
	["MOVDDUP", movddup],
	["MOVMSKPS", moveMask(SIMD.i32x4Bitmask, 4)],
	["MOVMSKPD", moveMask(SIMD.i64x2Bitmask, 2)],
	["PMOVMSKB", moveMask(SIMD.i8x16Bitmask, 16)],
	["ZEROUPPER", zeroRegisters(false)],
	["ZEROALL", zeroRegisters(true)],
	["BROADCASTF128", broadcast128], ["BROADCASTI128", broadcast128],
	["INSERTF128", insert128],   ["INSERTI128", insert128],
	["EXTRACTF128", extract128], ["EXTRACTI128", extract128],
];
