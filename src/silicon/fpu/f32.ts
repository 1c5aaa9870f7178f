/**
 * Single precision on bit patterns, as SSE and AVX use it.
 *
 * A double holds sums, products and quotients of singles exactly or, rounded to odd, with enough bits that rounding it
 * once more gives what rounding the exact number would. Zeros, infinities, NaNs, denormals and results outside of the
 * normal range go through arithmetic.ts.
 */
import * as general from "./arithmetic.ts";
import { EXCEPTION, type FpuEnvironment, ROUNDING } from "./environment.ts";
import { F16, F32, F64, fromF16, fromF32, toF16, toF32, toF64 } from "./value.ts";

const singles = new Float32Array(4);
const bits = new Uint32Array(singles.buffer);
const wide = new Float64Array(1);
const wideWords = new Uint32Array(wide.buffer);

const SMALLEST_NORMAL = 2 ** -126;
const LARGEST = 2 ** 128 - 2 ** 104;

/** Puts operand `at` (0-2) into the scratch. @returns whether it is a normal number */
function put(at: number, operand: number): boolean {
	bits[at] = operand;
	const field = (operand >>> 23) & 0xff;
	return field !== 0 && field !== 0xff;
}

/** Whether a double rounds to a normal single whatever the rounding. */
function isNormal(x: number): boolean {
	const magnitude = Math.abs(x);
	return magnitude >= SMALLEST_NORMAL && magnitude <= LARGEST;
}

/** Rounds a double that `isNormal`. Its bits below the single's are exact or sticky. */
function finish(env: FpuEnvironment, exact: number): number {
	singles[3] = exact;
	const nearest = singles[3]!;
	if (nearest === exact) return bits[3]!;
	env.flags |= EXCEPTION.precision;
	if (env.rounding === ROUNDING.nearest) return bits[3]!;
	const down = env.rounding === ROUNDING.down || (env.rounding === ROUNDING.zero && exact > 0);
	if (down ? nearest > exact : nearest < exact) bits[3] = bits[3]! + (nearest > 0 === down ? -1 : 1);
	return bits[3]!;
}

/** The sum of two doubles rounded to odd. */
function oddSum(a: number, b: number): number {
	const s = a + b;
	const part = s - a;
	const error = a - (s - part) + (b - part);
	if (error === 0) return s;
	wide[0] = s;
	if ((wideWords[0]! & 1) !== 0) return s;
	// Even, so the neighbours differ in the lower word, except below a power of two.
	const grow = s > 0 === error > 0;
	if (!grow && wideWords[0] === 0) wideWords[1] = wideWords[1]! - 1;
	wideWords[0] = wideWords[0]! + (grow ? 1 : -1);
	return wide[0]!;
}

/** a + b. */
export function f32Add(env: FpuEnvironment, a: number, b: number): number {
	const first = put(0, a);
	if (put(1, b) && first) {
		const s = oddSum(singles[0]!, singles[1]!);
		if (isNormal(s)) return finish(env, s);
	}
	return toF32(general.add(env, F32, fromF32(a), fromF32(b)));
}

/** a - b. */
export function f32Subtract(env: FpuEnvironment, a: number, b: number): number {
	const first = put(0, a);
	if (put(1, b) && first) {
		const s = oddSum(singles[0]!, -singles[1]!);
		if (isNormal(s)) return finish(env, s);
	}
	return toF32(general.subtract(env, F32, fromF32(a), fromF32(b)));
}

/** a × b. */
export function f32Multiply(env: FpuEnvironment, a: number, b: number): number {
	const first = put(0, a);
	if (put(1, b) && first) {
		const product = singles[0]! * singles[1]!;
		if (isNormal(product)) return finish(env, product);
	}
	return toF32(general.multiply(env, F32, fromF32(a), fromF32(b)));
}

/** a / b. A quotient that is no single lies further from every single and midpoint than its double's error. */
export function f32Divide(env: FpuEnvironment, a: number, b: number): number {
	const first = put(0, a);
	if (put(1, b) && first) {
		const quotient = singles[0]! / singles[1]!;
		if (isNormal(quotient)) return finish(env, quotient);
	}
	return toF32(general.divide(env, F32, fromF32(a), fromF32(b)));
}

