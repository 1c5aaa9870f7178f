/** Floating-point comparison (SDM Vol. 1, 5.5.1.3 and 5.6.1.3): to masks, and to flags. */
import * as L from "../../../cpu/layout.ts";
import { CC } from "../../../cpu/rflags.ts";
import { OPCODE as O } from "../../../wasm/builder.ts";
import { SIMD as S } from "../../../wasm/simd.ts";
import type { Emitter } from "../../emitter.ts";
import { flagsMatter } from "../../flags.ts";
import { halves, tempVectorOf } from "../../vector-memory.ts";
import type { Definition } from "../definition.ts";
import { callScalarOperation, DOUBLE, type Lanes, lanesIn, pushNone, SINGLE } from "./float-lanes.ts";
import { immediateOf } from "./moves.ts";
import { elseExactly } from "./operations.ts";
import type { Row } from "./named.ts";
import { pushOrdered, pushUnordered, scalarSource, upperIndex } from "./packed-float.ts";
import { hasVex, isMemory, sources, vectorBytes, vectorIndex, writeLow, writeRegister } from "./operands.ts";

const NEVER = -1;
const ALWAYS = -2;

/** Opcodes of the predicates 0-15 for operands that are ordered, which is where 16-31 do the same. */
// biome-ignore format: SDM Vol. 2, CMPPD, table 3-1
const PREDICATES: readonly (readonly [number, number])[] = [
	[S.f32x4Eq, S.f64x2Eq], [S.f32x4Lt, S.f64x2Lt], [S.f32x4Le, S.f64x2Le], [NEVER, NEVER],
	[S.f32x4Ne, S.f64x2Ne], [S.f32x4Ge, S.f64x2Ge], [S.f32x4Gt, S.f64x2Gt], [ALWAYS, ALWAYS],
	[S.f32x4Eq, S.f64x2Eq], [S.f32x4Lt, S.f64x2Lt], [S.f32x4Le, S.f64x2Le], [NEVER, NEVER],
	[S.f32x4Ne, S.f64x2Ne], [S.f32x4Ge, S.f64x2Ge], [S.f32x4Gt, S.f64x2Gt], [ALWAYS, ALWAYS],
];

/** Pushes the mask of a predicate, from two vectors. */
function pushMask(e: Emitter, lanes: Lanes, predicate: number, a: number, b: number): void {
	const opcode = PREDICATES[predicate & 15]![lanes.bytes === 8 ? 1 : 0]!;
	if (opcode === NEVER) e.code.v128(0n, 0n);
	else if (opcode === ALWAYS) e.code.v128(-1n, -1n);
	else {
		e.code.get(a);
		e.code.get(b);
		e.code.simd(opcode);
	}
}

/** The predicate: three bits without VEX, five with it. */
function predicateOf(e: Emitter): number {
	return immediateOf(e) & (hasVex(e) ? 31 : 7);
}

function comparePacked(lanes: Lanes, name: string): Definition {
	return (e) => {
		const predicate = predicateOf(e);
		const from = sources(e);
		const parts = from.map(halves);
		const result = tempVectorOf(e, vectorBytes(e, 0));
		for (const [half, local] of halves(result).entries()) {
			pushMask(e, lanes, predicate, parts[0]![half]!, parts[1]![half]!);
			e.code.set(local);
		}
		pushNone(e, halves(result).length, (half) => pushUnordered(e, lanes, parts, half));
		elseExactly(e, name, from, lanesIn(result, lanes.bytes) | (predicate << 8), result);
		writeRegister(e, vectorIndex(e, 0), result);
	};
}

/** CMPSS and CMPSD: the mask of the lowest lanes, below the rest of the first source. */
function compareScalar(lanes: Lanes, name: string): Definition {
	return (e) => {
		const { code } = e;
		const predicate = predicateOf(e);
		const upper = e.xmmLocal(upperIndex(e));
		const second = e.tempVector();
		const at = hasVex(e) ? 2 : 1;
		if (isMemory(e, at)) {
			e.read(at);
			code.simd(lanes.bytes === 8 ? S.i64x2Splat : S.i32x4Splat);
		} else code.get(e.xmmLocal(vectorIndex(e, at)));
		code.set(second);
		const result = tempVectorOf(e, 16);
		pushMask(e, lanes, predicate, upper, second);
		code.set(result.low);
		// Only the lowest lane counts.
		const parts = [[upper], [second]];
		pushUnordered(e, lanes, parts, 0);
		code.simdLane(lanes.bytes === 8 ? S.i64x2ExtractLane : S.i32x4ExtractLane, 0);
		e.by(lanes.bytes, O.i64Eqz, O.i32Eqz);
		const from = [
			{ low: upper, high: -1 },
			{ low: second, high: -1 },
		];
		elseExactly(e, name, from, 1 | (predicate << 8), result);
		code.get(upper);
		code.get(result.low);
		code.simdLane(lanes.bytes === 8 ? S.i64x2ExtractLane : S.i32x4ExtractLane, 0);
		code.simdLane(lanes.bytes === 8 ? S.i64x2ReplaceLane : S.i32x4ReplaceLane, 0);
		writeLow(e);
	};
}

/** COMISS and UCOMISS, COMISD and UCOMISD: ZF, PF and CF. @param quiet quiet NaNs raise nothing */
function compareToFlags(lanes: Lanes, name: string, quiet: boolean): Definition {
	return (e) => {
		const { code } = e;
		const second = scalarSource(e, lanes, 1);
		const first = scalarSource(e, lanes, 0);
		const floats = [first, second];
		const flags = e.temp32();
		pushOrdered(e, lanes, floats);
		code.if();
		if (flagsMatter(e)) {
			for (const float of floats) code.get(float);
			e.by(lanes.bytes, O.f64Eq, O.f32Eq);
			code.i32(6);
			code.op(O.i32Shl);
			for (const float of floats) code.get(float);
			e.by(lanes.bytes, O.f64Lt, O.f32Lt);
			code.op(O.i32Or);
			code.set(flags);
		}
		code.else();
		callScalarOperation(e, lanes, name, floats, quiet ? 1 : 0);
		code.get(0);
		code.access(O.i32Load, L.VECTOR_RESULT);
		code.set(flags);
		code.end();
		if (!flagsMatter(e)) return;
		code.get(flags);
		code.op(O.i64ExtendI32U);
		code.set(e.ccSrc);
		e.op = CC.flags;
	};
}

/** By name. */
// biome-ignore format: one row an instruction
export const FLOAT_COMPARE: readonly Row[] = [
	["CMPPS", comparePacked(SINGLE, "cmpps")], ["CMPPD", comparePacked(DOUBLE, "cmppd")],
	["CMPSS", compareScalar(SINGLE, "cmpps")], ["CMPSD", compareScalar(DOUBLE, "cmppd")],
	["COMISS", compareToFlags(SINGLE, "comiss", false)], ["UCOMISS", compareToFlags(SINGLE, "comiss", true)],
	["COMISD", compareToFlags(DOUBLE, "comisd", false)], ["UCOMISD", compareToFlags(DOUBLE, "comisd", true)],
];
