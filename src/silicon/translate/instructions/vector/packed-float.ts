/** Floating-point arithmetic: packed, scalar, horizontal, fused (SDM Vol. 1, 5.5.1.2, 5.6.1.2, 5.7.4, 5.7.5, 5.10.3, 5.15). */
import { OPCODE as O } from "../../../wasm/builder.ts";
import { SIMD as S } from "../../../wasm/simd.ts";
import type { Emitter } from "../../emitter.ts";
import { halves, tempVectorOf, type Vector } from "../../vector-memory.ts";
import type { Definition } from "../definition.ts";
import {
	DOUBLE,
	elseExactlyScalar,
	type Lanes,
	lanesIn,
	pushDenormal,
	pushFastMxcsr,
	pushFinite,
	pushInRange,
	pushLowest,
	pushNaN,
	pushNone,
	pushNotDenormal,
	pushNotFinite,
	pushNumber,
	pushOutOfRange,
	pushZero,
	SINGLE,
	tempFloat,
} from "./float-lanes.ts";
import { immediateOf } from "./moves.ts";
import { byOperation, elseExactly } from "./operations.ts";
import type { Row } from "./named.ts";
import { byteLanes } from "./shuffle.ts";
import {
	hasVex,
	isMemory,
	source,
	sources,
	vectorBytes,
	vectorIndex,
	writeLow,
	writeRegister,
} from "./operands.ts";

/** What has to be looked at besides the operands. */
interface Arithmetic {
	/** Name in simd/, without "ps" or "pd". */
	readonly name: string;
	/** Opcodes: packed and scalar, of single and of double precision. */
	readonly packed: readonly [number, number];
	readonly scalar: readonly [number, number];
	/** Operands (0, 1) that make a result of 0 exact. undefined: a sum, whose small results are exact anyway. */
	readonly zeros?: readonly number[];
	/** One operand only. */
	readonly isUnary?: boolean;
}

// biome-ignore format: one row an operation
const ADD: Arithmetic = { name: "add", packed: [S.f32x4Add, S.f64x2Add], scalar: [O.f32Add, O.f64Add] };
const SUBTRACT: Arithmetic = { name: "sub", packed: [S.f32x4Sub, S.f64x2Sub], scalar: [O.f32Sub, O.f64Sub] };
const MULTIPLY: Arithmetic = {
	name: "mul",
	packed: [S.f32x4Mul, S.f64x2Mul],
	scalar: [O.f32Mul, O.f64Mul],
	zeros: [0, 1],
};
const DIVIDE: Arithmetic = {
	name: "div",
	packed: [S.f32x4Div, S.f64x2Div],
	scalar: [O.f32Div, O.f64Div],
	zeros: [0],
};
/** Roots are never tiny. */
const ROOT: Arithmetic = {
	name: "sqrt",
	packed: [S.f32x4Sqrt, S.f64x2Sqrt],
	scalar: [O.f32Sqrt, O.f64Sqrt],
	isUnary: true,
};

const suffix = (lanes: Lanes) => (lanes.bytes === 8 ? "pd" : "ps");
const choice = (lanes: Lanes) => (lanes.bytes === 8 ? 1 : 0);

/** Computes packed lanes of vectors into a new one. */
function compute(
	e: Emitter,
	lanes: Lanes,
	{ name, packed, zeros }: Arithmetic,
	from: readonly Vector[],
): Vector {
	const { code } = e;
	const bytes = from[0]!.high < 0 ? 16 : 32;
	const result = tempVectorOf(e, bytes);
	const parts = from.map(halves);
	for (const [half, local] of halves(result).entries()) {
		for (const part of parts) code.get(part[half]!);
		code.simd(packed[choice(lanes)]!);
		code.set(local);
	}
	pushFastMxcsr(e);
	pushNone(e, halves(result).length, (half) => {
		const local = halves(result)[half]!;
		if (zeros === undefined) pushNotFinite(e, lanes, local);
		else {
			pushOutOfRange(
				e,
				lanes,
				local,
				zeros.map((at) => parts[at]![half]!),
			);
		}
		for (const part of parts) {
			pushDenormal(e, lanes, part[half]!);
			code.simd(S.v128Or);
		}
	});
	code.op(O.i32And);
	elseExactly(e, name + suffix(lanes), from, lanesIn(result, lanes.bytes), result);
	return result;
}