/** √a. The same holds for roots. */
export function f32SquareRoot(env: FpuEnvironment, a: number): number {
	if (put(0, a) && singles[0]! > 0) return finish(env, Math.sqrt(singles[0]!));
	return toF32(general.squareRoot(env, F32, fromF32(a)));
}

/**
 * a × b + c, rounded once.
 * @param negateProduct FNMADD, FNMSUB @param negateAddend FMSUB, FNMSUB
 */
export function f32MultiplyAdd(
	env: FpuEnvironment,
	a: number,
	b: number,
	c: number,
	negateProduct = false,
	negateAddend = false,
): number {
	const first = put(0, a);
	const second = put(1, b);
	if (put(2, c) && first && second) {
		const product = singles[0]! * singles[1]!;
		const addend = negateAddend ? -singles[2]! : singles[2]!;
		const s = oddSum(negateProduct ? -product : product, addend);
		if (isNormal(s)) return finish(env, s);
	}
	const value = general.multiplyAdd(
		env,
		F32,
		fromF32(a),
		fromF32(b),
		fromF32(c),
		negateProduct,
		negateAddend,
	);
	return toF32(value);
}

/** Compares. @param quiet quiet NaNs raise nothing @returns one of ORDER */
export function f32Compare(env: FpuEnvironment, a: number, b: number, quiet: boolean): number {
	const first = put(0, a);
	if (put(1, b) && first) return Math.sign(singles[0]! - singles[1]!);
	return general.compare(env, fromF32(a), fromF32(b), quiet);
}

/** MINSS and MAXSS: the second operand where either is a NaN or both are 0. */
export function f32Select(env: FpuEnvironment, a: number, b: number, maximum: boolean): number {
	const order = f32Compare(env, a, b, false);
	const chosen = order === (maximum ? general.ORDER.greater : general.ORDER.less) ? a : b;
	const isDenormal = (chosen & 0x7f800000) === 0;
	return (env.denormalsAreZero && isDenormal ? chosen & 0x80000000 : chosen) >>> 0;
}

/** ROUNDSS. @param rounding one of ROUNDING */
export function f32RoundToIntegral(env: FpuEnvironment, a: number, rounding: number): number {
	return toF32(general.roundToIntegral(env, fromF32(a), rounding, false));
}

/** CVTSS2SI and its kin. @param size 32 or 64 @returns the integer, unsigned; the integer indefinite with #I */
export function f32ToInteger(env: FpuEnvironment, a: number, size: number, rounding: number): bigint {
	const integer = general.toInteger(env, fromF32(a), size, rounding);
	return integer === null ? 1n << BigInt(size - 1) : BigInt.asUintN(size, integer);
}

/** CVTSI2SS. @param value signed */
export function f32FromInteger(env: FpuEnvironment, value: bigint): number {
	return toF32(general.fromInteger(env, F32, value));
}

/** CVTSS2SD. @returns 64 bits */
export function f32ToF64(env: FpuEnvironment, a: number): bigint {
	return toF64(general.convert(env, F64, fromF32(a)));
}

/** VCVTPH2PS: takes no notice of DAZ and of denormals (SDM Vol. 2C). @param a 16 bits */
export function f16ToF32(env: FpuEnvironment, a: number): number {
	const value = fromF16(a);
	return toF32(general.convert(env, F32, { ...value, denormal: false }));
}

/** VCVTPS2PH: takes no notice of FTZ. @param rounding one of ROUNDING @returns 16 bits */
export function f32ToF16(env: FpuEnvironment, a: number, rounding: number): number {
	const { rounding: kept, flushToZero } = env;
	env.rounding = rounding;
	env.flushToZero = false;
	const value = general.convert(env, F16, fromF32(a));
	env.rounding = kept;
	env.flushToZero = flushToZero;
	return toF16(value);
}
