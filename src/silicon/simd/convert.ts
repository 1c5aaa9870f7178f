/** Conversions, rounding to integral values, and approximations, on the state block (SDM Vol. 2). */
import type { Cpu } from "../cpu/cpu.ts";
import { EXCEPTION, type FpuEnvironment, ROUNDING } from "../fpu/environment.ts";
import * as single from "../fpu/f32.ts";
import * as double from "../fpu/f64.ts";
import { begin, finish, places, singles } from "./float.ts";
import type { VectorOperation } from "./operation.ts";

/** Lanes of 32 bits to lanes of 64; the immediate is their number. */
function widening(operation: (env: FpuEnvironment, a: number) => bigint): VectorOperation {
	return (cpu, lanes) => {
		const env = begin(cpu);
		const from = places(cpu, 2)[0]!;
		const to = places(cpu, 3)[3]!;
		for (let at = 0; at < lanes; at++) cpu.memory.u64[to + at] = operation(env, cpu.u32[from + at]!);
		finish(cpu);
	};
}

/** Lanes of 64 bits to lanes of 32, with zeros up to 16 bytes; the immediate is their number. */
function narrowing(operation: (env: FpuEnvironment, a: bigint) => number): VectorOperation {
	return (cpu, lanes) => {
		const env = begin(cpu);
		const from = places(cpu, 3)[0]!;
		const to = places(cpu, 2)[3]!;
		cpu.u32.fill(0, to, to + 4);
		for (let at = 0; at < lanes; at++) cpu.u32[to + at] = operation(env, cpu.memory.u64[from + at]!);
		finish(cpu);
	};
}

/** An integer of a general-purpose register, sign-extended to 64 bits in VECTOR_A. */
function integerOf(cpu: Cpu): bigint {
	return BigInt.asIntN(64, cpu.memory.u64[places(cpu, 3)[0]!]!);
}

/** CVTSS2SI and its like: the immediate has the destination's bits in 7:0, and bit 8 to truncate. */
function toInteger(
	operation: (env: FpuEnvironment, cpu: Cpu, bits: number, rounding: number) => bigint,
): VectorOperation {
	return (cpu, immediate) => {
		const env = begin(cpu);
		const rounding = (immediate & 0x100) !== 0 ? ROUNDING.zero : env.rounding;
		cpu.memory.u64[places(cpu, 3)[3]!] = operation(env, cpu, immediate & 0xff, rounding);
		finish(cpu);
	};
}

/** The rounding that the immediate of ROUNDPS asks for: bits 1:0, or MXCSR's with bit 2. */
function roundingOf(env: FpuEnvironment, control: number): number {
	return (control & 4) !== 0 ? env.rounding : control & 3;
}

/** ROUNDPS and ROUNDSS: lanes in bits 7:0 of the immediate, the instruction's own above. */
const roundSingles: VectorOperation = (cpu, immediate) => {
	const control = immediate >> 8;
	const env = begin(cpu);
	const [from, , , to] = places(cpu, 2);
	for (let at = 0; at < (immediate & 0xff); at++) {
		cpu.u32[to! + at] = single.f32RoundToIntegral(env, cpu.u32[from! + at]!, roundingOf(env, control));
	}
	suppress(env, control);
	finish(cpu);
};

const roundDoubles: VectorOperation = (cpu, immediate) => {
	const control = immediate >> 8;
	const env = begin(cpu);
	const [from, , , to] = places(cpu, 3);
	const quadwords = cpu.memory.u64;
	for (let at = 0; at < (immediate & 0xff); at++) {
		quadwords[to! + at] = double.f64RoundToIntegral(env, quadwords[from! + at]!, roundingOf(env, control));
	}
	suppress(env, control);
	finish(cpu);
};

/** Bit 3 of ROUNDPS's immediate: inexact is not reported. */
function suppress(env: FpuEnvironment, control: number): void {
	if ((control & 8) !== 0) env.flags &= ~EXCEPTION.precision;
}

// ---- half precision --------------------------------------------------------------------------------

/** VCVTPH2PS: lanes of 16 bits; the immediate is their number. */
const fromHalves: VectorOperation = (cpu, lanes) => {
	const env = begin(cpu);
	const from = places(cpu, 1)[0]!;
	const to = places(cpu, 2)[3]!;
	for (let at = 0; at < lanes; at++) {
		cpu.u32[to + at] = single.f16ToF32(env, cpu.memory.u16[from + at]!);
	}
	finish(cpu);
};

