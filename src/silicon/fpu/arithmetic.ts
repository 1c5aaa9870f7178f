/**
 * Arithmetic on numbers taken apart: exact, then rounded once (IEEE 754; x86's choices in SDM Vol. 1, 4.8.3.5 and 4.9).
 *
 * Operands may come from any format: x87 adds a single-precision number in memory to an extended one.
 */
import { EXCEPTION, type FpuEnvironment, ROUNDING } from "./environment.ts";
import { cut, round } from "./rounding.ts";
import {
	bitLength,
	type Format,
	finite,
	INDEFINITE,
	infinity,
	isNaNValue,
	KIND,
	leadingExponent,
	quieted,
	type Value,
	withSign,
	zero,
} from "./value.ts";

/** Bits that a sticky bit must lie below the leading one, so that no format's rounding sees it as more. */
const STICKY_DISTANCE = 70;

// ---- operands ----------------------------------------------------------------------------------------

/** The result of an invalid operation. */
export function invalid(env: FpuEnvironment): Value {
	env.flags |= EXCEPTION.invalid;
	return INDEFINITE;
}

/** x87's choice among two NaNs: a quiet one before a signaling one, then the larger significand, then the positive one. */
function chooseX87(a: Value, b: Value): Value {
	if (a.kind !== b.kind) return a.kind === KIND.quiet ? a : b;
	if (a.significand !== b.significand) return a.significand > b.significand ? a : b;
	return a.negative ? b : a;
}

/** The NaN that comes of two operands, at least one of which is a NaN. SSE takes the first. */
function propagated(env: FpuEnvironment, a: Value, b: Value): Value {
	if (a.kind === KIND.signaling || b.kind === KIND.signaling) env.flags |= EXCEPTION.invalid;
	if (!isNaNValue(b)) return quieted(a);
	if (!isNaNValue(a)) return quieted(b);
	return quieted(env.x87 ? chooseX87(a, b) : a);
}

/** A NaN or unsupported operand decides the result by itself. @returns that result, or null */
export function special(env: FpuEnvironment, a: Value, b: Value): Value | null {
	if (a.kind < KIND.unsupported && b.kind < KIND.unsupported) return null;
	if (a.kind === KIND.unsupported || b.kind === KIND.unsupported) return invalid(env);
	return propagated(env, a, b);
}

/** An operand with DAZ applied. */
export function operand(env: FpuEnvironment, value: Value): Value {
	return env.denormalsAreZero && value.denormal ? zero(value.negative) : value;
}

/** Raises #D for operands that are denormals. */
export function noteDenormals(env: FpuEnvironment, a: Value, b: Value = a): void {
	if (a.denormal || b.denormal) env.flags |= EXCEPTION.denormal;
}

// ---- addition ----------------------------------------------------------------------------------------

function exactZero(env: FpuEnvironment): Value {
	return zero(env.rounding === ROUNDING.down);
}

/** The rounded sum of two finite numbers, neither of them 0. */
function sum(env: FpuEnvironment, format: Format, a: Value, b: Value, precision: number): Value {
	const first = leadingExponent(a);
	const second = leadingExponent(b);
	const [large, small] = second > first ? [b, a] : [a, b];
	// What lies wholly below the result's last bit counts as a sticky one.
	let last = Math.min(large.exponent, Math.max(first, second) - STICKY_DISTANCE) - 2;
	let addend = 1n;
	if (Math.min(first, second) >= last) {
		last = Math.min(large.exponent, small.exponent);
		addend = small.significand << BigInt(small.exponent - last);
	}
	const augend = large.significand << BigInt(large.exponent - last);
	if (large.negative === small.negative) {
		return round(env, format, large.negative, augend + addend, last, precision);
	}
	const difference = augend - addend;
	if (difference === 0n) return exactZero(env);
	const negative = difference < 0n ? small.negative : large.negative;
	return round(env, format, negative, difference < 0n ? -difference : difference, last, precision);
}

/** A number that is the result as it stands: rounded all the same, since the format may be smaller. */
function asResult(env: FpuEnvironment, format: Format, value: Value, precision: number): Value {
	return value.kind === KIND.finite
		? round(env, format, value.negative, value.significand, value.exponent, precision)
		: value;
}

/** Addition of operands that are no NaNs. */
function addNumbers(env: FpuEnvironment, format: Format, a: Value, b: Value, precision: number): Value {
	if (a.kind === KIND.infinity) return a;
	if (b.kind === KIND.infinity) return b;
	if (a.kind === KIND.zero) {
		if (b.kind === KIND.zero) return a.negative === b.negative ? a : exactZero(env);
		return asResult(env, format, b, precision);
	}
	if (b.kind === KIND.zero) return asResult(env, format, a, precision);
	return sum(env, format, a, b, precision);
}

