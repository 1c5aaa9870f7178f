/** Singles and doubles: against the host's own arithmetic where it has the operation, and the quick ways against the exact one. */
import { describe, expect, test } from "vitest";
import * as general from "../../../src/silicon/fpu/arithmetic.ts";
import { EXCEPTION, FpuEnvironment, ROUNDING } from "../../../src/silicon/fpu/environment.ts";
import * as S from "../../../src/silicon/fpu/f32.ts";
import * as D from "../../../src/silicon/fpu/f64.ts";
import { F32, F64, fromF32, fromF64, toF32, toF64 } from "../../../src/silicon/fpu/value.ts";
import { Numbers } from "./numbers.ts";

const CASES = 2000;
const doubles = new Float64Array(1);
const doubleBits = new BigUint64Array(doubles.buffer);
const singles = new Float32Array(1);
const singleBits = new Uint32Array(singles.buffer);

function asDouble(bits: bigint): number {
	doubleBits[0] = bits;
	return doubles[0]!;
}
function doubleOf(x: number): bigint {
	doubles[0] = x;
	return doubleBits[0]!;
}
function asSingle(bits: number): number {
	singleBits[0] = bits;
	return singles[0]!;
}
function singleOf(x: number): number {
	singles[0] = x;
	return singleBits[0]!;
}

type Binary64 = (env: FpuEnvironment, a: bigint, b: bigint) => bigint;
type Binary32 = (env: FpuEnvironment, a: number, b: number) => number;
type Exact = typeof general.add;

// biome-ignore format: one row an operation
const BINARY: readonly [name: string, Binary64, Binary32, Exact, (x: number, y: number) => number][] = [
	["addition", D.f64Add, S.f32Add, general.add, (x, y) => x + y],
	["subtraction", D.f64Subtract, S.f32Subtract, general.subtract, (x, y) => x - y],
	["multiplication", D.f64Multiply, S.f32Multiply, general.multiply, (x, y) => x * y],
	["division", D.f64Divide, S.f32Divide, general.divide, (x, y) => x / y],
	["the square root", (env, a) => D.f64SquareRoot(env, a), (env, a) => S.f32SquareRoot(env, a), general.squareRoot as unknown as Exact, (x) => Math.sqrt(x)],
];

/** A random environment. All exceptions are masked, but underflow sometimes. */
function environment(numbers: Numbers): FpuEnvironment {
	const env = new FpuEnvironment(false);
	const { random } = numbers;
	env.beginSse(
		0x1f80 | (random.below(4) << 13) | (random.oneIn(4) ? 0x40 : 0) | (random.oneIn(4) ? 0x8000 : 0),
	);
	if (random.oneIn(8)) env.masks &= ~EXCEPTION.underflow;
	return env;
}

describe.each(BINARY)("%s", (_name, f64, f32, exact, host) => {
	const unary = exact === (general.squareRoot as unknown as Exact);

	test("of doubles rounded to the nearest is the host's", () => {
		const numbers = new Numbers(1);
		const env = new FpuEnvironment(false);
		for (let at = 0; at < CASES; at++) {
			const [a, b] = [numbers.f64(), numbers.f64()];
			const want = host(asDouble(a), asDouble(b));
			const got = f64(env, a, b);
			if (Number.isNaN(want)) expect(asDouble(got)).toBeNaN();
			else expect(got).toBe(doubleOf(want));
		}
	});

	test("of singles rounded to the nearest is the host's, rounded once more", () => {
		const numbers = new Numbers(2);
		const env = new FpuEnvironment(false);
		for (let at = 0; at < CASES; at++) {
			const [a, b] = [numbers.f32(), numbers.f32()];
			const want = Math.fround(host(asSingle(a), asSingle(b)));
			const got = f32(env, a, b);
			if (Number.isNaN(want)) expect(asSingle(got)).toBeNaN();
			else expect(got).toBe(singleOf(want));
		}
	});

	test("the quick way is the exact way in every rounding and with every flag", () => {
		const numbers = new Numbers(3);
		for (let at = 0; at < CASES; at++) {
			const env = environment(numbers);
			const [a, b] = [numbers.f64(), numbers.f64()];
			const got = [f64(env, a, b), env.flags];
			env.begin();
			const value = unary
				? general.squareRoot(env, F64, fromF64(a))
				: exact(env, F64, fromF64(a), fromF64(b));
			expect([toF64(value), env.flags]).toEqual(got);
			const [c, d] = [numbers.f32(), numbers.f32()];
			env.begin();
			const single = [f32(env, c, d), env.flags];
			env.begin();
			const short = unary
				? general.squareRoot(env, F32, fromF32(c))
				: exact(env, F32, fromF32(c), fromF32(d));
			expect([toF32(short), env.flags]).toEqual(single);
		}
	});
});

test("a fused multiplication and addition rounds once: the quick way is the exact way", () => {
	const numbers = new Numbers(4);
	for (let at = 0; at < CASES; at++) {
		const env = environment(numbers);
		const [a, b, c] = [numbers.f64(), numbers.f64(), numbers.f64()];
		const [x, y, z] = [numbers.f32(), numbers.f32(), numbers.f32()];
		const product = numbers.random.oneIn(2);
		const addend = numbers.random.oneIn(2);
		const wide = [D.f64MultiplyAdd(env, a, b, c, product, addend), env.flags];
		env.begin();
		const value = general.multiplyAdd(env, F64, fromF64(a), fromF64(b), fromF64(c), product, addend);
		expect([toF64(value), env.flags]).toEqual(wide);
		env.begin();
		const short = [S.f32MultiplyAdd(env, x, y, z, product, addend), env.flags];
		env.begin();
		const narrow = general.multiplyAdd(env, F32, fromF32(x), fromF32(y), fromF32(z), product, addend);
		expect([toF32(narrow), env.flags]).toEqual(short);
	}
});