function packed(lanes: Lanes, operation: Arithmetic): Definition {
	return (e) => {
		const from = operation.isUnary ? [source(e, 1)] : sources(e);
		writeRegister(e, vectorIndex(e, 0), compute(e, lanes, operation, from));
	};
}

// ---- scalars ---------------------------------------------------------------------------------------

/** Index of the register whose upper part a scalar operation passes on: the destination, or with VEX the first source. */
export function upperIndex(e: Emitter): number {
	return vectorIndex(e, hasVex(e) ? 1 : 0);
}

/** Reads a scalar operand into a floating-point local. */
export function scalarSource(e: Emitter, lanes: Lanes, at: number): number {
	const float = tempFloat(e, lanes);
	if (isMemory(e, at)) {
		e.read(at);
		e.code.op(lanes.promote);
	} else pushLowest(e, lanes, e.xmmLocal(vectorIndex(e, at)));
	e.code.set(float);
	return float;
}

/** Writes a scalar below the upper part of a register. */
export function writeScalar(e: Emitter, lanes: Lanes, upper: number, float: number): void {
	e.code.get(e.xmmLocal(upper));
	e.code.get(float);
	e.code.simdLane(lanes.replace, 0);
	writeLow(e);
}

/** Both scalars of an operation: the first from the register that passes its upper part on. */
function scalarSources(e: Emitter, lanes: Lanes): [number, number] {
	const second = scalarSource(e, lanes, hasVex(e) ? 2 : 1);
	const first = tempFloat(e, lanes);
	pushLowest(e, lanes, e.xmmLocal(upperIndex(e)));
	e.code.set(first);
	return [first, second];
}

function scalar(lanes: Lanes, { name, scalar: opcodes, zeros, isUnary }: Arithmetic): Definition {
	return (e) => {
		const { code } = e;
		const floats = isUnary ? [scalarSource(e, lanes, hasVex(e) ? 2 : 1)] : scalarSources(e, lanes);
		const result = tempFloat(e, lanes);
		for (const float of floats) code.get(float);
		code.op(opcodes[choice(lanes)]!);
		code.set(result);
		pushFastMxcsr(e);
		if (zeros === undefined) pushFinite(e, lanes, result);
		else {
			pushInRange(e, lanes, result);
			// Or an exact 0.
			pushZero(e, lanes, result);
			for (const [at, zero] of zeros.entries()) {
				pushZero(e, lanes, floats[zero]!);
				if (at > 0) code.op(O.i32Or);
			}
			code.op(O.i32And);
			code.op(O.i32Or);
		}
		code.op(O.i32And);
		for (const float of floats) {
			pushNotDenormal(e, lanes, float);
			code.op(O.i32And);
		}
		elseExactlyScalar(e, lanes, name + suffix(lanes), floats, 1, result);
		writeScalar(e, lanes, upperIndex(e), result);
	};
}

// ---- minima and maxima -----------------------------------------------------------------------------

/** Packed: the second operand if neither is less. Wasm's pseudo-minimum with its operands exchanged does just that. */
function packedSelect(lanes: Lanes, name: string, opcodes: readonly [number, number]): Definition {
	return (e) => {
		const { code } = e;
		const from = sources(e);
		const result = tempVectorOf(e, vectorBytes(e, 0));
		const parts = from.map(halves);
		for (const [half, local] of halves(result).entries()) {
			code.get(parts[1]![half]!);
			code.get(parts[0]![half]!);
			code.simd(opcodes[choice(lanes)]!);
			code.set(local);
		}
		pushNone(e, halves(result).length, (half) => pushUnordered(e, lanes, parts, half));
		elseExactly(e, name + suffix(lanes), from, lanesIn(result, lanes.bytes), result);
		writeRegister(e, vectorIndex(e, 0), result);
	};
}

/** Pushes a mask of the lanes in which an operand is a NaN or a denormal. */
export function pushUnordered(
	e: Emitter,
	lanes: Lanes,
	parts: readonly (readonly number[])[],
	half: number,
): void {
	for (const [at, part] of parts.entries()) {
		pushDenormal(e, lanes, part[half]!);
		pushNaN(e, lanes, part[half]!);
		e.code.simd(S.v128Or);
		if (at > 0) e.code.simd(S.v128Or);
	}
}

/** Pushes whether no scalar is a NaN or a denormal. */
export function pushOrdered(e: Emitter, lanes: Lanes, floats: readonly number[]): void {
	for (const [at, float] of floats.entries()) {
		pushNotDenormal(e, lanes, float);
		pushNumber(e, lanes, float);
		e.code.op(O.i32And);
		if (at > 0) e.code.op(O.i32And);
	}
}

