/** x87 arithmetic: FADD to FDIVR in all forms, FSQRT, FRNDINT, FSCALE, FXTRACT, FPREM (SDM Vol. 1, 8.3.5). */
import type { Cpu } from "../cpu/cpu.ts";
import * as general from "../fpu/arithmetic.ts";
import { BEFORE_COMPUTATION, EXCEPTION } from "../fpu/environment.ts";
import { remainder } from "../fpu/remainder.ts";
import { round } from "../fpu/rounding.ts";
import {
	F80,
	finite,
	fromF32,
	fromF64,
	INDEFINITE,
	infinity,
	KIND,
	leadingExponent,
	type Value,
	zero,
} from "../fpu/value.ts";
import type { Insn } from "../translate/insn.ts";
import { hasFault } from "../translate/memory-operands.ts";
import type { Services } from "../translate/services.ts";
import { type Effect, loadAt, stackIndex } from "./instruction.ts";
import * as X from "./state.ts";

/** An operation on two numbers. */
type Operation = (a: Value, b: Value) => Value;

const bits = (cpu: Cpu) => X.precision(cpu);

/** The operations by name; each takes its precision from the control word. */
export const OPERATIONS = {
	add:
		(cpu: Cpu): Operation =>
		(a, b) =>
			general.add(X.env, F80, a, b, bits(cpu)),
	multiply:
		(cpu: Cpu): Operation =>
		(a, b) =>
			general.multiply(X.env, F80, a, b, bits(cpu)),
	subtract:
		(cpu: Cpu): Operation =>
		(a, b) =>
			general.subtract(X.env, F80, a, b, bits(cpu)),
	subtractReversed:
		(cpu: Cpu): Operation =>
		(a, b) =>
			general.subtract(X.env, F80, b, a, bits(cpu)),
	divide:
		(cpu: Cpu): Operation =>
		(a, b) =>
			general.divide(X.env, F80, a, b, bits(cpu)),
	divideReversed:
		(cpu: Cpu): Operation =>
		(a, b) =>
			general.divide(X.env, F80, b, a, bits(cpu)),
} as const;

/** One of OPERATIONS. */
export type OperationName = keyof typeof OPERATIONS;

/** Loads a number or integer from memory; look at `hasFault` behind it. @param integer FIADD and its kin */
export function loadOperand(cpu: Cpu, insn: Insn, services: Services, integer: boolean): Value {
	const operand = insn.operands[0]!;
	const bytes = operand.kind === "memory" ? operand.bytes : 0;
	const raw = loadAt(cpu, insn, services, 0, bytes);
	if (integer) return fromInteger(BigInt.asIntN(bytes * 8, raw));
	return bytes === 4 ? fromF32(Number(raw)) : fromF64(raw);
}

/** An integer of at most 64 bits as a number: exact. */
export function fromInteger(value: bigint): Value {
	if (value === 0n) return zero(false);
	return finite(value < 0n, value < 0n ? -value : value, 0);
}

/**
 * Ends an instruction that has computed a number.
 * @param destination ST(i) that receives it
 */
export function deliver(cpu: Cpu, value: Value, destination: number, pops: boolean): void {
	const suppressed = X.unmasked(BEFORE_COMPUTATION);
	X.end(cpu, X.env.roundedUp && !suppressed);
	if (suppressed) return;
	X.write(cpu, destination, value);
	if (pops) X.pop(cpu);
}

/** Ends an instruction one of whose operands is an empty register. */
export function emptyOperand(cpu: Cpu, destination: number, pops: boolean): void {
	X.stackFault(cpu, false);
	if (X.unmasked()) return;
	X.write(cpu, destination, INDEFINITE);
	if (pops) X.pop(cpu);
}

/** FADD and its kin with a memory operand: ST(0) op memory. */
export function withMemory(name: OperationName, integer: boolean): Effect {
	return (cpu, insn, services) => {
		const operand = loadOperand(cpu, insn, services, integer);
		if (hasFault(cpu)) return false;
		if (X.isEmpty(cpu, 0)) emptyOperand(cpu, 0, false);
		else deliver(cpu, OPERATIONS[name](cpu)(X.read(cpu, 0), operand), 0, false);
		return true;
	};
}

/** FADD and its kin with two registers: the first is the destination. */
export function withRegisters(name: OperationName, pops: boolean): Effect {
	return (cpu, insn) => {
		const destination = stackIndex(insn, 0);
		const source = stackIndex(insn, 1);
		if (X.isEmpty(cpu, destination) || X.isEmpty(cpu, source)) emptyOperand(cpu, destination, pops);
		else {
			const value = OPERATIONS[name](cpu)(X.read(cpu, destination), X.read(cpu, source));
			deliver(cpu, value, destination, pops);
		}
		return true;
	};
}

/** FADD and its kin, by the kind of their operand. */
export function arithmetic(name: OperationName): Effect {
	const memory = withMemory(name, false);
	const registers = withRegisters(name, false);
	return (cpu, insn, services) =>
		(insn.operands[0]!.kind === "memory" ? memory : registers)(cpu, insn, services);
}

