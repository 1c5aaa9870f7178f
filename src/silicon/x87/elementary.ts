/**
 * Elementary functions of exact arguments to some 150 bits, for the transcendental instructions: series in fixed point whose
 * value multiplies the argument, so that results near 0 keep all their bits.
 */
import { bitLength, leadingExponent, type Value } from "../fpu/value.ts";

/** Fraction bits of fixed-point numbers. */
const P = 160;
const PB = BigInt(P);
const ONE = 1n << PB;

/** A number m × 2^e; m has a sign. */
export interface Real {
	readonly m: bigint;
	readonly e: number;
}

/** Of a finite value. */
export function realOf({ negative, significand, exponent }: Value): Real {
	return { m: negative ? -significand : significand, e: exponent };
}

function fixed({ m, e }: Real, fractionBits = P): bigint {
	const shift = e + fractionBits;
	return shift >= 0 ? m << BigInt(shift) : m >> BigInt(-shift);
}

/** 2 × atanh(1 / n) in fixed point. */
function twiceAtanhOfInverse(n: bigint): bigint {
	let power = (2n * ONE) / n;
	let sum = power;
	for (let k = 3n; power > 0n; k += 2n) {
		power /= n * n;
		sum += power / k;
	}
	return sum;
}

/** ln 2 = 2 atanh(1/3), ln 10 = 3 ln 2 + 2 atanh(1/9). */
const LN2 = twiceAtanhOfInverse(3n);
const LN10 = 3n * LN2 + twiceAtanhOfInverse(9n);

/** atan(1 / n) in fixed point. */
function atanOfInverse(n: bigint): bigint {
	let power = ONE / n;
	let sum = power;
	for (let k = 3n; power !== 0n; k += 2n) {
		power = -power / (n * n);
		sum += power / k;
	}
	return sum;
}

/** Machin's formula. */
const PI = 4n * (4n * atanOfInverse(5n) - atanOfInverse(239n));

/** Constants as significand and exponent, for FLDPI and its kin. */
export const CONSTANTS = {
	one: { m: 1n, e: 0 },
	pi: { m: PI, e: -P },
	log2e: { m: (ONE * ONE) / LN2, e: -P },
	log2of10: { m: (LN10 * ONE) / LN2, e: -P },
	log10of2: { m: (LN2 * ONE) / LN10, e: -P },
	ln2: { m: LN2, e: -P },
} as const satisfies Record<string, Real>;

// ---- sine and cosine ---------------------------------------------------------------------------------

/**
 * π as the processors know it when they reduce an argument: 66 bits (SDM Vol. 1, 8.3.8; the same on AMD's, measured on Zen 4).
 * As a multiple of 2^-67 this is π/2.
 */
const HALF_PI = 0xc90fdaa22168c234cn;
const HALF_PI_EXPONENT = -67;

/** An argument less a multiple of π/2, and that multiple modulo 4. */
function reduced(x: Value): { r: Real; quadrant: number } {
	const { m, e } = realOf(x);
	if (leadingExponent(x) < -2) return { r: { m, e }, quadrant: 0 };
	const last = Math.min(e, HALF_PI_EXPONENT);
	const number = m << BigInt(e - last);
	const unit = HALF_PI << BigInt(HALF_PI_EXPONENT - last);
	// To the nearest multiple; BigInt division cuts.
	const doubled = 2n * number + (number < 0n ? -unit : unit);
	const multiple = doubled / (2n * unit);
	const quadrant = Number(BigInt.asUintN(2, multiple));
	return { r: { m: number - multiple * unit, e: last }, quadrant };
}

/** 1 - t/(a(a+1)) + t²/(a(a+1)(a+2)(a+3)) - …, kept below 1 as it is for t above 0. */
function alternating(t: bigint, first: bigint): bigint {
	let term = ONE;
	let sum = ONE;
	for (let k = first; term !== 0n; k += 2n) {
		term = (-(term * t) >> PB) / (k * (k + 1n));
		sum += term;
	}
	return sum === ONE ? ONE - 1n : sum;
}

/** Sine and cosine of a finite number below 2^63. */
export function sineAndCosine(x: Value): { sine: Real; cosine: Real } {
	const { r, quadrant } = reduced(x);
	const t = fixed({ m: r.m * r.m, e: 2 * r.e });
	const sine: Real = { m: r.m * alternating(t, 2n), e: r.e - P };
	const cosine: Real = { m: alternating(t, 1n), e: -P };
	const negative = ({ m, e }: Real): Real => ({ m: -m, e });
	switch (quadrant) {
		case 0:
			return { sine, cosine };
		case 1:
			return { sine: cosine, cosine: negative(sine) };
		case 2:
			return { sine: negative(sine), cosine: negative(cosine) };
		default:
			return { sine: negative(cosine), cosine: sine };
	}
}