function scalarSelect(lanes: Lanes, name: string, opcodes: readonly [number, number]): Definition {
	return (e) => {
		const { code } = e;
		const floats = scalarSources(e, lanes);
		const result = tempFloat(e, lanes);
		for (const float of [...floats, ...floats]) code.get(float);
		code.op(opcodes[choice(lanes)]!);
		code.op(O.select);
		code.set(result);
		pushOrdered(e, lanes, floats);
		elseExactlyScalar(e, lanes, name + suffix(lanes), floats, 1, result);
		writeScalar(e, lanes, upperIndex(e), result);
	};
}

// ---- horizontal ------------------------------------------------------------------------------------

/** HADDPS and its like: the even lanes of both sources with the odd ones. */
function horizontal(lanes: Lanes, operation: Arithmetic): Definition {
	const { bytes } = lanes;
	const count = 16 / bytes;
	const pick = (odd: number) =>
		byteLanes(
			bytes,
			Array.from({ length: count }, (_, at) => at * 2 + odd),
		);
	return (e) => {
		const [a, b] = sources(e).map(halves);
		const from = [0, 1].map((odd) => {
			const vector = tempVectorOf(e, vectorBytes(e, 0));
			for (const [half, local] of halves(vector).entries()) {
				e.code.get(a![half]!);
				e.code.get(b![half]!);
				e.code.shuffle(pick(odd));
				e.code.set(local);
			}
			return vector;
		});
		writeRegister(e, vectorIndex(e, 0), compute(e, lanes, operation, from));
	};
}

/** ADDSUBPS and ADDSUBPD: differences in the even lanes, sums in the odd ones. */
function addSubtract(lanes: Lanes): Definition {
	return (e) => {
		const { code } = e;
		const from = sources(e);
		const result = tempVectorOf(e, vectorBytes(e, 0));
		const parts = from.map(halves);
		for (const [half, local] of halves(result).entries()) {
			code.get(parts[0]![half]!);
			code.get(parts[1]![half]!);
			if (lanes.bytes === 8) code.v128(1n << 63n, 0n);
			else code.v128(1n << 31n, 1n << 31n);
			code.simd(S.v128Xor);
			code.simd(ADD.packed[choice(lanes)]!);
			code.set(local);
		}
		pushFastMxcsr(e);
		pushNone(e, halves(result).length, (half) => {
			pushNotFinite(e, lanes, halves(result)[half]!);
			for (const part of parts) {
				pushDenormal(e, lanes, part[half]!);
				code.simd(S.v128Or);
			}
		});
		code.op(O.i32And);
		elseExactly(e, `addsub${suffix(lanes)}`, from, lanesIn(result, lanes.bytes), result);
		writeRegister(e, vectorIndex(e, 0), result);
	};
}

/** RCPSS and RSQRTSS. */
function approximateScalar(name: string): Definition {
	return (e) => {
		const float = scalarSource(e, SINGLE, hasVex(e) ? 2 : 1);
		const result = tempFloat(e, SINGLE);
		e.code.i32(0);
		elseExactlyScalar(e, SINGLE, name, [float], 1, result);
		writeScalar(e, SINGLE, upperIndex(e), result);
	};
}

// ---- fused -----------------------------------------------------------------------------------------

/** Operands (0-2) of the forms 132, 213, 231: two factors and the addend. */
const FORMS: readonly (readonly [string, readonly [number, number, number]])[] = [
	["132", [0, 2, 1]],
	["213", [1, 0, 2]],
	["231", [1, 2, 0]],
];

/** Names, with the bits of the operation's immediate above the number of lanes: see fmaps in simd/float.ts. */
const FUSED: readonly (readonly [string, number])[] = [
	["FMADD", 0],
	["FMSUB", 0x60],
	["FNMADD", 0x10],
	["FNMSUB", 0x70],
	["FMADDSUB", 0x20],
	["FMSUBADD", 0x40],
];

function packedFused(lanes: Lanes, signs: number, order: readonly number[]): Definition {
	return byOperation(
		`fma${suffix(lanes)}`,
		(e) => {
			const vectors = [source(e, 0), source(e, 1), source(e, 2)];
			return order.map((at) => vectors[at]!);
		},
		(_, result) => signs | lanesIn(result, lanes.bytes),
	);
}

