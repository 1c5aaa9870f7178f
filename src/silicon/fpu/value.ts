/** Floating-point numbers taken apart, the formats they come from, and how they go back (SDM Vol. 1, 4.2.2 and 4.8). */

/** What a number is. NaNs are ordered last. */
export const KIND = {
	zero: 0,
	finite: 1,
	infinity: 2,
	/** 80-bit encodings that no processor since the 80287 takes: unnormals, pseudo-NaNs, pseudo-infinities. */
	unsupported: 3,
	quiet: 4,
	signaling: 5,
} as const;

/** One number. A finite one is `significand` × 2^`exponent`; a NaN keeps its significand left-aligned in 64 bits. */
export interface Value {
	/** One of KIND. */
	readonly kind: number;
	readonly negative: boolean;
	readonly exponent: number;
	readonly significand: bigint;
	/** It was encoded as a denormal: as an operand it raises #D. */
	readonly denormal: boolean;
}

/** A binary format. */
export interface Format {
	/** Bits of the significand, with the integer bit. */
	readonly precision: number;
	/** Exponents of the smallest and largest normal number. */
	readonly minExponent: number;
	readonly maxExponent: number;
}

export const F16: Format = { precision: 11, minExponent: -14, maxExponent: 15 };
export const F32: Format = { precision: 24, minExponent: -126, maxExponent: 127 };
export const F64: Format = { precision: 53, minExponent: -1022, maxExponent: 1023 };
export const F80: Format = { precision: 64, minExponent: -16382, maxExponent: 16383 };

const INTEGER_BIT = 1n << 63n;
const QUIET_BIT = 1n << 62n;

function make(kind: number, negative: boolean, exponent = 0, significand = 0n, denormal = false): Value {
	return { kind, negative, exponent, significand, denormal };
}

/** A zero. */
export function zero(negative: boolean): Value {
	return make(KIND.zero, negative);
}
/** An infinity. */
export function infinity(negative: boolean): Value {
	return make(KIND.infinity, negative);
}
/** A number that is not 0. @param significand above 0 */
export function finite(negative: boolean, significand: bigint, exponent: number): Value {
	return make(KIND.finite, negative, exponent, significand);
}
/** The quiet NaN that an invalid operation without a NaN operand gives: QNaN floating-point indefinite. */
export const INDEFINITE: Value = make(KIND.quiet, true, 0, INTEGER_BIT | QUIET_BIT);

/** Whether it is a NaN of either kind. */
export function isNaNValue({ kind }: Value): boolean {
	return kind >= KIND.quiet;
}
/** A NaN made quiet. */
export function quieted(value: Value): Value {
	return make(KIND.quiet, value.negative, 0, value.significand | QUIET_BIT);
}
/** The number with another sign. */
export function withSign(value: Value, negative: boolean): Value {
	return make(value.kind, negative, value.exponent, value.significand, value.denormal);
}

const numbers = new Float64Array(1);
const words = new Uint32Array(numbers.buffer);

/** Bits of a positive integer up to its leading one. */
export function bitLength(value: bigint): number {
	const approximate = Number(value);
	// Beyond a double's range: counted in hexadecimal digits.
	if (approximate === Number.POSITIVE_INFINITY) {
		const digits = value.toString(16);
		return 4 * digits.length - Math.clz32(Number.parseInt(digits[0]!, 16)) + 28;
	}
	numbers[0] = approximate;
	const length = (words[1]! >>> 20) - 1022;
	// The conversion may have rounded up to a power of two.
	return value >> BigInt(length - 1) === 0n ? length - 1 : length;
}

/** Exponent of the leading bit of a finite number. */
export function leadingExponent({ significand, exponent }: Value): number {
	return exponent + bitLength(significand) - 1;
}

// ---- taking apart ------------------------------------------------------------------------------------

/** A number from the fields of an interchange format. @param fraction without the integer bit */
function interchange(format: Format, negative: boolean, biased: number, fraction: bigint): Value {
	const fractionBits = format.precision - 1;
	if (biased === format.maxExponent * 2 + 1) {
		if (fraction === 0n) return infinity(negative);
		const significand = INTEGER_BIT | (fraction << BigInt(63 - fractionBits));
		return make((significand & QUIET_BIT) !== 0n ? KIND.quiet : KIND.signaling, negative, 0, significand);
	}
	if (biased === 0) {
		if (fraction === 0n) return zero(negative);
		return make(KIND.finite, negative, format.minExponent - fractionBits, fraction, true);
	}
	const significand = fraction | (1n << BigInt(fractionBits));
	return make(KIND.finite, negative, biased - format.maxExponent - fractionBits, significand);
}

