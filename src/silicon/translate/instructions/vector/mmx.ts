/**
 * MMX instructions, and the forms of SSE to SSSE3 with MMX registers (SDM Vol. 1, chapter 9; 5.5.2, 5.6.3, 5.8): what
 * surrounds each of them, and those that are not what the vector form does to the low half of its operands.
 */
import { CR0 } from "../../../cpu/control.ts";
import * as L from "../../../cpu/layout.ts";
import { OPCODE as O } from "../../../wasm/builder.ts";
import { SIMD as S } from "../../../wasm/simd.ts";
import type { Emitter } from "../../emitter.ts";
import type { Vector } from "../../vector-memory.ts";
import type { Definition } from "../definition.ts";
import { immediateOf } from "./moves.ts";
import { byMnemonic, type Row } from "./named.ts";
import {
	isMemory,
	mmxIndex,
	source,
	sources,
	vectorIndex,
	writeHalves,
	writeMmx,
	zeroExtendScalar,
} from "./operands.ts";
import { callOperation } from "./operations.ts";
import { pushHorizontal } from "./packed-integer.ts";
import { byteLanes } from "./shuffle.ts";

const FSW = L.XSTATE + 2;
const FTW = L.XSTATE + 4;
const FSW_SUMMARY = 1 << 7;
const FSW_TOP = 7 << 11;
const XINUSE_X87 = 1;

/** Leaves with #UD, #NM or #MF where CR0 or a pending x87 exception asks for one. */
function checkAvailable(e: Emitter): void {
	const { code } = e;
	code.get(0);
	code.access(O.i32Load, L.CR0);
	code.i32(CR0.EM | CR0.TS);
	code.op(O.i32And);
	code.get(0);
	code.access(O.i32Load16U, FSW);
	code.i32(FSW_SUMMARY);
	code.op(O.i32And);
	code.op(O.i32Or);
	code.if();
	callOperation(e, "mmx", [], 0);
	code.end();
}

/** TOP becomes 0, and no register is empty (SDM Vol. 1, 9.5.1). */
function makeValid(e: Emitter): void {
	const { code } = e;
	code.get(0);
	code.get(0);
	code.access(O.i32Load16U, FSW);
	code.i32(0xffff & ~FSW_TOP);
	code.op(O.i32And);
	code.access(O.i32Store16, FSW);
	code.get(0);
	code.i32(0xff);
	code.access(O.i32Store8, FTW);
	code.get(0);
	code.get(0);
	code.access(O.i32Load, L.XINUSE);
	code.i32(XINUSE_X87);
	code.op(O.i32Or);
	code.access(O.i32Store, L.XINUSE);
}

/**
 * An instruction with MMX operands: what all of them do around their own part. CVTPI2PS and CVTPI2PD from memory have none and
 * leave x87 alone (SDM Vol. 2A, CVTPI2PD; both on Zen 4).
 */
export function withMmx(definition: Definition): Definition {
	return (e) => {
		if (isMemory(e, 1) && mmxIndex(e, 0) < 0) {
			definition(e);
			return;
		}
		checkAvailable(e);
		definition(e);
		makeValid(e);
	};
}

// ---- moves -------------------------------------------------------------------------------------------

/** Pushes the low 4 or 8 bytes of a vector as an integer. */
function pushLow(e: Emitter, { low }: Vector, bytes: number): void {
	e.code.get(low);
	e.code.simdLane(bytes === 8 ? S.i64x2ExtractLane : S.i32x4ExtractLane, 0);
}

/** MOVD, MOVQ and MOVNTQ. */
function move(e: Emitter): void {
	if (mmxIndex(e, 0) < 0) {
		pushLow(e, source(e, 1), e.bytes(0));
		e.write(0);
	} else if (mmxIndex(e, 1) >= 0) {
		e.code.get(source(e, 1).low);
		writeMmx(e, mmxIndex(e, 0));
	} else {
		e.read(1);
		zeroExtendScalar(e, e.bytes(1));
		writeMmx(e, mmxIndex(e, 0));
	}
}

/** MOVQ2DQ: zero-extended into an XMM register. */
function toVector(e: Emitter): void {
	e.code.get(source(e, 1).low);
	e.setXmm(vectorIndex(e, 0));
}

/** MOVDQ2Q. */
function fromVector(e: Emitter): void {
	e.code.get(source(e, 1).low);
	writeMmx(e, mmxIndex(e, 0));
}

// ---- both operands side by side ----------------------------------------------------------------------

const LOW_HALVES = byteLanes(8, [0, 2]);

/** A result made of one vector that holds the first operand below the second, or with `reversed` above it. */
function joined(push: (e: Emitter, both: number) => void, reversed = false): Definition {
	return (e) =>
		writeHalves(e, sources(e), (a, b) => {
			const both = e.tempVector();
			e.code.get(reversed ? b! : a!);
			e.code.get(reversed ? a! : b!);
			e.code.shuffle(LOW_HALVES);
			e.code.set(both);
			push(e, both);
		});
}

/** PACKSSWB and its like. */
const pack = (opcode: number) =>
	joined((e, both) => {
		e.code.get(both);
		e.code.get(both);
		e.code.simd(opcode);
	});

/** PHADDW and its like. @param bytes of a lane */
const horizontal = (bytes: number, opcode: number) =>
	joined((e, both) => pushHorizontal(e, both, both, bytes, opcode));

