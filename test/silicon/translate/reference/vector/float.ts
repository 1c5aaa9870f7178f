/** Floating-point instructions of the reference (SDM Vol. 2), on exact fractions. */
import { type Instruction, OpKind } from "iced-x86";
import { type Operation, type Reference, ReferenceFault } from "../state.ts";
import {
	type Control,
	controlOf,
	DOUBLE,
	E,
	type Format,
	infinityOf,
	invalid,
	isNaNValue,
	isZero,
	nanOf,
	noteDenormals,
	round,
	roundPower,
	SINGLE,
	signedAt,
	take,
	type Taken,
	zeroOf,
} from "./exact.ts";
import { bytesOf, immediate, isVex, join, putBytes, sourceNumbers, split } from "./lanes.ts";

const XM = 19;

/** An exception that is not masked, with the flags that MXCSR keeps of it. */
export class Unmasked extends ReferenceFault {}

/**
 * Ends an instruction: flags to MXCSR, or #XM with them. Those found before computation hide the others if one of them
 * is not masked.
 */
export function settle(r: Reference, c: Control): void {
	const before = c.flags & 7;
	if ((before & ~c.masks) !== 0) c.flags = before;
	r.mxcsr |= c.flags;
	if ((c.flags & ~c.masks) !== 0) throw new Unmasked(XM);
}

export type Lane = (c: Control, f: Format, a: bigint, b: bigint) => bigint;

export const add: Lane = (c, f, first, second) => sum(c, f, take(c, f, first), take(c, f, second));

function sum(c: Control, f: Format, a: Taken, b: Taken): bigint {
	const nan = nanOf(c, f, [a, b]);
	if (nan !== null) return nan;
	if (a.kind === "infinity" && b.kind === "infinity" && a.negative !== b.negative) return invalid(c, f);
	noteDenormals(c, [a, b]);
	if (a.kind === "infinity") return infinityOf(f, a.negative);
	if (b.kind === "infinity") return infinityOf(f, b.negative);
	if (isZero(a) && isZero(b) && a.negative === b.negative) return zeroOf(f, a.negative);
	const power = Math.min(a.power, b.power);
	const total = signedAt(a, power) + signedAt(b, power);
	if (total === 0n) return zeroOf(f, c.rounding === 1);
	return roundPower(c, f, total < 0n, total < 0n ? -total : total, power);
}

export const subtract: Lane = (c, f, first, second) => {
	const [a, b] = [take(c, f, first), take(c, f, second)];
	return sum(c, f, a, isNaNValue(b) ? b : { ...b, negative: !b.negative });
};

export const multiply: Lane = (c, f, first, second) => {
	const [a, b] = [take(c, f, first), take(c, f, second)];
	const nan = nanOf(c, f, [a, b]);
	if (nan !== null) return nan;
	const negative = a.negative !== b.negative;
	if (a.kind === "infinity" || b.kind === "infinity") {
		if (isZero(a) || isZero(b)) return invalid(c, f);
		noteDenormals(c, [a, b]);
		return infinityOf(f, negative);
	}
	noteDenormals(c, [a, b]);
	if (isZero(a) || isZero(b)) return zeroOf(f, negative);
	return roundPower(c, f, negative, a.magnitude * b.magnitude, a.power + b.power);
};

const divide: Lane = (c, f, first, second) => {
	const [a, b] = [take(c, f, first), take(c, f, second)];
	const nan = nanOf(c, f, [a, b]);
	if (nan !== null) return nan;
	const negative = a.negative !== b.negative;
	if ((isZero(a) && isZero(b)) || (a.kind === "infinity" && b.kind === "infinity")) return invalid(c, f);
	if (a.kind === "infinity") {
		noteDenormals(c, [b]);
		return infinityOf(f, negative);
	}
	// A division by 0 hides that the dividend is a denormal (11.5.2.3; so does an EPYC).
	if (isZero(b)) {
		c.flags |= E.zeroDivide;
		return infinityOf(f, negative);
	}
	noteDenormals(c, [a, b]);
	if (b.kind === "infinity" || isZero(a)) return zeroOf(f, negative);
	const power = a.power - b.power;
	return power >= 0
		? round(c, f, negative, a.magnitude << BigInt(power), b.magnitude)
		: round(c, f, negative, a.magnitude, b.magnitude << BigInt(-power));
};

