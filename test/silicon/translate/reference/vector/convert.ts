/** Conversions of the reference (SDM Vol. 2), on exact fractions. */
import { type Instruction, OpKind } from "iced-x86";
import type { Operation } from "../state.ts";
import {
	type Control,
	controlOf,
	DOUBLE,
	E,
	type Format,
	HALF,
	infinityOf,
	isNaNValue,
	isZero,
	noteDenormals,
	roundFraction,
	roundPower,
	SINGLE,
	take,
	zeroOf,
} from "./exact.ts";
import { settle } from "./float.ts";
import { bytesOf, fromNumber, immediate, isVex, join, putBytes, sourceNumbers, split } from "./lanes.ts";

/** From one format to another. */
function convert(c: Control, from: Format, to: Format, bits: bigint, ignoreDenormals = false): bigint {
	const a = take(c, from, bits, ignoreDenormals);
	if (isNaNValue(a)) {
		if (a.kind === "signaling") c.flags |= E.invalid;
		const fraction = bits & ((1n << BigInt(from.precision - 1)) - 1n);
		const shift = to.precision - from.precision;
		const kept = shift >= 0 ? fraction << BigInt(shift) : fraction >> BigInt(-shift);
		return infinityOf(to, a.negative) | kept | (1n << BigInt(to.precision - 2));
	}
	if (!ignoreDenormals) noteDenormals(c, [a]);
	if (a.kind === "infinity") return infinityOf(to, a.negative);
	if (isZero(a)) return zeroOf(to, a.negative);
	return roundPower(c, to, a.negative, a.magnitude, a.power);
}

function fromInteger(c: Control, to: Format, value: bigint): bigint {
	if (value === 0n) return 0n;
	return roundPower(c, to, value < 0n, value < 0n ? -value : value, 0);
}

/** To a signed integer; the integer indefinite if it does not fit. */
function toInteger(c: Control, from: Format, bits: bigint, size: number, rounding: number): bigint {
	const indefinite = 1n << BigInt(size - 1);
	const a = take(c, from, bits);
	if (a.kind !== "number") {
		c.flags |= E.invalid;
		return indefinite;
	}
	const [top, bottom] =
		a.power >= 0 ? [a.magnitude << BigInt(a.power), 1n] : [a.magnitude, 1n << BigInt(-a.power)];
	const [whole, inexact] = roundFraction(rounding, a.negative, top, bottom);
	const value = a.negative ? -whole : whole;
	if (value < -indefinite || value >= indefinite) {
		c.flags |= E.invalid;
		return indefinite;
	}
	if (inexact) c.flags |= E.precision;
	return BigInt.asUintN(size, value);
}

const roundingOf = (c: Control, control: number) => (control & 4 ? c.rounding : control & 3);

/** ROUNDPS and its like. */
function integral(c: Control, f: Format, bits: bigint, control: number): bigint {
	const a = take(c, f, bits);
	if (isNaNValue(a)) return convert(c, f, f, bits);
	if (a.kind === "infinity" || a.power >= 0) return isZero(a) ? zeroOf(f, a.negative) : bits;
	const [whole, inexact] = roundFraction(
		roundingOf(c, control),
		a.negative,
		a.magnitude,
		1n << BigInt(-a.power),
	);
	if (inexact && (control & 8) === 0) c.flags |= E.precision;
	if (whole === 0n) return zeroOf(f, a.negative);
	return roundPower(c, f, a.negative, whole, 0);
}

type Convert = (c: Control, bits: bigint, i: Instruction) => bigint;

/** As many lanes as the smaller of source and destination has; zeros above. */
const packed =
	(from: number, to: number, operation: Convert): Operation =>
	(r, i) => {
		const c = controlOf(r.mxcsr);
		const size = r.size(i, 0);
		const lanes = split(bytesOf(r, i, 1), from).slice(0, size / to);
		const out = lanes.map((lane) => operation(c, lane, i));
		settle(r, c);
		while (out.length < size / to) out.push(0n);
		putBytes(r, i, 0, join(out, to));
	};

/** The lowest lane, below the rest of the first source. */
const scalar =
	(from: number, to: number, operation: Convert): Operation =>
	(r, i) => {
		const c = controlOf(r.mxcsr);
		const [first, second] = sourceNumbers(i);
		const value = split(bytesOf(r, i, second), from)[0]!;
		const lanes = split(bytesOf(r, i, first), to);
		lanes[0] = operation(c, value, i);
		settle(r, c);
		putBytes(r, i, 0, join(lanes, to));
	};