/** a + b. */
export function add(
	env: FpuEnvironment,
	format: Format,
	left: Value,
	right: Value,
	precision: number = format.precision,
): Value {
	const a = operand(env, left);
	const b = operand(env, right);
	const decided = special(env, a, b);
	if (decided !== null) return decided;
	if (a.kind === KIND.infinity && b.kind === KIND.infinity && a.negative !== b.negative) return invalid(env);
	noteDenormals(env, a, b);
	return addNumbers(env, format, a, b, precision);
}

/** a - b. A NaN keeps its sign. */
export function subtract(
	env: FpuEnvironment,
	format: Format,
	left: Value,
	right: Value,
	precision: number = format.precision,
): Value {
	const negated = isNaNValue(right) ? right : withSign(right, !right.negative);
	return add(env, format, left, negated, precision);
}

// ---- multiplication and division ---------------------------------------------------------------------

/** a × b. */
export function multiply(
	env: FpuEnvironment,
	format: Format,
	left: Value,
	right: Value,
	precision: number = format.precision,
): Value {
	const a = operand(env, left);
	const b = operand(env, right);
	const decided = special(env, a, b);
	if (decided !== null) return decided;
	const negative = a.negative !== b.negative;
	if (a.kind === KIND.infinity || b.kind === KIND.infinity) {
		if (a.kind === KIND.zero || b.kind === KIND.zero) return invalid(env);
		noteDenormals(env, a, b);
		return infinity(negative);
	}
	noteDenormals(env, a, b);
	if (a.kind === KIND.zero || b.kind === KIND.zero) return zero(negative);
	const product = a.significand * b.significand;
	return round(env, format, negative, product, a.exponent + b.exponent, precision);
}

/** a / b. */
export function divide(
	env: FpuEnvironment,
	format: Format,
	left: Value,
	right: Value,
	precision: number = format.precision,
): Value {
	const a = operand(env, left);
	const b = operand(env, right);
	const decided = special(env, a, b);
	if (decided !== null) return decided;
	const negative = a.negative !== b.negative;
	if (a.kind === b.kind && a.kind !== KIND.finite) return invalid(env);
	if (b.kind === KIND.zero && a.kind === KIND.finite) {
		env.flags |= EXCEPTION.zeroDivide;
		return infinity(negative);
	}
	noteDenormals(env, a, b);
	if (a.kind === KIND.infinity || b.kind === KIND.zero) return infinity(negative);
	if (a.kind === KIND.zero || b.kind === KIND.infinity) return zero(negative);
	const shift = Math.max(0, STICKY_DISTANCE + bitLength(b.significand) - bitLength(a.significand));
	const dividend = a.significand << BigInt(shift);
	const quotient = dividend / b.significand;
	const sticky = quotient * b.significand === dividend ? 0n : 1n;
	const exponent = a.exponent - b.exponent - shift - 1;
	return round(env, format, negative, (quotient << 1n) | sticky, exponent, precision);
}

/** The integer part of a square root. */
function integerRoot(value: bigint): bigint {
	let root = BigInt(Math.floor(Math.sqrt(Number(value))));
	for (;;) {
		const next = (root + value / root) >> 1n;
		const step = next - root;
		root = next;
		if (step <= 1n && step >= -1n) break;
	}
	while (root * root > value) root--;
	while ((root + 1n) * (root + 1n) <= value) root++;
	return root;
}

/** √a. */
export function squareRoot(
	env: FpuEnvironment,
	format: Format,
	of: Value,
	precision: number = format.precision,
): Value {
	const a = operand(env, of);
	const decided = special(env, a, a);
	if (decided !== null) return decided;
	if (a.kind === KIND.zero) return a;
	if (a.negative) return invalid(env);
	if (a.kind === KIND.infinity) return a;
	noteDenormals(env, a);
	let shift = Math.max(0, 2 * STICKY_DISTANCE - bitLength(a.significand));
	if (((a.exponent - shift) & 1) !== 0) shift++;
	const radicand = a.significand << BigInt(shift);
	const root = integerRoot(radicand);
	const sticky = root * root === radicand ? 0n : 1n;
	return round(env, format, false, (root << 1n) | sticky, (a.exponent - shift) / 2 - 1, precision);
}

/** The NaN that comes of a fused operation: the first of a, b and c that is one. */
function fusedNaN(env: FpuEnvironment, a: Value, b: Value, c: Value): Value | null {
	for (const value of [a, b, c]) if (value.kind === KIND.signaling) env.flags |= EXCEPTION.invalid;
	for (const value of [a, b, c]) if (isNaNValue(value)) return quieted(value);
	return null;
}

/**
 * a × b + c, rounded once.
 * @param negateProduct the product is taken negative (FNMADD) @param negateAddend the addend is (FMSUB)
 */