/** The whole part of a square root. */
function wholeRoot(x: bigint): bigint {
	if (x < 2n) return x;
	let root = 1n << BigInt((x.toString(2).length + 1) >> 1);
	for (;;) {
		const next = (root + x / root) >> 1n;
		if (next >= root) return root;
		root = next;
	}
}

const squareRoot: Lane = (c, f, _, operand) => {
	const a = take(c, f, operand);
	const nan = nanOf(c, f, [a]);
	if (nan !== null) return nan;
	if (isZero(a)) return zeroOf(f, a.negative);
	if (a.negative) return invalid(c, f);
	if (a.kind === "infinity") return infinityOf(f, false);
	noteDenormals(c, [a]);
	// Many more bits than the format has, at an even power, and one more for what is left.
	const shift = 300 + (Math.abs(a.power) % 2);
	const square = a.magnitude << BigInt(shift);
	const root = wholeRoot(square);
	const sticky = root * root === square ? 0n : 1n;
	return roundPower(c, f, false, 2n * root + sticky, (a.power - shift) / 2 - 1);
};

/** The second operand, unless the first is less (or greater); with DAZ both as zeros. */
const select =
	(isGreater: boolean): Lane =>
	(c, f, first, second) => {
		const [a, b] = [take(c, f, first), take(c, f, second)];
		const cleared = (x: Taken) => (isZero(x) ? zeroOf(f, x.negative) : x.bits);
		if (isNaNValue(a) || isNaNValue(b)) {
			c.flags |= E.invalid;
			return cleared(b);
		}
		noteDenormals(c, [a, b]);
		const order = compare(a, b);
		return cleared((isGreater ? order > 0 : order < 0) ? a : b);
	};

/** Order of two numbers: -1, 0, 1. */
function compare(a: Taken, b: Taken): number {
	const rank = (x: Taken) => (x.kind === "infinity" ? (x.negative ? -1 : 1) : 0);
	if (rank(a) !== rank(b)) return rank(a) < rank(b) ? -1 : 1;
	if (rank(a) !== 0) return 0;
	const power = Math.min(a.power, b.power);
	const [x, y] = [signedAt(a, power), signedAt(b, power)];
	return x < y ? -1 : x > y ? 1 : 0;
}

/** Compares with flags. @returns -1, 0, 1, or 2 for unordered */
export function order(c: Control, f: Format, first: bigint, second: bigint, quiet: boolean): number {
	const [a, b] = [take(c, f, first), take(c, f, second)];
	if (isNaNValue(a) || isNaNValue(b)) {
		if (!quiet || a.kind === "signaling" || b.kind === "signaling") c.flags |= E.invalid;
		return 2;
	}
	noteDenormals(c, [a, b]);
	return compare(a, b);
}

// SDM Vol. 2, CMPPD, table 3-1: greater, less, equal, unordered, and whether a quiet NaN signals.
// biome-ignore format: one row a predicate
const PREDICATES = [
	"--E- q", "-L-- s", "-LE- s", "---U q", "GL-U q", "G-EU s", "G--U s", "GLE- q",
	"--EU q", "-L-U s", "-LEU s", "---- q", "GL-- q", "G-E- s", "G--- s", "GLEU q",
	"--E- s", "-L-- q", "-LE- q", "---U s", "GL-U s", "G-EU q", "G--U q", "GLE- s",
	"--EU s", "-L-U q", "-LEU q", "---- s", "GL-- s", "G-E- q", "G--- q", "GLEU s",
];

const compareLane: (predicate: number) => Lane = (predicate) => (c, f, a, b) => {
	const row = PREDICATES[predicate]!;
	const letter = { [-1]: "L", 0: "E", 1: "G", 2: "U" }[order(c, f, a, b, row.endsWith("q"))]!;
	return row.slice(0, 4).includes(letter) ? (1n << BigInt(f.bits)) - 1n : 0n;
};

// ---- instructions ----------------------------------------------------------------------------------

/** All lanes of both sources. */
function packed(f: Format, lane: Lane | ((i: Instruction) => Lane), byInstruction = false): Operation {
	return (r, i) => {
		const c = controlOf(r.mxcsr);
		const operation = byInstruction ? (lane as (i: Instruction) => Lane)(i) : (lane as Lane);
		const [x, y] = operandLanes(r, i, f);
		const out = x.map((a, at) => operation(c, f, a, y[at]!));
		settle(r, c);
		putBytes(r, i, 0, join(out, f.bits / 8));
	};
}