/** PUNPCKHBW and its like: the upper lanes of both. @param bytes of a lane */
function unpackHigh(bytes: number): Definition {
	const count = 8 / bytes;
	const lanes = Array.from({ length: count }, (_, at) => count / 2 + (at >> 1) + (at % 2) * count);
	return joined((e, both) => {
		e.code.get(both);
		e.code.get(both);
		e.code.shuffle([...byteLanes(bytes, lanes), ...byteLanes(8, [0])]);
	});
}

/** PALIGNR: 8 bytes from within the first operand above the second, zeros behind them. */
const alignRight = joined((e, both) => {
	const count = Math.min(immediateOf(e), 16);
	e.code.get(both);
	e.code.v128(0n, 0n);
	e.code.shuffle(Array.from({ length: 16 }, (_, at) => Math.min(count + at, 16)));
}, true);

// ---- shuffles ----------------------------------------------------------------------------------------

/** PSHUFW. */
function shuffleWords(e: Emitter): void {
	const immediate = immediateOf(e);
	const lanes = [0, 2, 4, 6].map((shift) => (immediate >> shift) & 3);
	writeHalves(e, [source(e, 1)], (from) => {
		e.code.get(from!);
		e.code.get(from!);
		e.code.shuffle(byteLanes(2, [...lanes, 4, 5, 6, 7]));
	});
}

/** PSHUFB: an index with bit 7 set gives 0; bits 6:3 do not count. */
function shuffleBytes(e: Emitter): void {
	writeHalves(e, sources(e), (a, b) => {
		e.code.get(a!);
		e.code.get(b!);
		e.code.v128(0x8787_8787_8787_8787n, 0n);
		e.code.simd(S.v128And);
		e.code.simd(S.i8x16Swizzle);
	});
}

/** PINSRW. */
function insertWord(e: Emitter): void {
	const { code } = e;
	const value = e.temp32();
	e.read(1);
	if (e.bytes(1) === 8) code.op(O.i32WrapI64);
	code.set(value);
	writeHalves(e, [source(e, 0)], (into) => {
		code.get(into!);
		code.get(value);
		code.simdLane(S.i16x8ReplaceLane, immediateOf(e) & 3);
	});
}

/** PEXTRW. */
function extractWord(e: Emitter): void {
	e.code.get(source(e, 1).low);
	e.code.simdLane(S.i16x8ExtractLaneU, immediateOf(e) & 3);
	if (e.bytes(0) === 8) e.widen(4);
	e.write(0);
}

// ---- conversions -------------------------------------------------------------------------------------

/** CVTPI2PS: two integers to the low half of an XMM register. */
function integersToSingles(e: Emitter): void {
	const { code } = e;
	const index = vectorIndex(e, 0);
	const vector = source(e, 1);
	if (!isMemory(e, 1)) makeValid(e);
	callOperation(e, "cvtdq2ps", [vector], 2);
	code.get(0);
	code.simdAccess(S.v128Load, L.VECTOR_RESULT);
	code.get(e.xmmLocal(index));
	code.shuffle(byteLanes(8, [0, 3]));
	e.setXmm(index);
}

/** CVTPI2PD: exact. */
function integersToDoubles(e: Emitter): void {
	e.code.get(source(e, 1).low);
	e.code.simd(S.f64x2ConvertLowI32x4S);
	e.setXmm(vectorIndex(e, 0));
}

/** CVTPS2PI, CVTPD2PI and what truncates: two numbers to integers. x87's registers are MMX's even if it raises #XM (Zen 4). */
function toIntegers(operation: string): Definition {
	return (e) => {
		const vector = source(e, 1);
		makeValid(e);
		callOperation(e, operation, [vector], 2);
		e.code.get(0);
		e.code.simdAccess(S.v128Load64Zero, L.VECTOR_RESULT);
		writeMmx(e, mmxIndex(e, 0));
	};
}

/** The definitions of MMX forms that differ from the vector forms of their mnemonics, or have none. */
// biome-ignore format: one row an instruction
const ROWS: readonly Row[] = [
	["MOVD", move],                             ["MOVQ", move],
	["MOVNTQ", move],
	["MOVQ2DQ", toVector],                      ["MOVDQ2Q", fromVector],
	["PACKSSWB", pack(S.i8x16NarrowI16x8S)],    ["PACKUSWB", pack(S.i8x16NarrowI16x8U)],
	["PACKSSDW", pack(S.i16x8NarrowI32x4S)],
	["PUNPCKHBW", unpackHigh(1)],               ["PUNPCKHWD", unpackHigh(2)],
	["PUNPCKHDQ", unpackHigh(4)],
	["PHADDW", horizontal(2, S.i16x8Add)],      ["PHSUBW", horizontal(2, S.i16x8Sub)],
	["PHADDD", horizontal(4, S.i32x4Add)],      ["PHSUBD", horizontal(4, S.i32x4Sub)],
	["PHADDSW", horizontal(2, S.i16x8AddSatS)], ["PHSUBSW", horizontal(2, S.i16x8SubSatS)],
	["PALIGNR", alignRight],
	["PSHUFB", shuffleBytes],                   ["PSHUFW", shuffleWords],
	["PINSRW", insertWord],                     ["PEXTRW", extractWord],
	["CVTPI2PS", integersToSingles],            ["CVTPI2PD", integersToDoubles],
	["CVTPS2PI", toIntegers("cvtps2dq")],       ["CVTTPS2PI", toIntegers("cvttps2dq")],
	["CVTPD2PI", toIntegers("cvtpd2dq")],       ["CVTTPD2PI", toIntegers("cvttpd2dq")],
];

/** By mnemonic; for all others the vector form's definition does. */
export const MMX: ReadonlyMap<number, Definition> = new Map(byMnemonic(ROWS));