export function multiplyAdd(
	env: FpuEnvironment,
	format: Format,
	left: Value,
	right: Value,
	addend: Value,
	negateProduct = false,
	negateAddend = false,
): Value {
	const a = operand(env, left);
	const b = operand(env, right);
	const c = operand(env, addend);
	const nan = fusedNaN(env, a, b, c);
	if (nan !== null) return nan;
	const infinite = a.kind === KIND.infinity || b.kind === KIND.infinity;
	if (infinite && (a.kind === KIND.zero || b.kind === KIND.zero)) return invalid(env);
	const negative = (a.negative !== b.negative) !== negateProduct;
	const addendNegative = c.negative !== negateAddend;
	if (infinite && c.kind === KIND.infinity && negative !== addendNegative) return invalid(env);
	noteDenormals(env, a, b);
	noteDenormals(env, c);
	let product = infinite ? infinity(negative) : zero(negative);
	if (a.kind === KIND.finite && b.kind === KIND.finite) {
		product = finite(negative, a.significand * b.significand, a.exponent + b.exponent);
	}
	return addNumbers(env, format, product, withSign(c, addendNegative), format.precision);
}

// ---- conversions, integers, comparison ----------------------------------------------------------------

/** Converts to another format. A signaling NaN becomes quiet with #I, a denormal raises #D. */
export function convert(
	env: FpuEnvironment,
	format: Format,
	value: Value,
	precision: number = format.precision,
): Value {
	const a = operand(env, value);
	const decided = special(env, a, a);
	if (decided !== null) return decided;
	noteDenormals(env, a);
	return asResult(env, format, a, precision);
}

/** An integer in a format. @param value any integer */
export function fromInteger(env: FpuEnvironment, format: Format, value: bigint): Value {
	if (value === 0n) return zero(false);
	const negative = value < 0n;
	return round(env, format, negative, negative ? -value : value, 0);
}

/**
 * Rounds to an integer.
 * @param rounding one of ROUNDING
 * @param bits of the two's complement destination
 * @returns the integer, or null with #I raised if it does not fit: the result is then the integer indefinite
 */
export function toInteger(env: FpuEnvironment, value: Value, bits: number, rounding: number): bigint | null {
	const a = operand(env, value);
	if (a.kind === KIND.zero) return 0n;
	if (a.kind !== KIND.finite || leadingExponent(a) > bits) {
		env.flags |= EXCEPTION.invalid;
		return null;
	}
	const rounded = cut(rounding, a.negative, a.significand, a.exponent, 0);
	const integer = a.negative ? -rounded.significand : rounded.significand;
	if (BigInt.asIntN(bits, integer) !== integer) {
		env.flags |= EXCEPTION.invalid;
		return null;
	}
	if (rounded.inexact) env.flags |= EXCEPTION.precision;
	env.roundedUp = rounded.up;
	return integer;
}

/**
 * Rounds to an integral value in the same format. Keeps the sign of what becomes 0.
 * @param rounding one of ROUNDING
 * @param denormals whether a denormal raises #D: FRNDINT's does, ROUNDSS's does not
 */
export function roundToIntegral(
	env: FpuEnvironment,
	value: Value,
	rounding: number,
	denormals: boolean,
): Value {
	const a = operand(env, value);
	const decided = special(env, a, a);
	if (decided !== null) return decided;
	if (a.kind !== KIND.finite) return a;
	if (denormals) noteDenormals(env, a);
	if (a.exponent >= 0) return a;
	const rounded = cut(rounding, a.negative, a.significand, a.exponent, 0);
	if (rounded.inexact) env.flags |= EXCEPTION.precision;
	env.roundedUp = rounded.up;
	return rounded.significand === 0n ? zero(a.negative) : finite(a.negative, rounded.significand, 0);
}

/** What a comparison says. */
export const ORDER = { less: -1, equal: 0, greater: 1, unordered: 2 } as const;

/** A finite or infinite number's magnitude against another's. */
function compareMagnitudes(a: Value, b: Value): number {
	if (a.kind !== b.kind) return a.kind < b.kind ? -1 : 1;
	if (a.kind !== KIND.finite) return 0;
	const difference = leadingExponent(a) - leadingExponent(b);
	if (difference !== 0) return difference < 0 ? -1 : 1;
	const last = Math.min(a.exponent, b.exponent);
	const left = a.significand << BigInt(a.exponent - last);
	const right = b.significand << BigInt(b.exponent - last);
	return left < right ? -1 : left > right ? 1 : 0;
}

/**
 * Compares two numbers.
 * @param quiet quiet NaNs raise nothing, as FUCOM and UCOMISS have it; else every NaN raises #I
 * @returns one of ORDER
 */
export function compare(env: FpuEnvironment, left: Value, right: Value, quiet: boolean): number {
	const a = operand(env, left);
	const b = operand(env, right);
	if (a.kind >= KIND.unsupported || b.kind >= KIND.unsupported) {
		const harmless = (value: Value) => value.kind < KIND.unsupported || value.kind === KIND.quiet;
		if (!quiet || !harmless(a) || !harmless(b)) env.flags |= EXCEPTION.invalid;
		return ORDER.unordered;
	}
	noteDenormals(env, a, b);
	if (a.kind === KIND.zero && b.kind === KIND.zero) return ORDER.equal;
	if (a.negative !== b.negative) return a.negative ? ORDER.less : ORDER.greater;
	const magnitudes = compareMagnitudes(a, b);
	return a.negative ? -magnitudes : magnitudes;
}
