/**
 * Double precision on bit patterns, as SSE2 and AVX use it.
 *
 * In the middle of the exponent range the host's own doubles give the nearest result, and error-free transformations
 * (Dekker, Knuth; Boldo and Melquiond for the fused operation) its exact error: that tells inexact from exact and rounds the
 * other ways. Everything else goes through arithmetic.ts.
 */
import * as general from "./arithmetic.ts";
import { EXCEPTION, type FpuEnvironment, ROUNDING } from "./environment.ts";
import { F32, F64, fromF64, toF32, toF64 } from "./value.ts";

const numbers = new Float64Array(4);
const bits = new BigUint64Array(numbers.buffer);
const words = new Uint32Array(numbers.buffer);

/** Exponents fields between which sums, products, quotients and their errors are normal numbers. */
const LOWEST = 1023 - 450;
const HIGHEST = 1023 + 450;
/** 2^27 + 1. */
const SPLITTER = 134217729;

/** Puts operand `at` (0-2) into the scratch. @returns whether it is in the middle of the range */
function put(at: number, operand: bigint): boolean {
	bits[at] = operand;
	const field = (words[at * 2 + 1]! >>> 20) & 0x7ff;
	return field >= LOWEST && field <= HIGHEST;
}

/** The error of a rounded sum. */
function sumError(a: number, b: number, s: number): number {
	const part = s - a;
	return a - (s - part) + (b - part);
}

/** The error of a rounded product. */
function productError(a: number, b: number, p: number): number {
	const splitA = SPLITTER * a;
	const splitB = SPLITTER * b;
	const highA = splitA - (splitA - a);
	const highB = splitB - (splitB - b);
	const lowA = a - highA;
	const lowB = b - highB;
	return lowA * lowB - (p - highA * highB - highA * lowB - lowA * highB);
}

/** Moves the number in the scratch by one unit in its last place. @param up toward +∞ */
function step(up: boolean): void {
	const grow = (words[7]! >>> 31 === 0) === up;
	const low = words[6]!;
	words[6] = grow ? low + 1 : low - 1;
	if (grow && low === 0xffffffff) words[7] = words[7]! + 1;
	if (!grow && low === 0) words[7] = words[7]! - 1;
}

/** Ends an operation whose nearest result and error are known, both in the normal range. @param error its sign counts */
function finish(env: FpuEnvironment, nearest: number, error: number): bigint {
	numbers[3] = nearest;
	if (error === 0) {
		// Only a difference is 0 here.
		if (nearest === 0 && env.rounding === ROUNDING.down) words[7] = 0x80000000;
		return bits[3]!;
	}
	env.flags |= EXCEPTION.precision;
	if (env.rounding === ROUNDING.nearest) return bits[3]!;
	const down = env.rounding === ROUNDING.down || (env.rounding === ROUNDING.zero && nearest > 0);
	if (down ? error < 0 : error > 0) step(!down);
	return bits[3]!;
}

/** a + b. */
export function f64Add(env: FpuEnvironment, a: bigint, b: bigint): bigint {
	const first = put(0, a);
	if (put(1, b) && first) {
		const x = numbers[0]!;
		const y = numbers[1]!;
		const s = x + y;
		return finish(env, s, sumError(x, y, s));
	}
	return toF64(general.add(env, F64, fromF64(a), fromF64(b)));
}

/** a - b. */
export function f64Subtract(env: FpuEnvironment, a: bigint, b: bigint): bigint {
	const first = put(0, a);
	if (put(1, b) && first) {
		const x = numbers[0]!;
		const y = -numbers[1]!;
		const s = x + y;
		return finish(env, s, sumError(x, y, s));
	}
	return toF64(general.subtract(env, F64, fromF64(a), fromF64(b)));
}

/** a × b. */
export function f64Multiply(env: FpuEnvironment, a: bigint, b: bigint): bigint {
	const first = put(0, a);
	if (put(1, b) && first) {
		const x = numbers[0]!;
		const y = numbers[1]!;
		const p = x * y;
		return finish(env, p, productError(x, y, p));
	}
	return toF64(general.multiply(env, F64, fromF64(a), fromF64(b)));
}

