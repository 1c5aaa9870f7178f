/** Partial remainders: FPREM and FPREM1 (SDM Vol. 2A). */
import { invalid, noteDenormals, special } from "./arithmetic.ts";
import type { FpuEnvironment } from "./environment.ts";
import { round } from "./rounding.ts";
import { F80, KIND, leadingExponent, type Value, zero } from "./value.ts";

/** What one step of a remainder gives. */
export interface Remainder {
	readonly value: Value;
	/** The three low bits of the quotient, if it is complete. */
	readonly quotient: number;
	/** The exponents lay so far apart that this is but a partial remainder: C2. */
	readonly partial: boolean;
	/** There is a quotient: neither a NaN came in nor was the operation invalid. */
	readonly number: boolean;
}

const done = (value: Value, quotient = 0): Remainder => ({ value, quotient, partial: false, number: true });
const noNumber = (value: Value): Remainder => ({ value, quotient: 0, partial: false, number: false });

/**
 * One step of FPREM or FPREM1.
 * @param nearest FPREM1: the quotient is rounded to the nearest, even at a tie; else it is cut
 */
export function remainder(env: FpuEnvironment, a: Value, b: Value, nearest: boolean): Remainder {
	const decided = special(env, a, b);
	if (decided !== null) return noNumber(decided);
	if (a.kind === KIND.infinity || b.kind === KIND.zero) return noNumber(invalid(env));
	noteDenormals(env, a, b);
	if (a.kind === KIND.zero || b.kind === KIND.infinity) return done(a);
	const distance = leadingExponent(a) - leadingExponent(b);
	if (distance >= 64) return step(env, a, b, distance);
	// FPREM leaves a smaller dividend as it is, rounding nothing; FPREM1 may still subtract once.
	if (distance < (nearest ? -1 : 0)) return done(rounded(env, a.negative, a.significand, a.exponent));
	const last = Math.min(a.exponent, b.exponent);
	const dividend = a.significand << BigInt(a.exponent - last);
	const divisor = b.significand << BigInt(b.exponent - last);
	let quotient = dividend / divisor;
	let rest = dividend - quotient * divisor;
	let negative = a.negative;
	if (nearest && (rest * 2n > divisor || (rest * 2n === divisor && (quotient & 1n) !== 0n))) {
		quotient++;
		rest = divisor - rest;
		negative = !negative;
	}
	const low = Number(quotient & 7n);
	return done(rest === 0n ? zero(a.negative) : rounded(env, negative, rest, last), low);
}

/** Remainders are exact, but may be tiny. */
function rounded(env: FpuEnvironment, negative: boolean, significand: bigint, exponent: number): Value {
	return round(env, F80, negative, significand, exponent);
}

/** Takes the exponents closer by 32 to 63, as the manual leaves to the processor. */
function step(env: FpuEnvironment, a: Value, b: Value, distance: number): Remainder {
	// So that what is left is a multiple of 32 below the divisor's reach: what real processors do.
	const reach = 32 + (distance % 32);
	const shift = distance - reach;
	const last = Math.min(a.exponent - shift, b.exponent);
	const dividend = a.significand << BigInt(a.exponent - shift - last);
	const divisor = b.significand << BigInt(b.exponent - last);
	const rest = dividend % divisor;
	const value = rest === 0n ? zero(a.negative) : rounded(env, a.negative, rest, last + shift);
	return { value, quotient: 0, partial: true, number: true };
}
