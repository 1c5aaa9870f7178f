/** x87 comparisons: FCOM, FUCOM, FCOMI, FTST, FXAM (SDM Vol. 1, 8.3.6). */
import type { Cpu } from "../cpu/cpu.ts";
import { FLAG, readRflags, writeRflags } from "../cpu/rflags.ts";
import * as general from "../fpu/arithmetic.ts";
import { isNaNValue, KIND, type Value, zero } from "../fpu/value.ts";
import { hasFault } from "../translate/memory-operands.ts";
import { loadOperand } from "./arithmetic.ts";
import { type Effect, stackIndex } from "./instruction.ts";
import * as X from "./state.ts";

const { c0, c1, c2, c3 } = X.STATUS;
const UNORDERED = c0 | c2 | c3;

function conditionOf(order: number): number {
	if (order === general.ORDER.unordered) return UNORDERED;
	return order === general.ORDER.equal ? c3 : order === general.ORDER.less ? c0 : 0;
}

/** Ends a comparison of ST(0) that sets the condition code. @param right null for an empty register */
function compareWith(cpu: Cpu, right: Value | null, quiet: boolean, pops: number): void {
	let condition = UNORDERED;
	if (right === null || X.isEmpty(cpu, 0)) X.stackFault(cpu, false);
	else {
		condition = conditionOf(general.compare(X.env, X.read(cpu, 0), right, quiet));
		X.end(cpu, false);
	}
	X.setConditions(cpu, condition, UNORDERED);
	if (X.unmasked()) return;
	for (let at = 0; at < pops; at++) X.pop(cpu);
}

/** FCOM, FCOMP and FICOM with memory. */
export function compareMemory(integer: boolean, pops: number): Effect {
	return (cpu, insn, services) => {
		const operand = loadOperand(cpu, insn, services, integer);
		if (hasFault(cpu)) return false;
		compareWith(cpu, operand, false, pops);
		return true;
	};
}

/** FCOM, FUCOM and what pops after them. */
export function compareStack(quiet: boolean, pops: number): Effect {
	const memory = compareMemory(false, pops);
	return (cpu, insn, services) => {
		if (insn.operands[0]?.kind === "memory") return memory(cpu, insn, services);
		// FCOMPP and FUCOMPP name no operands.
		const other = insn.operands.length === 0 ? 1 : stackIndex(insn, insn.operands.length - 1);
		compareWith(cpu, X.isEmpty(cpu, other) ? null : X.read(cpu, other), quiet, pops);
		return true;
	};
}

/** FTST: against +0. */
export const ftst: Effect = (cpu) => {
	compareWith(cpu, zero(false), false, 0);
	return true;
};

/** FCOMI, FUCOMI: the order goes to ZF, PF and CF, as after COMISS; OF, SF and AF are cleared. C1 stays. */
export function compareFlags(quiet: boolean, pops: number): Effect {
	return (cpu, insn) => {
		const other = stackIndex(insn, 1);
		let order: number = general.ORDER.unordered;
		if (X.isEmpty(cpu, 0) || X.isEmpty(cpu, other)) X.stackFault(cpu, false);
		else {
			order = general.compare(X.env, X.read(cpu, 0), X.read(cpu, other), quiet);
			X.end(cpu, (X.status(cpu) & c1) !== 0);
		}
		const condition = conditionOf(order);
		let flags = readRflags(cpu) & ~(FLAG.ZF | FLAG.PF | FLAG.CF | FLAG.OF | FLAG.SF | FLAG.AF);
		if ((condition & c3) !== 0) flags |= FLAG.ZF;
		if ((condition & c2) !== 0) flags |= FLAG.PF;
		if ((condition & c0) !== 0) flags |= FLAG.CF;
		writeRflags(cpu, flags);
		if (X.unmasked()) return true;
		for (let at = 0; at < pops; at++) X.pop(cpu);
		return true;
	};
}

function classOf(value: Value): number {
	if (isNaNValue(value)) return c0;
	if (value.kind === KIND.unsupported) return 0;
	if (value.kind === KIND.infinity) return c2 | c0;
	if (value.kind === KIND.zero) return c3;
	return value.denormal ? c3 | c2 : c2;
}

/** FXAM: the class of ST(0), and its sign in C1, empty or not. */
export const fxam: Effect = (cpu) => {
	const value = X.read(cpu, 0);
	const kind = X.isEmpty(cpu, 0) ? c3 | c0 : classOf(value);
	X.setConditions(cpu, kind | (value.negative ? c1 : 0));
	return true;
};
