/**
 * Floating point on fractions of whole numbers: slow, and evidently right. Written from SDM Vol. 1, 4.8, 4.9 and 11.5.
 */

/** Exception flags of MXCSR. */
export const E = {
	invalid: 1,
	denormal: 2,
	zeroDivide: 4,
	overflow: 8,
	underflow: 16,
	precision: 32,
} as const;

/** A format: bits of its significand with the integer bit, its largest exponent, its bits. */
export interface Format {
	readonly precision: number;
	readonly most: number;
	readonly bits: number;
}
export const HALF: Format = { precision: 11, most: 15, bits: 16 };
export const SINGLE: Format = { precision: 24, most: 127, bits: 32 };
export const DOUBLE: Format = { precision: 53, most: 1023, bits: 64 };

/** MXCSR's controls, and the flags raised so far. */
export interface Control {
	/** 0 nearest, 1 down, 2 up, 3 to zero. */
	rounding: number;
	masks: number;
	daz: boolean;
	ftz: boolean;
	flags: number;
}

export function controlOf(mxcsr: number): Control {
	return {
		rounding: (mxcsr >> 13) & 3,
		masks: (mxcsr >> 7) & 63,
		daz: (mxcsr & 0x40) !== 0,
		ftz: (mxcsr & 0x8000) !== 0,
		flags: 0,
	};
}

/** A number taken apart: magnitude × 2^power, or what is no finite number. */
export interface Taken {
	readonly kind: "number" | "infinity" | "quiet" | "signaling";
	readonly bits: bigint;
	readonly negative: boolean;
	readonly magnitude: bigint;
	readonly power: number;
	readonly denormal: boolean;
}

const fractionBits = (f: Format) => f.precision - 1;
const signBit = (f: Format) => 1n << BigInt(f.bits - 1);
const infinityBits = (f: Format) => BigInt(f.most * 2 + 1) << BigInt(fractionBits(f));
const quietBit = (f: Format) => 1n << BigInt(fractionBits(f) - 1);
export const defaultNaN = (f: Format) => signBit(f) | infinityBits(f) | quietBit(f);

/** Takes bits apart; DAZ has been applied if it is on. */
export function take(c: Control, f: Format, bits: bigint, ignoreDaz = false): Taken {
	const negative = (bits & signBit(f)) !== 0n;
	const fraction = bits & ((1n << BigInt(fractionBits(f))) - 1n);
	const field = Number((bits & ~signBit(f)) >> BigInt(fractionBits(f)));
	const rest = { bits, negative, magnitude: 0n, power: 0, denormal: false };
	if (field === f.most * 2 + 1) {
		if (fraction === 0n) return { ...rest, kind: "infinity" };
		return { ...rest, kind: (fraction & quietBit(f)) !== 0n ? "quiet" : "signaling" };
	}
	const power = Math.max(field, 1) - f.most - fractionBits(f);
	if (field !== 0)
		return { ...rest, kind: "number", magnitude: fraction | (1n << BigInt(fractionBits(f))), power };
	const denormal = fraction !== 0n && (!c.daz || ignoreDaz);
	return { ...rest, kind: "number", magnitude: denormal ? fraction : 0n, power, denormal };
}

export const isNaNValue = (x: Taken) => x.kind === "quiet" || x.kind === "signaling";
export const isZero = (x: Taken) => x.kind === "number" && x.magnitude === 0n;

/** The NaN that operands give, in their order: the first of them, made quiet. null if there is none */
export function nanOf(c: Control, f: Format, operands: readonly Taken[]): bigint | null {
	const first = operands.find(isNaNValue);
	if (first === undefined) return null;
	if (operands.some((x) => x.kind === "signaling")) c.flags |= E.invalid;
	return first.bits | quietBit(f);
}

export function invalid(c: Control, f: Format): bigint {
	c.flags |= E.invalid;
	return defaultNaN(f);
}

export function noteDenormals(c: Control, operands: readonly Taken[]): void {
	if (operands.some((x) => x.denormal)) c.flags |= E.denormal;
}

export const zeroOf = (f: Format, negative: boolean) => (negative ? signBit(f) : 0n);
export const infinityOf = (f: Format, negative: boolean) => zeroOf(f, negative) | infinityBits(f);

const length = (x: bigint) => x.toString(2).length;

/** Rounds a fraction to a whole number. @returns it, and whether anything was lost */
export function roundFraction(
	rounding: number,
	negative: boolean,
	top: bigint,
	bottom: bigint,
): [bigint, boolean] {
	const whole = top / bottom;
	const rest = top % bottom;
	if (rest === 0n) return [whole, false];
	const twice = 2n * rest;
	const up =
		rounding === 0
			? twice > bottom || (twice === bottom && whole % 2n === 1n)
			: rounding === 1
				? negative
				: rounding === 2
					? !negative
					: false;
	return [up ? whole + 1n : whole, true];
}

/** Rounds the number of magnitude top / bottom, above 0, to a format. */
export function round(c: Control, f: Format, negative: boolean, top: bigint, bottom: bigint): bigint {
	// The exponent of the leading bit.
	let exponent = length(top) - length(bottom);
	const below = exponent >= 0 ? top < bottom << BigInt(exponent) : top << BigInt(-exponent) < bottom;
	if (below) exponent--;
	const at = (last: number): [bigint, boolean] =>
		last >= 0
			? roundFraction(c.rounding, negative, top, bottom << BigInt(last))
			: roundFraction(c.rounding, negative, top << BigInt(-last), bottom);
	const least = 1 - f.most;
	// As if there were no smallest exponent: tiny is judged behind this rounding.
	const [free, freeInexact] = at(exponent - fractionBits(f));
	const freeExponent = length(free) > f.precision ? exponent + 1 : exponent;
	if (freeExponent > f.most) {
		c.flags |= E.overflow;
		if (freeInexact || (c.masks & E.overflow) !== 0) c.flags |= E.precision;
		const toInfinity = c.rounding === 0 || c.rounding === (negative ? 1 : 2);
		return toInfinity ? infinityOf(f, negative) : infinityOf(f, negative) - 1n;
	}
	if (freeExponent >= least) {
		if (freeInexact) c.flags |= E.precision;
		const significand = length(free) > f.precision ? free / 2n : free;
		const field = BigInt(freeExponent + f.most - 1) << BigInt(fractionBits(f));
		return zeroOf(f, negative) | (field + significand);
	}
	if ((c.masks & E.underflow) === 0) {
		c.flags |= E.underflow;
		if (freeInexact) c.flags |= E.precision;
		return 0n;
	}
	if (c.ftz) {
		c.flags |= E.underflow | E.precision;
		return zeroOf(f, negative);
	}
	const [significand, inexact] = at(least - fractionBits(f));
	if (inexact) c.flags |= E.underflow | E.precision;
	return zeroOf(f, negative) | significand;
}

/** Rounds magnitude × 2^power. */
export function roundPower(
	c: Control,
	f: Format,
	negative: boolean,
	magnitude: bigint,
	power: number,
): bigint {
	return power >= 0
		? round(c, f, negative, magnitude << BigInt(power), 1n)
		: round(c, f, negative, magnitude, 1n << BigInt(-power));
}

/** The signed number at the smaller of two powers. */
export function signedAt(x: Taken, power: number): bigint {
	const magnitude = x.magnitude << BigInt(x.power - power);
	return x.negative ? -magnitude : magnitude;
}