function scalarFused(lanes: Lanes, signs: number, order: readonly number[]): Definition {
	return (e) => {
		const floats = [0, 1, 2].map((at) => scalarSource(e, lanes, at));
		const result = tempFloat(e, lanes);
		e.code.i32(0);
		elseExactlyScalar(
			e,
			lanes,
			`fma${suffix(lanes)}`,
			order.map((at) => floats[at]!),
			signs | 1,
			result,
		);
		writeScalar(e, lanes, vectorIndex(e, 0), result);
	};
}

function fusedRows(): Row[] {
	const rows: Row[] = [];
	for (const [form, order] of FORMS) {
		for (const [name, signs] of FUSED) {
			rows.push([`${name}${form}PS`, packedFused(SINGLE, signs, order)]);
			rows.push([`${name}${form}PD`, packedFused(DOUBLE, signs, order)]);
			if (name.length > 6) continue;
			rows.push([`${name}${form}SS`, scalarFused(SINGLE, signs, order)]);
			rows.push([`${name}${form}SD`, scalarFused(DOUBLE, signs, order)]);
		}
	}
	return rows;
}

/** By name. */
// biome-ignore format: one row an instruction
export const PACKED_FLOAT: readonly Row[] = [
	["ADDPS", packed(SINGLE, ADD)],       ["ADDPD", packed(DOUBLE, ADD)],
	["ADDSS", scalar(SINGLE, ADD)],       ["ADDSD", scalar(DOUBLE, ADD)],
	["SUBPS", packed(SINGLE, SUBTRACT)],  ["SUBPD", packed(DOUBLE, SUBTRACT)],
	["SUBSS", scalar(SINGLE, SUBTRACT)],  ["SUBSD", scalar(DOUBLE, SUBTRACT)],
	["MULPS", packed(SINGLE, MULTIPLY)],  ["MULPD", packed(DOUBLE, MULTIPLY)],
	["MULSS", scalar(SINGLE, MULTIPLY)],  ["MULSD", scalar(DOUBLE, MULTIPLY)],
	["DIVPS", packed(SINGLE, DIVIDE)],    ["DIVPD", packed(DOUBLE, DIVIDE)],
	["DIVSS", scalar(SINGLE, DIVIDE)],    ["DIVSD", scalar(DOUBLE, DIVIDE)],
	["SQRTPS", packed(SINGLE, ROOT)],     ["SQRTPD", packed(DOUBLE, ROOT)],
	["SQRTSS", scalar(SINGLE, ROOT)],     ["SQRTSD", scalar(DOUBLE, ROOT)],
	["MINPS", packedSelect(SINGLE, "min", [S.f32x4Pmin, S.f64x2Pmin])],
	["MINPD", packedSelect(DOUBLE, "min", [S.f32x4Pmin, S.f64x2Pmin])],
	["MINSS", scalarSelect(SINGLE, "min", [O.f32Lt, O.f64Lt])],
	["MINSD", scalarSelect(DOUBLE, "min", [O.f32Lt, O.f64Lt])],
	["MAXPS", packedSelect(SINGLE, "max", [S.f32x4Pmax, S.f64x2Pmax])],
	["MAXPD", packedSelect(DOUBLE, "max", [S.f32x4Pmax, S.f64x2Pmax])],
	["MAXSS", scalarSelect(SINGLE, "max", [O.f32Gt, O.f64Gt])],
	["MAXSD", scalarSelect(DOUBLE, "max", [O.f32Gt, O.f64Gt])],
	["HADDPS", horizontal(SINGLE, ADD)],      ["HADDPD", horizontal(DOUBLE, ADD)],
	["HSUBPS", horizontal(SINGLE, SUBTRACT)], ["HSUBPD", horizontal(DOUBLE, SUBTRACT)],
	["ADDSUBPS", addSubtract(SINGLE)],        ["ADDSUBPD", addSubtract(DOUBLE)],
	["DPPS", byOperation("dpps", sources, (e, result) => immediateOf(e) | (halves(result).length << 8))],
	["DPPD", byOperation("dppd", sources, (e) => immediateOf(e))],
	["RCPPS", byOperation("rcpps", (e) => [source(e, 1)], (_, result) => lanesIn(result, 4))],
	["RSQRTPS", byOperation("rsqrtps", (e) => [source(e, 1)], (_, result) => lanesIn(result, 4))],
	["RCPSS", approximateScalar("rcpps")],    ["RSQRTSS", approximateScalar("rsqrtps")],
	...fusedRows(),
];