/** a / b to some P bits. */
export function quotient(a: Real, b: Real): Real {
	const shift = P + Math.max(0, length(b.m) - length(a.m));
	return { m: (a.m << BigInt(shift)) / b.m, e: a.e - b.e - shift };
}

function length(m: bigint): number {
	return m === 0n ? 0 : bitLength(m < 0n ? -m : m);
}

// ---- exponential and logarithm -----------------------------------------------------------------------

/** 2^x - 1, for x of magnitude up to 1. */
export function exp2m1(x: Value): Real {
	const { m, e } = realOf(x);
	const y: Real = { m: m * LN2, e: e - P };
	const t = fixed(y);
	let term = ONE;
	let sum = ONE;
	for (let k = 2n; term !== 0n; k++) {
		term = (term * t) / (ONE * k);
		sum += term;
	}
	return { m: y.m * sum, e: y.e - P };
}

/** 2 atanh(z) / ln 2, for small z. */
function log2FromRatio(z: Real): Real {
	const square = fixed({ m: z.m * z.m, e: 2 * z.e });
	let power = ONE;
	let sum = ONE;
	for (let k = 3n; power !== 0n; k += 2n) {
		power = (power * square) >> PB;
		sum += power / k;
	}
	return { m: 2n * z.m * sum * CONSTANTS.log2e.m, e: z.e - 2 * P };
}

/** log2 of a positive number. */
export function log2(x: Value): Real {
	let { significand, exponent } = x;
	let scale = bitLength(significand) - 1;
	// 1 ≤ significand / 2^scale < 2; above 1.41 rather half of that.
	if (significand * significand > 2n << BigInt(2 * scale)) scale++;
	exponent += scale;
	const unit = 1n << BigInt(scale);
	if (significand === unit) return { m: BigInt(exponent), e: 0 };
	const part = log2FromRatio(quotient({ m: significand - unit, e: 0 }, { m: significand + unit, e: 0 }));
	return { m: part.m + (BigInt(exponent) << BigInt(-part.e)), e: part.e };
}

/** log2(1 + x), for x of magnitude below 1 - √2/2. */
export function log2p1(x: Value): Real {
	const real = realOf(x);
	return log2FromRatio(quotient(real, { m: 2n * ONE + fixed(real), e: -P }));
}

// ---- arc tangent -------------------------------------------------------------------------------------

function squareRoot(of: bigint): bigint {
	let root = 1n << BigInt((bitLength(of) >> 1) + 1);
	for (;;) {
		const next = (root + of / root) >> 1n;
		if (next >= root) return root;
		root = next;
	}
}

/** atan(t) for t from 0 to 1. */
function arcTangent(t: Real): Real {
	let argument = t;
	let doublings = 0;
	while (fixed(argument) > ONE / 5n) {
		const f = fixed(argument);
		argument = { m: (f << PB) / (ONE + squareRoot(ONE * ONE + f * f)), e: -P };
		doublings++;
	}
	const square = fixed({ m: argument.m * argument.m, e: 2 * argument.e });
	let power = ONE;
	let sum = ONE;
	for (let k = 3n; power !== 0n; k += 2n) {
		power = -(power * square) >> PB;
		if (power === -1n) break;
		sum += power / k;
	}
	return { m: argument.m * (sum === ONE ? ONE - 1n : sum), e: argument.e - P + doublings };
}

/** The angle of the point (x, y), both finite and not 0, from -π to π. */
export function angle(y: Value, x: Value): Real {
	const a: Real = { m: y.significand, e: y.exponent };
	const b: Real = { m: x.significand, e: x.exponent };
	const steep = isLess(b, a);
	let result = arcTangent(steep ? quotient(b, a) : quotient(a, b));
	if (steep) result = minus({ m: PI, e: -P - 1 }, result);
	if (x.negative) result = minus(CONSTANTS.pi, result);
	return { m: y.negative ? -result.m : result.m, e: result.e };
}

function isLess(a: Real, b: Real): boolean {
	const [tops, topOf] = [length(a.m) + a.e, length(b.m) + b.e];
	if (tops !== topOf) return tops < topOf;
	const last = Math.min(a.e, b.e);
	return a.m << BigInt(a.e - last) < b.m << BigInt(b.e - last);
}

/** a - b, where what lies far below a's last bit is lost. */
function minus(a: Real, b: Real): Real {
	return { m: (a.m << PB) - fixed(b, P - a.e), e: a.e - P };
}