test("results rounded down and up enclose what lies between, one unit apart if and only if precision was lost", () => {
	const numbers = new Numbers(5);
	const env = new FpuEnvironment(false);
	for (let at = 0; at < CASES; at++) {
		const [a, b] = [numbers.f64(), numbers.f64()];
		env.rounding = ROUNDING.down;
		const down = asDouble(D.f64Multiply(env, a, b));
		env.rounding = ROUNDING.up;
		env.begin();
		const up = asDouble(D.f64Multiply(env, a, b));
		if (Number.isNaN(down) || (down === 0 && up === 0)) continue;
		expect(down !== up).toBe((env.flags & EXCEPTION.precision) !== 0);
		expect(down).toBeLessThanOrEqual(up);
	}
});

describe("exceptions", () => {
	const env = new FpuEnvironment(false);
	const max = 0x7fefffffffffffffn;
	const least = 1n;

	test("tininess is found after rounding: what rounds up to the smallest normal number does not underflow", () => {
		env.beginSse(0x1f80);
		// (1 - 2^-53) × 2^-1022 is tiny; (1 - 2^-54) × 2^-1022 is not: with an unbounded exponent it rounds up.
		D.f64Multiply(env, doubleOf(1 - 2 ** -53), doubleOf(2 ** -1022));
		expect(env.flags & EXCEPTION.underflow).toBe(EXCEPTION.underflow);
		env.begin();
		D.f64MultiplyAdd(env, doubleOf(-(2 ** -500)), doubleOf(2 ** -576), doubleOf(2 ** -1022));
		expect(env.flags).toBe(EXCEPTION.precision);
	});

	test("overflow gives infinity or the largest number as the rounding says", () => {
		for (const [rounding, want] of [
			[ROUNDING.nearest, 0x7ff0000000000000n],
			[ROUNDING.down, max],
			[ROUNDING.up, 0x7ff0000000000000n],
			[ROUNDING.zero, max],
		] as const) {
			env.beginSse(0x1f80 | (rounding << 13));
			expect(D.f64Add(env, max, max)).toBe(want);
			expect(env.flags).toBe(EXCEPTION.overflow | EXCEPTION.precision);
		}
	});

	test("an unmasked overflow is inexact only if the result would be with an unbounded exponent (as Zen 4 has it)", () => {
		env.beginSse(0x1f80 & ~(EXCEPTION.overflow << 7));
		D.f64Add(env, max, max);
		expect(env.flags).toBe(EXCEPTION.overflow);
		env.begin();
		D.f64Multiply(env, max, max);
		expect(env.flags).toBe(EXCEPTION.overflow | EXCEPTION.precision);
	});

	test("FTZ makes an exact denormal a zero, with underflow and precision; DAZ takes one as a zero, with nothing", () => {
		env.beginSse(0x9f80);
		expect(D.f64Multiply(env, 0x0010000000000000n, doubleOf(0.5))).toBe(0n);
		expect(env.flags).toBe(EXCEPTION.underflow | EXCEPTION.precision);
		env.beginSse(0x1fc0);
		expect(D.f64Add(env, least, least)).toBe(0n);
		expect(env.flags).toBe(0);
		env.beginSse(0x1f80);
		expect(D.f64Add(env, least, least)).toBe(2n);
		expect(env.flags).toBe(EXCEPTION.denormal);
	});

	test("SSE takes the first NaN, x87 the larger; signaling ones become quiet and raise #I", () => {
		const small = 0x7ff0000000000001n;
		const large = 0xfff8000000000002n;
		env.beginSse(0x1f80);
		expect(D.f64Add(env, small, large)).toBe(0x7ff8000000000001n);
		expect(env.flags).toBe(EXCEPTION.invalid);
		const x87 = new FpuEnvironment(true);
		expect(toF64(general.add(x87, F64, fromF64(small), fromF64(large)))).toBe(large);
		expect(x87.flags).toBe(EXCEPTION.invalid);
	});

	test("an unmasked exception found before the computation keeps the others from being raised", () => {
		env.beginSse(0x1f80 & ~(EXCEPTION.denormal << 7));
		D.f64Add(env, least, doubleOf(1));
		expect(env.end()).toBe(EXCEPTION.denormal);
		env.beginSse(0x1f80);
		D.f64Add(env, least, doubleOf(1));
		expect(env.end()).toBe(EXCEPTION.denormal | EXCEPTION.precision);
	});
});

test("integers that do not fit become the integer indefinite, with #I alone", () => {
	const env = new FpuEnvironment(false);
	expect(D.f64ToInteger(env, doubleOf(2 ** 31), 32, ROUNDING.nearest)).toBe(0x80000000n);
	expect(env.flags).toBe(EXCEPTION.invalid);
	env.begin();
	expect(D.f64ToInteger(env, doubleOf(-(2 ** 31) - 0.5), 32, ROUNDING.nearest)).toBe(0x80000000n);
	expect(env.flags).toBe(EXCEPTION.precision);
	env.begin();
	expect(S.f32ToInteger(env, singleOf(Number.NaN), 64, ROUNDING.zero)).toBe(1n << 63n);
	expect(env.flags).toBe(EXCEPTION.invalid);
});