const fromGeneral =
	(to: Format): Operation =>
	(r, i) => {
		const c = controlOf(r.mxcsr);
		const at = isVex(i) ? 2 : 1;
		const value = BigInt.asIntN(r.bits(i, at), r.read(i, at));
		const lanes = split(bytesOf(r, i, at - 1), to.bits / 8);
		lanes[0] = fromInteger(c, to, value);
		settle(r, c);
		putBytes(r, i, 0, join(lanes, to.bits / 8));
	};

const toGeneral =
	(from: Format, truncate: boolean): Operation =>
	(r, i) => {
		const c = controlOf(r.mxcsr);
		const bits = split(bytesOf(r, i, 1), from.bits / 8)[0]!;
		const value = toInteger(c, from, bits, r.bits(i, 0), truncate ? 3 : c.rounding);
		settle(r, c);
		r.write(i, 0, value);
	};

const lanesToIntegers = (from: Format, truncate: boolean) =>
	packed(from.bits / 8, 4, (c, bits) => toInteger(c, from, bits, 32, truncate ? 3 : c.rounding));

const rounded =
	(f: Format): Convert =>
	(c, bits, i) =>
		integral(c, f, bits, immediate(i));

/** VCVTPS2PH: FTZ does not count; 8 or 16 bytes to memory, with zeros above in a register. */
const toHalves: Operation = (r, i) => {
	const c = controlOf(r.mxcsr);
	const lanes = split(bytesOf(r, i, 1), 4);
	const control = { ...c, rounding: roundingOf(c, immediate(i)), ftz: false };
	const out = join(
		lanes.map((lane) => convert(control, SINGLE, HALF, lane)),
		2,
	);
	const isMemory = i.opKind(0) === OpKind.Memory;
	if (isMemory) r.memory.probe(r.linear(i), out.length);
	settle(r, control);
	if (isMemory) r.write(i, 0, split(out, out.length)[0]!);
	else putBytes(r, i, 0, fromNumber(split(out, out.length)[0]!, 16));
};

/** By name. */
// biome-ignore format: one row an instruction
export const CONVERT: readonly (readonly [string, Operation])[] = [
	["cvtps2pd", packed(4, 8, (c, bits) => convert(c, SINGLE, DOUBLE, bits))],
	["cvtpd2ps", packed(8, 4, (c, bits) => convert(c, DOUBLE, SINGLE, bits))],
	["cvtss2sd", scalar(4, 8, (c, bits) => convert(c, SINGLE, DOUBLE, bits))],
	["cvtsd2ss", scalar(8, 4, (c, bits) => convert(c, DOUBLE, SINGLE, bits))],
	["cvtdq2ps", packed(4, 4, (c, bits) => fromInteger(c, SINGLE, BigInt.asIntN(32, bits)))],
	["cvtdq2pd", packed(4, 8, (c, bits) => fromInteger(c, DOUBLE, BigInt.asIntN(32, bits)))],
	["cvtps2dq", lanesToIntegers(SINGLE, false)], ["cvttps2dq", lanesToIntegers(SINGLE, true)],
	["cvtpd2dq", lanesToIntegers(DOUBLE, false)], ["cvttpd2dq", lanesToIntegers(DOUBLE, true)],
	["cvtsi2ss", fromGeneral(SINGLE)], ["cvtsi2sd", fromGeneral(DOUBLE)],
	["cvtss2si", toGeneral(SINGLE, false)], ["cvttss2si", toGeneral(SINGLE, true)],
	["cvtsd2si", toGeneral(DOUBLE, false)], ["cvttsd2si", toGeneral(DOUBLE, true)],
	["roundps", packed(4, 4, rounded(SINGLE))], ["roundpd", packed(8, 8, rounded(DOUBLE))],
	["roundss", scalar(4, 4, rounded(SINGLE))], ["roundsd", scalar(8, 8, rounded(DOUBLE))],
	["cvtph2ps", packed(2, 4, (c, bits) => convert(c, HALF, SINGLE, bits, true))],
	["cvtps2ph", toHalves],
];