function operandLanes(r: Reference, i: Instruction, f: Format): [bigint[], bigint[]] {
	const operands = i.opKind(i.opCount - 1) === OpKind.Immediate8 ? i.opCount - 1 : i.opCount;
	const second = split(bytesOf(r, i, operands - 1), f.bits / 8);
	// Square roots have one operand, which stands as the second.
	const first = operands === 2 && isVex(i) ? second : split(bytesOf(r, i, sourceNumbers(i)[0]), f.bits / 8);
	return [first, second];
}

/** The lowest lane, below the rest of the first source. */
function scalar(f: Format, lane: Lane | ((i: Instruction) => Lane), byInstruction = false): Operation {
	return (r, i) => {
		const c = controlOf(r.mxcsr);
		const operation = byInstruction ? (lane as (i: Instruction) => Lane)(i) : (lane as Lane);
		const [first, second] = sourceNumbers(i);
		const b = split(bytesOf(r, i, second), f.bits / 8)[0]!;
		const lanes = split(bytesOf(r, i, first), f.bits / 8);
		lanes[0] = operation(c, f, lanes[0]!, b);
		settle(r, c);
		putBytes(r, i, 0, join(lanes, f.bits / 8));
	};
}

const horizontal =
	(f: Format, lane: Lane): Operation =>
	(r, i) => {
		const c = controlOf(r.mxcsr);
		const [x, y] = operandLanes(r, i, f);
		const inHalf = 128 / f.bits;
		const out: bigint[] = [];
		for (let half = 0; half < x.length; half += inHalf) {
			for (const from of [x, y]) {
				for (let at = half; at < half + inHalf; at += 2) out.push(lane(c, f, from[at]!, from[at + 1]!));
			}
		}
		settle(r, c);
		putBytes(r, i, 0, join(out, f.bits / 8));
	};

const addSubtract =
	(f: Format): Operation =>
	(r, i) => {
		const c = controlOf(r.mxcsr);
		const [x, y] = operandLanes(r, i, f);
		const out = x.map((a, at) => (at % 2 === 0 ? subtract : add)(c, f, a, y[at]!));
		settle(r, c);
		putBytes(r, i, 0, join(out, f.bits / 8));
	};

/** DPPS and DPPD: products, then sums of neighbours down to one in each half, each settled before the next. */
const dot =
	(f: Format): Operation =>
	(r, i) => {
		const [x, y] = operandLanes(r, i, f);
		const control = immediate(i);
		const inHalf = 128 / f.bits;
		let c = controlOf(r.mxcsr);
		let terms = x.map((value, at) =>
			(control >> (4 + (at % inHalf))) & 1 ? multiply(c, f, value, y[at]!) : 0n,
		);
		settle(r, c);
		for (let left = inHalf; left > 1; left /= 2) {
			c = controlOf(r.mxcsr);
			terms = terms.flatMap((term, at) => (at % 2 === 0 ? [add(c, f, term, terms[at + 1]!)] : []));
			settle(r, c);
		}
		const out = x.map((_, at) => ((control >> (at % inHalf)) & 1 ? terms[Math.floor(at / inHalf)]! : 0n));
		putBytes(r, i, 0, join(out, f.bits / 8));
	};

const toFlags =
	(f: Format, quiet: boolean): Operation =>
	(r, i) => {
		const c = controlOf(r.mxcsr);
		const b = split(bytesOf(r, i, 1), f.bits / 8)[0]!;
		const result = order(c, f, split(bytesOf(r, i, 0), f.bits / 8)[0]!, b, quiet);
		settle(r, c);
		r.set({ ZF: result === 0 || result === 2, PF: result === 2, CF: result === 2 || result === -1 });
		r.set({ OF: 0, SF: 0, AF: 0 });
	};

