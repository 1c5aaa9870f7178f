/** Floating-point vector operations, exact in results, flags and NaNs (SDM Vol. 1, 11.5), on the state block. */
import { CR4 } from "../cpu/control.ts";
import type { Cpu } from "../cpu/cpu.ts";
import { raise, VECTOR } from "../cpu/fault.ts";
import * as L from "../cpu/layout.ts";
import { ORDER } from "../fpu/arithmetic.ts";
import { FpuEnvironment } from "../fpu/environment.ts";
import * as single from "../fpu/f32.ts";
import * as double from "../fpu/f64.ts";
import type { VectorOperation } from "./operation.ts";

const env = new FpuEnvironment(false);

/** Begins an operation: control from MXCSR. @returns its environment */
export function begin(cpu: Cpu): FpuEnvironment {
	env.beginSse(cpu.read32(L.MXCSR));
	return env;
}

/** Ends an operation: flags to MXCSR; #XM for one that is not masked, or #UD without CR4.OSXMMEXCPT. */
export function finish(cpu: Cpu): void {
	const flags = env.end();
	if (flags === 0) return;
	cpu.write32(L.MXCSR, cpu.read32(L.MXCSR) | flags);
	if ((flags & ~env.masks) === 0) return;
	raise(cpu, (cpu.read32(L.CR4) & CR4.OSXMMEXCPT) !== 0 ? VECTOR.XM : VECTOR.UD);
}

/** One lane: bits of up to three operands to bits of the result. @param lane its number, from 0 */
export type SingleLane = (env: FpuEnvironment, a: number, b: number, c: number, lane: number) => number;
/** The same for 64 bits. */
export type DoubleLane = (env: FpuEnvironment, a: bigint, b: bigint, c: bigint, lane: number) => bigint;

/** An operation on lanes of 32 bits; its immediate is their number. */
export function singles(operation: SingleLane): VectorOperation {
	return (cpu, lanes) => {
		begin(cpu);
		const words = cpu.u32;
		const [a, b, c, result] = places(cpu, 2);
		for (let at = 0; at < lanes; at++) {
			words[result! + at] = operation(env, words[a! + at]!, words[b! + at]!, words[c! + at]!, at);
		}
		finish(cpu);
	};
}

/** An operation on lanes of 64 bits; its immediate is their number. */
export function doubles(operation: DoubleLane): VectorOperation {
	return (cpu, lanes) => {
		begin(cpu);
		const quadwords = cpu.memory.u64;
		const [a, b, c, result] = places(cpu, 3);
		for (let at = 0; at < lanes; at++) {
			const [x, y, z] = [quadwords[a! + at]!, quadwords[b! + at]!, quadwords[c! + at]!];
			quadwords[result! + at] = operation(env, x, y, z, at);
		}
		finish(cpu);
	};
}

/** Indices of VECTOR_A, VECTOR_B, VECTOR_C and VECTOR_RESULT in units of 2^shift bytes. */
export function places(cpu: Cpu, shift: number): number[] {
	return [L.VECTOR_A, L.VECTOR_B, L.VECTOR_C, L.VECTOR_RESULT].map((offset) => (cpu.base + offset) >> shift);
}

// ---- comparisons -----------------------------------------------------------------------------------

/** What a predicate makes of each order: less, equal, greater, unordered. Bit 4 says whether quiet NaNs signal. */
// biome-ignore format: SDM Vol. 2, CMPPD, table 3-1
const PREDICATES: readonly (readonly [boolean, boolean, boolean, boolean])[] = [
	/* EQ    */ [false, true, false, false],
	/* LT    */ [true, false, false, false],
	/* LE    */ [true, true, false, false],
	/* UNORD */ [false, false, false, true],
	/* NEQ   */ [true, false, true, true],
	/* NLT   */ [false, true, true, true],
	/* NLE   */ [false, false, true, true],
	/* ORD   */ [true, true, true, false],
	/* EQ_UQ */ [false, true, false, true],
	/* NGE   */ [true, false, false, true],
	/* NGT   */ [true, true, false, true],
	/* FALSE */ [false, false, false, false],
	/* NEQ_OQ */ [true, false, true, false],
	/* GE    */ [false, true, true, false],
	/* GT    */ [false, false, true, false],
	/* TRUE  */ [true, true, true, true],
];

/** Whether a predicate does not signal for quiet NaNs: the lower 16 those of equality and order, the upper the others. */
function isQuiet(predicate: number): boolean {
	const low = predicate & 7;
	return (low === 0 || low === 3 || low === 4 || low === 7) === predicate < 16;
}

function holds(predicate: number, order: number): boolean {
	return PREDICATES[predicate & 15]![order === ORDER.unordered ? 3 : order + 1]!;
}

/** CMPPS and CMPSS; lanes in bits 7:0 of the immediate, the predicate above. */
const compareSingles: VectorOperation = (cpu, immediate) => {
	const predicate = immediate >> 8;
	const quiet = isQuiet(predicate);
	singles((_, a, b) => (holds(predicate, single.f32Compare(env, a, b, quiet)) ? 0xffffffff : 0))(
		cpu,
		immediate & 0xff,
	);
};

/** CMPPD and CMPSD. */
const compareDoubles: VectorOperation = (cpu, immediate) => {
	const predicate = immediate >> 8;
	const quiet = isQuiet(predicate);
	doubles((_, a, b) => (holds(predicate, double.f64Compare(env, a, b, quiet)) ? 0xffffffffffffffffn : 0n))(
		cpu,
		immediate & 0xff,
	);
};

/** ZF, PF and CF of COMISS and its like, by order. */
function flagsOf(order: number): number {
	if (order === ORDER.unordered) return 0x45;
	if (order === ORDER.equal) return 0x40;
	return order === ORDER.less ? 1 : 0;
}