/** VCVTPS2PH: lanes in bits 7:0 of the immediate, the instruction's own above; zeros up to 16 bytes. */
const toHalves: VectorOperation = (cpu, immediate) => {
	const env = begin(cpu);
	const from = places(cpu, 2)[0]!;
	const to = places(cpu, 1)[3]!;
	const rounding = roundingOf(env, immediate >> 8);
	cpu.memory.u16.fill(0, to, to + 8);
	for (let at = 0; at < (immediate & 0xff); at++) {
		cpu.memory.u16[to + at] = single.f32ToF16(env, cpu.u32[from + at]!, rounding);
	}
	finish(cpu);
};

// ---- approximations --------------------------------------------------------------------------------

const numbers = new Float32Array(1);
const bits = new Uint32Array(numbers.buffer);

const SIGN = 0x80000000;
const INFINITE = 0x7f800000;
const INDEFINITE = 0xffc00000;

/** Rounds to 12 bits behind the point; what is tiny becomes 0. */
function approximate(value: number): number {
	numbers[0] = value;
	const word = bits[0]!;
	if ((word & INFINITE) === 0) return (word & SIGN) >>> 0;
	if ((word & INFINITE) === INFINITE) return word;
	return ((word + 0x400) & ~0x7ff) >>> 0;
}

/** What RCPPS and RSQRTPS make of zeros (denormals among them), infinities and NaNs; or null. They raise nothing. */
function approximateSpecial(word: number): number | null {
	const magnitude = word & ~SIGN;
	const sign = (word & SIGN) >>> 0;
	if (magnitude > INFINITE) return (word | 0x400000) >>> 0;
	if (magnitude === INFINITE) return sign;
	return magnitude < 0x800000 ? (sign | INFINITE) >>> 0 : null;
}

/** RCPPS: rounded to 13 bits. Hardware's own, with a relative error below 1.5 × 2^-12, differs from maker to maker. */
function reciprocal(word: number): number {
	const special = approximateSpecial(word);
	if (special !== null) return special;
	bits[0] = word;
	return approximate(1 / numbers[0]!);
}

/** RSQRTPS. */
function reciprocalRoot(word: number): number {
	const special = approximateSpecial(word);
	if (special !== null) return word === (SIGN | INFINITE) >>> 0 ? INDEFINITE : special;
	bits[0] = word;
	return word >= SIGN ? INDEFINITE : approximate(1 / Math.sqrt(numbers[0]!));
}

/** Operations by name. */
// biome-ignore format: one row an operation
export const CONVERT: readonly (readonly [string, VectorOperation])[] = [
	["cvtps2pd", widening(single.f32ToF64)],
	["cvtpd2ps", narrowing(double.f64ToF32)],
	["cvtdq2ps", singles((env, a) => single.f32FromInteger(env, BigInt(a | 0)))],
	["cvtps2dq", singles((env, a) => Number(single.f32ToInteger(env, a, 32, env.rounding)))],
	["cvttps2dq", singles((env, a) => Number(single.f32ToInteger(env, a, 32, ROUNDING.zero)))],
	["cvtpd2dq", narrowing((env, a) => Number(double.f64ToInteger(env, a, 32, env.rounding)))],
	["cvttpd2dq", narrowing((env, a) => Number(double.f64ToInteger(env, a, 32, ROUNDING.zero)))],
	["cvtsi2ss", (cpu) => {
		const env = begin(cpu);
		cpu.u32[places(cpu, 2)[3]!] = single.f32FromInteger(env, integerOf(cpu));
		finish(cpu);
	}],
	["cvtsi2sd", (cpu) => {
		const env = begin(cpu);
		cpu.memory.u64[places(cpu, 3)[3]!] = double.f64FromInteger(env, integerOf(cpu));
		finish(cpu);
	}],
	["cvtss2si", toInteger((env, cpu, size, rounding) =>
		single.f32ToInteger(env, cpu.u32[places(cpu, 2)[0]!]!, size, rounding))],
	["cvtsd2si", toInteger((env, cpu, size, rounding) =>
		double.f64ToInteger(env, cpu.memory.u64[places(cpu, 3)[0]!]!, size, rounding))],
	["roundps", roundSingles],  ["roundpd", roundDoubles],
	["cvtph2ps", fromHalves],   ["cvtps2ph", toHalves],
	["rcpps", singles((_, a) => reciprocal(a))],
	["rsqrtps", singles((_, a) => reciprocalRoot(a))],
];