/** Fused: the exact product and sum, rounded once. NaNs in the order of the factors, then the addend. */
function fuse(
	c: Control,
	f: Format,
	operands: readonly bigint[],
	negateProduct: boolean,
	negateAddend: boolean,
): bigint {
	const [a, b, d] = operands.map((bits) => take(c, f, bits)) as [Taken, Taken, Taken];
	const isInvalid = (a.kind === "infinity" && isZero(b)) || (b.kind === "infinity" && isZero(a));
	const nan = nanOf(c, f, [a, b, d]);
	if (nan !== null) return nan;
	if (isInvalid) return invalid(c, f);
	const product: Taken = {
		...a,
		kind: a.kind === "infinity" || b.kind === "infinity" ? "infinity" : "number",
		negative: (a.negative !== b.negative) !== negateProduct,
		magnitude: a.magnitude * b.magnitude,
		power: a.power + b.power,
		denormal: a.denormal || b.denormal,
	};
	return sum(c, f, product, { ...d, negative: d.negative !== negateAddend });
}

const ORDERS: Readonly<Record<string, readonly number[]>> = {
	132: [0, 2, 1],
	213: [1, 0, 2],
	231: [1, 2, 0],
};

function fused(
	f: Format,
	form: string,
	isScalar: boolean,
	negateProduct: boolean,
	negateAddend: (lane: number) => boolean,
): Operation {
	return (r, i) => {
		const c = controlOf(r.mxcsr);
		const third = split(bytesOf(r, i, 2), f.bits / 8);
		const vectors = [0, 1].map((at) => split(bytesOf(r, i, at), f.bits / 8)).concat([third]);
		const lanes = vectors[0]!.slice();
		for (let at = 0; at < (isScalar ? 1 : lanes.length); at++) {
			const operands = ORDERS[form]!.map((number) => vectors[number]![at]!);
			lanes[at] = fuse(c, f, operands, negateProduct, negateAddend(at));
		}
		settle(r, c);
		putBytes(r, i, 0, join(lanes, f.bits / 8));
	};
}

function fusedRows(): [string, Operation][] {
	const kinds: [string, boolean, (lane: number) => boolean][] = [
		["fmadd", false, () => false],
		["fmsub", false, () => true],
		["fnmadd", true, () => false],
		["fnmsub", true, () => true],
		["fmaddsub", false, (lane) => lane % 2 === 0],
		["fmsubadd", false, (lane) => lane % 2 === 1],
	];
	const rows: [string, Operation][] = [];
	for (const form of ["132", "213", "231"]) {
		for (const [name, negateProduct, negateAddend] of kinds) {
			for (const [suffix, f] of [
				["s", SINGLE],
				["d", DOUBLE],
			] as const) {
				rows.push([`${name}${form}p${suffix}`, fused(f, form, false, negateProduct, negateAddend)]);
				rows.push([`${name}${form}s${suffix}`, fused(f, form, true, negateProduct, negateAddend)]);
			}
		}
	}
	return rows;
}

const predicateOf = (i: Instruction) => compareLane(immediate(i) & (isVex(i) ? 31 : 7));
const both = (name: string, lane: Lane): (readonly [string, Operation])[] => [
	[`${name}ps`, packed(SINGLE, lane)],
	[`${name}pd`, packed(DOUBLE, lane)],
	[`${name}ss`, scalar(SINGLE, lane)],
	[`${name}sd`, scalar(DOUBLE, lane)],
];

/** By name. */
// biome-ignore format: one row an instruction
export const FLOAT: readonly (readonly [string, Operation])[] = [
	...both("add", add), ...both("sub", subtract), ...both("mul", multiply), ...both("div", divide),
	...both("sqrt", squareRoot), ...both("min", select(false)), ...both("max", select(true)),
	["haddps", horizontal(SINGLE, add)], ["haddpd", horizontal(DOUBLE, add)],
	["hsubps", horizontal(SINGLE, subtract)], ["hsubpd", horizontal(DOUBLE, subtract)],
	["addsubps", addSubtract(SINGLE)], ["addsubpd", addSubtract(DOUBLE)],
	["dpps", dot(SINGLE)], ["dppd", dot(DOUBLE)],
	["cmpps", packed(SINGLE, predicateOf, true)], ["cmppd", packed(DOUBLE, predicateOf, true)],
	["cmpss", scalar(SINGLE, predicateOf, true)], ["cmpsd", scalar(DOUBLE, predicateOf, true)],
	["comiss", toFlags(SINGLE, false)], ["ucomiss", toFlags(SINGLE, true)],
	["comisd", toFlags(DOUBLE, false)], ["ucomisd", toFlags(DOUBLE, true)],
	...fusedRows(),
];
