/** Rounding of exact results into a format, with overflow, underflow and their responses (SDM Vol. 1, 4.8.4 and 4.9.1). */
import { EXCEPTION, type FpuEnvironment, ROUNDING } from "./environment.ts";
import { type Format, bitLength, finite, infinity, type Value, zero } from "./value.ts";

/** What x87 adds to or takes from the exponent of a result whose unmasked exception a handler shall look at. */
const SCALED_BY = 24576;

/** A significand cut to multiples of 2^`last`, and what that lost. */
interface Cut {
	readonly significand: bigint;
	readonly inexact: boolean;
	readonly up: boolean;
}

/** Whether the magnitude is rounded up. @param compared of the lost part with half a unit: below 0, 0, above 0 */
function roundsUp(rounding: number, negative: boolean, odd: boolean, compared: number): boolean {
	switch (rounding) {
		case ROUNDING.nearest:
			return compared > 0 || (compared === 0 && odd);
		case ROUNDING.down:
			return negative;
		case ROUNDING.up:
			return !negative;
		default:
			return false;
	}
}

/**
 * Rounds significand × 2^exponent to a multiple of 2^last.
 * @param rounding one of ROUNDING
 */
export function cut(
	rounding: number,
	negative: boolean,
	significand: bigint,
	exponent: number,
	last: number,
): Cut {
	const shift = last - exponent;
	if (shift <= 0) return { significand: significand << BigInt(-shift), inexact: false, up: false };
	if (shift > bitLength(significand) + 1) {
		const up = roundsUp(rounding, negative, false, -1);
		return { significand: up ? 1n : 0n, inexact: true, up };
	}
	const kept = significand >> BigInt(shift);
	const lost = significand - (kept << BigInt(shift));
	if (lost === 0n) return { significand: kept, inexact: false, up: false };
	const half = 1n << BigInt(shift - 1);
	const compared = lost > half ? 1 : lost === half ? 0 : -1;
	const up = roundsUp(rounding, negative, (kept & 1n) !== 0n, compared);
	return { significand: up ? kept + 1n : kept, inexact: true, up };
}

/** The largest number of a format, in a precision. */
function largest(format: Format, precision: number, negative: boolean): Value {
	return finite(negative, (1n << BigInt(precision)) - 1n, format.maxExponent - precision + 1);
}

function overflow(
	env: FpuEnvironment,
	format: Format,
	precision: number,
	negative: boolean,
	rounded: Cut,
	last: number,
): Value {
	env.flags |= EXCEPTION.overflow;
	if ((env.masks & EXCEPTION.overflow) === 0) {
		// Inexact is judged with an unbounded exponent.
		if (rounded.inexact) env.flags |= EXCEPTION.precision;
		env.roundedUp = rounded.up;
		// SSE delivers no result.
		if (!env.x87) return infinity(negative);
		if (last + precision - 1 - SCALED_BY <= format.maxExponent) {
			return finite(negative, rounded.significand, last - SCALED_BY);
		}
		// FSCALE can be so far off that scaling does not help.
		env.flags |= EXCEPTION.precision;
		env.roundedUp = true;
		return infinity(negative);
	}
	env.flags |= EXCEPTION.precision;
	const toInfinity = roundsUp(env.rounding, negative, true, 1);
	env.roundedUp = toInfinity;
	return toInfinity ? infinity(negative) : largest(format, precision, negative);
}

/** A result below the smallest normal number, even after rounding with an unbounded exponent. */
function tiny(
	env: FpuEnvironment,
	format: Format,
	precision: number,
	exact: Value,
	rounded: Cut,
	last: number,
): Value {
	const { negative, significand, exponent } = exact;
	if ((env.masks & EXCEPTION.underflow) === 0) {
		env.flags |= EXCEPTION.underflow;
		if (rounded.inexact) env.flags |= EXCEPTION.precision;
		env.roundedUp = rounded.up;
		if (last + precision - 1 + SCALED_BY < format.minExponent) {
			env.flags |= EXCEPTION.precision;
			env.roundedUp = false;
			return zero(negative);
		}
		return finite(negative, rounded.significand, last + (env.x87 ? SCALED_BY : 0));
	}
	if (env.flushToZero) {
		env.flags |= EXCEPTION.underflow | EXCEPTION.precision;
		return zero(negative);
	}
	const lowest = format.minExponent - precision + 1;
	const denormal = cut(env.rounding, negative, significand, exponent, lowest);
	if (denormal.inexact) env.flags |= EXCEPTION.underflow | EXCEPTION.precision;
	env.roundedUp = denormal.up;
	return denormal.significand === 0n ? zero(negative) : finite(negative, denormal.significand, lowest);
}

/**
 * Rounds an exact number to a format as the environment says, and raises overflow, underflow and precision. Tininess is
 * found after rounding, as x86 does.
 * @param significand above 0; where the exact number has more bits, its last bit is a sticky one below the format's last
 * @param precision bits to round to, where x87's precision control has fewer than the format
 */
export function round(
	env: FpuEnvironment,
	format: Format,
	negative: boolean,
	significand: bigint,
	exponent: number,
	precision: number = format.precision,
): Value {
	let leading = exponent + bitLength(significand) - 1;
	const last = leading - precision + 1;
	const rounded = cut(env.rounding, negative, significand, exponent, last);
	if (rounded.significand >> BigInt(precision) !== 0n) leading++;
	if (leading > format.maxExponent) return overflow(env, format, precision, negative, rounded, last);
	if (leading < format.minExponent) {
		return tiny(env, format, precision, finite(negative, significand, exponent), rounded, last);
	}
	if (rounded.inexact) env.flags |= EXCEPTION.precision;
	env.roundedUp = rounded.up;
	return finite(negative, rounded.significand, last);
}
