/** F2XM1, FYL2X, FYL2XP1, FPTAN, FPATAN, FSIN, FCOS, FSINCOS (SDM Vol. 1, 8.3.7). Results are within 1 ulp of real processors'. */
import type { Cpu } from "../cpu/cpu.ts";
import * as general from "../fpu/arithmetic.ts";
import { BEFORE_COMPUTATION, EXCEPTION } from "../fpu/environment.ts";
import { round } from "../fpu/rounding.ts";
import {
	F80,
	finite,
	INDEFINITE,
	infinity,
	KIND,
	leadingExponent,
	type Value,
	withSign,
	zero,
} from "../fpu/value.ts";
import { emptyOperand, unary } from "./arithmetic.ts";
import {
	angle,
	CONSTANTS,
	exp2m1,
	log2,
	log2p1,
	quotient,
	type Real,
	realOf,
	sineAndCosine,
} from "./elementary.ts";
import type { Effect } from "./instruction.ts";
import * as X from "./state.ts";

const ONE = finite(false, 1n, 0);
/** Arguments from here on are left alone, with C2 set. */
const LARGEST_EXPONENT = 63;

/** Rounds a number whose last bit is not exact. */
function inexact({ m, e }: Real): Value {
	return round(X.env, F80, m < 0n, ((m < 0n ? -m : m) << 1n) | 1n, e - 1);
}

/** Rounds an exact number. */
function exact({ m, e }: Real): Value {
	return m === 0n ? zero(false) : round(X.env, F80, m < 0n, m < 0n ? -m : m, e);
}

/** π times a fraction, with a sign. */
function piTimes(numerator: bigint, halvings: number, negative: boolean): Value {
	const { m, e } = CONSTANTS.pi;
	return inexact({ m: m * (negative ? -numerator : numerator), e: e - halvings });
}

// ---- 2^x - 1 -----------------------------------------------------------------------------------------

/** F2XM1. Outside of -1 to 1 the result is undefined: here the argument. */
export const f2xm1 = unary((_cpu, a) => {
	const decided = general.special(X.env, a, a);
	if (decided !== null) return decided;
	if (a.kind === KIND.infinity) return a.negative ? withSign(ONE, true) : a;
	if (a.kind === KIND.zero) return a;
	general.noteDenormals(X.env, a);
	const leading = leadingExponent(a);
	if (leading > 0) return a;
	if (leading === 0) return a.negative ? finite(true, 1n, -1) : ONE;
	return inexact(exp2m1(a));
});

// ---- logarithms --------------------------------------------------------------------------------------

/** y times a logarithm that is zero or infinite: only signs and kinds count. */
function timesLimit(y: Value, log: Value): Value {
	const negative = y.negative !== log.negative;
	if (log.kind === KIND.zero) return y.kind === KIND.infinity ? general.invalid(X.env) : zero(negative);
	return y.kind === KIND.zero ? general.invalid(X.env) : infinity(negative);
}

/** y × a logarithm that is finite and not 0. */
function timesLogarithm(y: Value, log: Real, isExact: boolean): Value {
	const negative = y.negative !== log.m < 0n;
	if (y.kind === KIND.infinity) return infinity(negative);
	if (y.kind === KIND.zero) return zero(negative);
	const factor = realOf(y);
	const product: Real = { m: factor.m * log.m, e: factor.e + log.e };
	if (!isExact) return inexact(product);
	// The result of a power of two is exact, but raises #P all the same (measured on Zen 4).
	const value = exact(product);
	X.env.flags |= EXCEPTION.precision;
	const tiny = value.kind === KIND.finite && leadingExponent(value) < F80.minExponent;
	if (tiny) X.env.flags |= EXCEPTION.underflow;
	return value;
}

function yLog2(x: Value, y: Value): Value {
	const { env } = X;
	const decided = general.special(env, x, y);
	if (decided !== null) return decided;
	if (x.kind === KIND.zero) {
		if (y.kind === KIND.finite) env.flags |= EXCEPTION.zeroDivide;
		return timesLimit(y, infinity(true));
	}
	if (x.negative) return general.invalid(env);
	if (x.kind === KIND.infinity) {
		if (y.kind !== KIND.zero) general.noteDenormals(env, y);
		return timesLimit(y, infinity(false));
	}
	const log = log2(x);
	if (log.m === 0n) {
		if (y.kind !== KIND.infinity) general.noteDenormals(env, y);
		return timesLimit(y, zero(false));
	}
	general.noteDenormals(env, x, y);
	return timesLogarithm(y, log, log.e === 0);
}