/** Takes a half-precision number apart. @param bits its 16 bits */
export function fromF16(bits: number): Value {
	return interchange(F16, (bits & 0x8000) !== 0, (bits >>> 10) & 0x1f, BigInt(bits & 0x3ff));
}
/** Takes a single-precision number apart. @param bits its 32 bits */
export function fromF32(bits: number): Value {
	return interchange(F32, bits >>> 31 !== 0, (bits >>> 23) & 0xff, BigInt(bits & 0x7fffff));
}
/** Takes a double-precision number apart. @param bits its 64 bits, unsigned */
export function fromF64(bits: bigint): Value {
	return interchange(F64, bits >> 63n !== 0n, Number(bits >> 52n) & 0x7ff, bits & 0xfffffffffffffn);
}
/** Takes a double extended number apart. @param signExponent its upper 16 bits @param significand its lower 64, unsigned */
export function fromF80(signExponent: number, significand: bigint): Value {
	const negative = (signExponent & 0x8000) !== 0;
	const biased = signExponent & 0x7fff;
	const integer = significand >= INTEGER_BIT;
	if (biased === 0x7fff) {
		if (!integer) return make(KIND.unsupported, negative);
		if (significand === INTEGER_BIT) return infinity(negative);
		return make((significand & QUIET_BIT) !== 0n ? KIND.quiet : KIND.signaling, negative, 0, significand);
	}
	if (biased === 0) {
		if (significand === 0n) return zero(negative);
		// With the integer bit set, a pseudo-denormal: the same value as with an exponent field of 1.
		return make(KIND.finite, negative, F80.minExponent - 63, significand, true);
	}
	if (!integer) return make(KIND.unsupported, negative);
	return make(KIND.finite, negative, biased - 16383 - 63, significand);
}

// ---- putting together --------------------------------------------------------------------------------

/** The exponent field and the significand with its integer bit. The number must fit the format. */
function fields(format: Format, value: Value): { biased: number; significand: bigint } {
	const { kind, significand, exponent } = value;
	const ones = format.maxExponent * 2 + 1;
	const integer = 1n << BigInt(format.precision - 1);
	if (kind === KIND.zero) return { biased: 0, significand: 0n };
	if (kind === KIND.infinity) return { biased: ones, significand: integer };
	if (kind !== KIND.finite)
		return { biased: ones, significand: significand >> BigInt(64 - format.precision) };
	const leading = leadingExponent(value);
	const normal = leading >= format.minExponent;
	const last = (normal ? leading : format.minExponent) - format.precision + 1;
	const shift = exponent - last;
	const aligned = shift >= 0 ? significand << BigInt(shift) : significand >> BigInt(-shift);
	return { biased: normal ? leading + format.maxExponent : 0, significand: aligned };
}

function bitsOf(format: Format, value: Value, exponentBits: number): bigint {
	const { biased, significand } = fields(format, value);
	const fractionBits = BigInt(format.precision - 1);
	const fraction = BigInt.asUintN(format.precision - 1, significand);
	const sign = value.negative ? 1n << (fractionBits + BigInt(exponentBits)) : 0n;
	return sign | (BigInt(biased) << fractionBits) | fraction;
}

/** The 16 bits of a number that was rounded to half precision. */
export function toF16(value: Value): number {
	return Number(bitsOf(F16, value, 5));
}
/** The 32 bits of a number that was rounded to single precision. */
export function toF32(value: Value): number {
	return Number(bitsOf(F32, value, 8));
}
/** The 64 bits of a number that was rounded to double precision. */
export function toF64(value: Value): bigint {
	return bitsOf(F64, value, 11);
}

/** A double extended number as it lies in a register. */
export interface Extended {
	/** Bit 15 the sign, 14:0 the exponent field. */
	readonly signExponent: number;
	/** 64 bits, unsigned. */
	readonly significand: bigint;
}

/** A number that was rounded to double extended precision, or is in a smaller format. */
export function toF80(value: Value): Extended {
	const { biased, significand } = fields(F80, value);
	return { signExponent: biased | (value.negative ? 0x8000 : 0), significand };
}