/** An instruction that replaces ST(0) by a function of it. */
export function unary(compute: (cpu: Cpu, a: Value) => Value): Effect {
	return (cpu) => {
		if (X.isEmpty(cpu, 0)) emptyOperand(cpu, 0, false);
		else deliver(cpu, compute(cpu, X.read(cpu, 0)), 0, false);
		return true;
	};
}

/** FSQRT. */
export const fsqrt = unary((cpu, a) => general.squareRoot(X.env, F80, a, bits(cpu)));
/** FRNDINT. */
export const frndint = unary((_cpu, a) => general.roundToIntegral(X.env, a, X.env.rounding, true));

/** FABS and FCHS: the sign alone, of whatever the register holds. */
export function signOf(change: (negative: boolean) => boolean): Effect {
	return (cpu) => {
		if (X.isEmpty(cpu, 0)) {
			emptyOperand(cpu, 0, false);
			return true;
		}
		const register = X.physical(cpu, 0);
		const { signExponent, significand } = X.registerBits(cpu, register);
		const negative = change((signExponent & 0x8000) !== 0);
		X.setRegisterBits(cpu, register, {
			signExponent: (signExponent & 0x7fff) | (negative ? 0x8000 : 0),
			significand,
		});
		X.end(cpu, false);
		return true;
	};
}

/** Exponents beyond this reach overflow or underflow, even scaled, from any number. */
const SCALE_MAX = 0x10000;

function scale(a: Value, by: Value): Value {
	const { env } = X;
	const decided = general.special(env, a, by);
	if (decided !== null) return decided;
	if (by.kind === KIND.infinity) {
		if (by.negative ? a.kind === KIND.infinity : a.kind === KIND.zero) return general.invalid(env);
		general.noteDenormals(env, a);
		return by.negative ? zero(a.negative) : infinity(a.negative);
	}
	general.noteDenormals(env, a, by);
	if (a.kind !== KIND.finite || by.kind === KIND.zero) {
		return a.kind === KIND.finite ? round(env, F80, a.negative, a.significand, a.exponent) : a;
	}
	let shift = SCALE_MAX;
	if (leadingExponent(by) < 17) {
		shift = Number(
			by.exponent >= 0 ? by.significand << BigInt(by.exponent) : by.significand >> BigInt(-by.exponent),
		);
	}
	return round(env, F80, a.negative, a.significand, a.exponent + (by.negative ? -shift : shift));
}

/** FSCALE: ST(0) × 2^trunc(ST(1)). */
export const fscale: Effect = (cpu) => {
	if (X.isEmpty(cpu, 0) || X.isEmpty(cpu, 1)) emptyOperand(cpu, 0, false);
	else deliver(cpu, scale(X.read(cpu, 0), X.read(cpu, 1)), 0, false);
	return true;
};

/** The exponent and the significand of a number. */
function extracted(a: Value): { exponent: Value; significand: Value } {
	const { env } = X;
	const decided = general.special(env, a, a);
	if (decided !== null) return { exponent: decided, significand: decided };
	if (a.kind === KIND.zero) {
		env.flags |= EXCEPTION.zeroDivide;
		return { exponent: infinity(true), significand: a };
	}
	if (a.kind === KIND.infinity) return { exponent: infinity(false), significand: a };
	general.noteDenormals(env, a);
	const leading = leadingExponent(a);
	return {
		exponent: fromInteger(BigInt(leading)),
		significand: finite(a.negative, a.significand, a.exponent - leading),
	};
}

/** FXTRACT: the exponent replaces ST(0), the significand is pushed. */
export const fxtract: Effect = (cpu) => {
	if (X.isEmpty(cpu, 0) || !X.isEmpty(cpu, 7)) {
		X.stackFault(cpu, !X.isEmpty(cpu, 0));
		if (X.unmasked()) return true;
		X.write(cpu, 0, INDEFINITE);
		X.push(cpu, INDEFINITE);
		return true;
	}
	const { exponent, significand } = extracted(X.read(cpu, 0));
	const suppressed = X.unmasked(BEFORE_COMPUTATION);
	X.end(cpu, false);
	if (suppressed) return true;
	X.write(cpu, 0, exponent);
	X.push(cpu, significand);
	return true;
};

/** FPREM and FPREM1: C2 says that the remainder is partial; else C0, C3 and C1 are bits 2, 1 and 0 of the quotient. */
export function fprem(nearest: boolean): Effect {
	return (cpu) => {
		if (X.isEmpty(cpu, 0) || X.isEmpty(cpu, 1)) {
			emptyOperand(cpu, 0, false);
			X.setConditions(cpu, 0, X.STATUS.c2);
			return true;
		}
		const { value, quotient, partial, number } = remainder(X.env, X.read(cpu, 0), X.read(cpu, 1), nearest);
		deliver(cpu, value, 0, false);
		const { c0, c1, c2, c3 } = X.STATUS;
		if (!number || X.unmasked(BEFORE_COMPUTATION)) {
			X.setConditions(cpu, 0, c1 | c2);
			return true;
		}
		const bit = (at: number, flag: number) => ((quotient >>> at) & 1 ? flag : 0);
		X.setConditions(cpu, partial ? c2 : bit(2, c0) | bit(1, c3) | bit(0, c1));
		return true;
	};
}