function yLog2p1(x: Value, y: Value): Value {
	const { env } = X;
	const decided = general.special(env, x, y);
	if (decided !== null) return decided;
	if (x.kind === KIND.zero) {
		if (y.kind !== KIND.infinity) general.noteDenormals(env, y);
		return timesLimit(y, x);
	}
	if (x.kind === KIND.infinity) {
		if (!x.negative && y.kind !== KIND.zero) general.noteDenormals(env, y);
		return x.negative ? general.invalid(env) : timesLimit(y, x);
	}
	general.noteDenormals(env, x, y);
	// Outside of ±(1 - √2/2) the result is undefined: here it stays the function's, down to -1.
	if (leadingExponent(x) < -1) return timesLogarithm(y, log2p1(x), false);
	const last = Math.min(x.exponent, 0);
	const sum =
		(x.negative ? -x.significand : x.significand) * 2n ** BigInt(x.exponent - last) + 2n ** BigInt(-last);
	if (sum <= 0n) return general.invalid(env);
	return timesLogarithm(y, log2(finite(false, sum, last)), false);
}

/** Two operands, the result replacing ST(1), and a pop. @param compute of ST(0) and ST(1) */
function popping(compute: (x: Value, y: Value) => Value): Effect {
	return (cpu) => {
		if (X.isEmpty(cpu, 0) || X.isEmpty(cpu, 1)) {
			emptyOperand(cpu, 1, true);
			return true;
		}
		const value = compute(X.read(cpu, 0), X.read(cpu, 1));
		const suppressed = X.unmasked(BEFORE_COMPUTATION);
		X.end(cpu, X.env.roundedUp && !suppressed);
		if (suppressed) return true;
		X.write(cpu, 1, value);
		X.pop(cpu);
		return true;
	};
}

/** FYL2X: ST(1) × log2 ST(0). */
export const fyl2x = popping(yLog2);
/** FYL2XP1: ST(1) × log2(ST(0) + 1). */
export const fyl2xp1 = popping(yLog2p1);

// ---- angles ------------------------------------------------------------------------------------------

function arcTangent(x: Value, y: Value): Value {
	const { env } = X;
	const decided = general.special(env, x, y);
	if (decided !== null) return decided;
	const { negative } = y;
	general.noteDenormals(env, x, y);
	if (y.kind === KIND.infinity) {
		if (x.kind !== KIND.infinity) return piTimes(1n, 1, negative);
		return piTimes(x.negative ? 3n : 1n, 2, negative);
	}
	if (x.kind === KIND.infinity || y.kind === KIND.zero) {
		return x.negative ? piTimes(1n, 0, negative) : zero(negative);
	}
	if (x.kind === KIND.zero) return piTimes(1n, 1, negative);
	return inexact(angle(y, x));
}

/** FPATAN: the angle of the point (ST(0), ST(1)). */
export const fpatan = popping(arcTangent);

/** What FSIN, FCOS, FSINCOS and FPTAN compute. */
type Angular = (a: Value) => readonly Value[];

const sine = (a: Value) => (a.kind === KIND.zero ? a : inexact(sineAndCosine(a).sine));
const cosine = (a: Value) => (a.kind === KIND.zero ? ONE : inexact(sineAndCosine(a).cosine));
function tangent(a: Value): Value {
	if (a.kind === KIND.zero) return a;
	const both = sineAndCosine(a);
	return inexact(quotient(both.sine, both.cosine));
}

/** The results of an angular instruction, or null if the argument is out of range. */
function angular(a: Value, count: number, compute: Angular): readonly Value[] | null {
	const { env } = X;
	const decided = general.special(env, a, a);
	if (decided !== null) return Array(count).fill(decided);
	if (a.kind === KIND.infinity) return Array(count).fill(general.invalid(env));
	if (a.kind === KIND.finite && leadingExponent(a) >= LARGEST_EXPONENT) return null;
	general.noteDenormals(env, a);
	return compute(a);
}

/** The first result replaces ST(0), a second one is pushed. */
function replacing(count: 1 | 2, compute: Angular): Effect {
	return (cpu: Cpu) => {
		const { c1, c2 } = X.STATUS;
		const overflow = count === 2 && !X.isEmpty(cpu, 7);
		if (X.isEmpty(cpu, 0) || overflow) {
			X.stackFault(cpu, !X.isEmpty(cpu, 0));
			X.setConditions(cpu, 0, c2);
			if (X.unmasked()) return true;
			X.write(cpu, 0, INDEFINITE);
			if (count === 2) X.push(cpu, INDEFINITE);
			return true;
		}
		const results = angular(X.read(cpu, 0), count, compute);
		if (results === null) {
			X.setConditions(cpu, c2, c1 | c2);
			return true;
		}
		const suppressed = X.unmasked(BEFORE_COMPUTATION);
		X.end(cpu, X.env.roundedUp && !suppressed);
		X.setConditions(cpu, 0, c2);
		if (suppressed) return true;
		X.write(cpu, 0, results[0]!);
		if (count === 2) X.push(cpu, results[1]!);
		return true;
	};
}

/** FSIN. */
export const fsin = replacing(1, (a) => [sine(a)]);
/** FCOS. */
export const fcos = replacing(1, (a) => [cosine(a)]);
/** FSINCOS: the sine replaces ST(0), the cosine is pushed. */
export const fsincos = replacing(2, (a) => [sine(a), cosine(a)]);
/** FPTAN: the tangent replaces ST(0), 1.0 is pushed. */
export const fptan = replacing(2, (a) => [tangent(a), ONE]);