/** COMISS and UCOMISS, COMISD and UCOMISD: flags to VECTOR_RESULT. The immediate is 1 for quiet. */
const orderSingles: VectorOperation = (cpu, quiet) => {
	singles((_, a, b) => flagsOf(single.f32Compare(env, a, b, quiet !== 0)))(cpu, 1);
};
const orderDoubles: VectorOperation = (cpu, quiet) => {
	doubles((_, a, b) => BigInt(flagsOf(double.f64Compare(env, a, b, quiet !== 0))))(cpu, 1);
};

// ---- fused -----------------------------------------------------------------------------------------

/** FMA; lanes in bits 3:0 of the immediate, bit 4 negates the product, bit 5 the addend of even lanes, bit 6 of odd ones. */
const fuseSingles: VectorOperation = (cpu, immediate) => {
	const negate = (immediate & 0x10) !== 0;
	singles((_, a, b, c, lane) => {
		const negateAddend = (immediate & (lane % 2 === 0 ? 0x20 : 0x40)) !== 0;
		return single.f32MultiplyAdd(env, a, b, c, negate, negateAddend);
	})(cpu, immediate & 0xf);
};
const fuseDoubles: VectorOperation = (cpu, immediate) => {
	const negate = (immediate & 0x10) !== 0;
	doubles((_, a, b, c, lane) => {
		const negateAddend = (immediate & (lane % 2 === 0 ? 0x20 : 0x40)) !== 0;
		return double.f64MultiplyAdd(env, a, b, c, negate, negateAddend);
	})(cpu, immediate & 0xf);
};

// ---- dot products ----------------------------------------------------------------------------------

// An instruction of several computations: each is an operation of its own, whose exceptions that are not masked keep what
// comes behind it from being computed, and not the flags of what came before it.

/** Ends one of several computations. @returns whether the next one is to be done */
function goesOn(cpu: Cpu): boolean {
	finish(cpu);
	if ((env.flags & ~env.masks) !== 0) return false;
	begin(cpu);
	return true;
}

/** Sums of neighbours. */
function sumSingles(values: readonly number[]): number[] {
	return values.flatMap((value, at) => (at % 2 === 0 ? [single.f32Add(env, value, values[at + 1]!)] : []));
}

/**
 * DPPS: products of the lanes that bits 7:4 pick, summed in pairs in each half, to the lanes that bits 3:0 pick. The
 * instruction's immediate is in bits 7:0, the number of halves above.
 */
const dotSingle: VectorOperation = (cpu, immediate) => {
	begin(cpu);
	const words = cpu.u32;
	const [a, b, , result] = places(cpu, 2);
	const lanes = Array.from({ length: 4 * (immediate >> 8) }, (_, lane) => lane);
	const products = lanes.map((lane) =>
		((immediate >> (4 + (lane & 3))) & 1) === 0
			? 0
			: single.f32Multiply(env, words[a! + lane]!, words[b! + lane]!),
	);
	if (!goesOn(cpu)) return;
	const pairs = sumSingles(products);
	if (!goesOn(cpu)) return;
	const sums = sumSingles(pairs);
	for (const lane of lanes)
		words[result! + lane] = ((immediate >> (lane & 3)) & 1) !== 0 ? sums[lane >> 2]! : 0;
	finish(cpu);
};

/** DPPD. */
const dotDouble: VectorOperation = (cpu, immediate) => {
	begin(cpu);
	const quadwords = cpu.memory.u64;
	const [a, b, , result] = places(cpu, 3);
	const products = [0, 1].map((lane) =>
		((immediate >> (4 + lane)) & 1) !== 0
			? double.f64Multiply(env, quadwords[a! + lane]!, quadwords[b! + lane]!)
			: 0n,
	);
	if (!goesOn(cpu)) return;
	const sum = double.f64Add(env, products[0]!, products[1]!);
	for (let lane = 0; lane < 2; lane++) {
		quadwords[result! + lane] = ((immediate >> lane) & 1) !== 0 ? sum : 0n;
	}
	finish(cpu);
};

/** Operations by name. */
// biome-ignore format: one row an operation
export const FLOAT: readonly (readonly [string, VectorOperation])[] = [
	["addps", singles(single.f32Add)],        ["addpd", doubles(double.f64Add)],
	["subps", singles(single.f32Subtract)],   ["subpd", doubles(double.f64Subtract)],
	["mulps", singles(single.f32Multiply)],   ["mulpd", doubles(double.f64Multiply)],
	["divps", singles(single.f32Divide)],     ["divpd", doubles(double.f64Divide)],
	["sqrtps", singles((e, a) => single.f32SquareRoot(e, a))],
	["sqrtpd", doubles((e, a) => double.f64SquareRoot(e, a))],
	["minps", singles((e, a, b) => single.f32Select(e, a, b, false))],
	["minpd", doubles((e, a, b) => double.f64Select(e, a, b, false))],
	["maxps", singles((e, a, b) => single.f32Select(e, a, b, true))],
	["maxpd", doubles((e, a, b) => double.f64Select(e, a, b, true))],
	["addsubps", singles((e, a, b, _, lane) => (lane % 2 === 0 ? single.f32Subtract(e, a, b) : single.f32Add(e, a, b)))],
	["addsubpd", doubles((e, a, b, _, lane) => (lane % 2 === 0 ? double.f64Subtract(e, a, b) : double.f64Add(e, a, b)))],
	["cmpps", compareSingles],   ["cmppd", compareDoubles],
	["comiss", orderSingles],    ["comisd", orderDoubles],
	["fmaps", fuseSingles],      ["fmapd", fuseDoubles],
	["dpps", dotSingle],         ["dppd", dotDouble],
];