/** a / b. */
export function f64Divide(env: FpuEnvironment, a: bigint, b: bigint): bigint {
	const first = put(0, a);
	if (put(1, b) && first) {
		const x = numbers[0]!;
		const y = numbers[1]!;
		const quotient = x / y;
		const back = quotient * y;
		const remainder = x - back - productError(quotient, y, back);
		return finish(env, quotient, y < 0 ? -remainder : remainder);
	}
	return toF64(general.divide(env, F64, fromF64(a), fromF64(b)));
}

/** √a. */
export function f64SquareRoot(env: FpuEnvironment, a: bigint): bigint {
	if (put(0, a) && numbers[0]! > 0) {
		const x = numbers[0]!;
		const root = Math.sqrt(x);
		const back = root * root;
		return finish(env, root, x - back - productError(root, root, back));
	}
	return toF64(general.squareRoot(env, F64, fromF64(a)));
}

/** The sum of two numbers rounded to odd: its last bit says that bits were lost. */
function oddSum(a: number, b: number): number {
	const s = a + b;
	const error = sumError(a, b, s);
	numbers[3] = s;
	if (error === 0 || (words[6]! & 1) !== 0) return s;
	step(error > 0);
	return numbers[3]!;
}

/**
 * a × b + c, rounded once.
 * @param negateProduct FNMADD, FNMSUB @param negateAddend FMSUB, FNMSUB
 */
export function f64MultiplyAdd(
	env: FpuEnvironment,
	a: bigint,
	b: bigint,
	c: bigint,
	negateProduct = false,
	negateAddend = false,
): bigint {
	const first = put(0, a);
	const second = put(1, b);
	if (put(2, c) && first && second) {
		const x = negateProduct ? -numbers[0]! : numbers[0]!;
		const y = numbers[1]!;
		const z = negateAddend ? -numbers[2]! : numbers[2]!;
		const high = x * y;
		const low = productError(x, y, high);
		const middle = z + low;
		const top = high + middle;
		const rest = oddSum(sumError(z, low, middle), sumError(high, middle, top));
		const result = top + rest;
		// Too close to 0 for the errors to be normal numbers, or exactly 0: the long way.
		if (Math.abs(result) > 1e-200) return finish(env, result, sumError(top, rest, result));
	}
	const value = general.multiplyAdd(
		env,
		F64,
		fromF64(a),
		fromF64(b),
		fromF64(c),
		negateProduct,
		negateAddend,
	);
	return toF64(value);
}

/** Compares. @param quiet quiet NaNs raise nothing @returns one of ORDER */
export function f64Compare(env: FpuEnvironment, a: bigint, b: bigint, quiet: boolean): number {
	const first = put(0, a);
	if (put(1, b) && first) return Math.sign(numbers[0]! - numbers[1]!);
	return general.compare(env, fromF64(a), fromF64(b), quiet);
}

/** MINSD and MAXSD: the second operand where either is a NaN or both are 0. */
export function f64Select(env: FpuEnvironment, a: bigint, b: bigint, maximum: boolean): bigint {
	const order = f64Compare(env, a, b, false);
	const chosen = order === (maximum ? general.ORDER.greater : general.ORDER.less) ? a : b;
	const magnitude = chosen & 0x7fffffffffffffffn;
	return env.denormalsAreZero && magnitude < 0x10000000000000n ? chosen - magnitude : chosen;
}

/** ROUNDSD. @param rounding one of ROUNDING */
export function f64RoundToIntegral(env: FpuEnvironment, a: bigint, rounding: number): bigint {
	return toF64(general.roundToIntegral(env, fromF64(a), rounding, false));
}

/** CVTSD2SI and its kin. @param size 32 or 64 @returns the integer, unsigned; the integer indefinite with #I */
export function f64ToInteger(env: FpuEnvironment, a: bigint, size: number, rounding: number): bigint {
	const integer = general.toInteger(env, fromF64(a), size, rounding);
	return integer === null ? 1n << BigInt(size - 1) : BigInt.asUintN(size, integer);
}

/** CVTSI2SD. @param value signed */
export function f64FromInteger(env: FpuEnvironment, value: bigint): bigint {
	return toF64(general.fromInteger(env, F64, value));
}

/** CVTSD2SS. @returns 32 bits */
export function f64ToF32(env: FpuEnvironment, a: bigint): number {
	return toF32(general.convert(env, F32, fromF64(a)));
}
