/**
 * The x87 registers in the state block (SDM Vol. 1, 8.1): R0 to R7 by their physical numbers, so that MMX's MMn is Rn.
 * FXSAVE and XSAVE order them from the top of the stack: see xsave/registers.ts.
 */
import { XFEATURE } from "../cpu/control.ts";
import type { Cpu } from "../cpu/cpu.ts";
import * as L from "../cpu/layout.ts";
import { ALL_EXCEPTIONS, FpuEnvironment, EXCEPTION } from "../fpu/environment.ts";
import { type Extended, fromF80, toF80, type Value } from "../fpu/value.ts";

/** Bits of the status word above the exception flags. */
export const STATUS = {
	stackFault: 1 << 6,
	summary: 1 << 7,
	c0: 1 << 8,
	c1: 1 << 9,
	c2: 1 << 10,
	c3: 1 << 14,
	busy: 1 << 15,
} as const;
const CONDITIONS = STATUS.c0 | STATUS.c1 | STATUS.c2 | STATUS.c3;
const TOP_SHIFT = 11;

/** Offsets in the state block. */
const FCW = L.XSTATE;
const FSW = L.XSTATE + 2;
const FTW = L.XSTATE + 4;
export const FOP = L.XSTATE + 6;
export const FIP = L.XSTATE + 8;
export const FDP = L.XSTATE + 16;
const R0 = L.XSTATE + 32;

/** Rounding, masks and flags of the x87 instruction under way. */
export const env = new FpuEnvironment(true);
/** Bits of the significand, by the precision-control field. 1 is reserved and taken as full. */
const PRECISION = [24, 64, 53, 64] as const;

function word(cpu: Cpu, offset: number): number {
	return cpu.memory.u16[(cpu.base + offset) >> 1]!;
}
function setWord(cpu: Cpu, offset: number, value: number): void {
	cpu.memory.u16[(cpu.base + offset) >> 1] = value;
}

/** The control word. */
export function control(cpu: Cpu): number {
	return word(cpu, FCW);
}
/** Sets the control word. Bit 6 is always set, bits 7, 13 to 15 never (measured on Zen 4: FLDCW and FNSTCW). */
export function setControl(cpu: Cpu, value: number): void {
	setWord(cpu, FCW, (value & 0x1f7f) | 0x40);
	summarize(cpu);
}
/** The status word. */
export function status(cpu: Cpu): number {
	return word(cpu, FSW);
}
/** Sets the status word as it is given. */
export function setStatus(cpu: Cpu, value: number): void {
	setWord(cpu, FSW, value);
}
/** Sets ES and B from flags and masks. */
export function summarize(cpu: Cpu): void {
	const now = status(cpu);
	const pending = (now & ~control(cpu) & ALL_EXCEPTIONS) !== 0;
	const both = STATUS.summary | STATUS.busy;
	setStatus(cpu, pending ? now | both : now & ~both);
}
/** The abridged tag word: one bit a physical register, 1 for what is not empty. */
export function tags(cpu: Cpu): number {
	return cpu.memory.u8[cpu.base + FTW]!;
}
/** Sets the abridged tag word. */
export function setTags(cpu: Cpu, value: number): void {
	cpu.memory.u8[cpu.base + FTW] = value;
}
/** Notes that x87 state may differ from its initial configuration. */
export function touch(cpu: Cpu): void {
	cpu.write32(L.XINUSE, cpu.read32(L.XINUSE) | XFEATURE.x87);
}

/** TOP. */
export function top(cpu: Cpu): number {
	return (status(cpu) >>> TOP_SHIFT) & 7;
}
/** Sets TOP, modulo 8. */
export function setTop(cpu: Cpu, value: number): void {
	setStatus(cpu, (status(cpu) & ~(7 << TOP_SHIFT)) | ((value & 7) << TOP_SHIFT));
}
/** The physical number of ST(i). */
export function physical(cpu: Cpu, i: number): number {
	return (top(cpu) + i) & 7;
}
/** Whether ST(i) is empty. */
export function isEmpty(cpu: Cpu, i: number): boolean {
	return (tags(cpu) & (1 << physical(cpu, i))) === 0;
}

/** The bits of a physical register. */
export function registerBits(cpu: Cpu, register: number): Extended {
	const at = R0 + 16 * register;
	return { signExponent: word(cpu, at + 8), significand: cpu.read64(at) };
}
/** Writes the bits of a physical register; its tag stays. */
export function setRegisterBits(cpu: Cpu, register: number, { signExponent, significand }: Extended): void {
	const at = R0 + 16 * register;
	cpu.write64(at, significand);
	setWord(cpu, at + 8, signExponent);
}
/** The number in ST(i), whatever its tag. */
export function read(cpu: Cpu, i: number): Value {
	const { signExponent, significand } = registerBits(cpu, physical(cpu, i));
	return fromF80(signExponent, significand);
}
/** Writes ST(i), which is not empty then. */
export function write(cpu: Cpu, i: number, value: Value): void {
	const register = physical(cpu, i);
	setRegisterBits(cpu, register, toF80(value));
	setTags(cpu, tags(cpu) | (1 << register));
}
/** Empties ST(i). */
export function free(cpu: Cpu, i: number): void {
	setTags(cpu, tags(cpu) & ~(1 << physical(cpu, i)));
}
/** Pops the stack. */
export function pop(cpu: Cpu): void {
	free(cpu, 0);
	setTop(cpu, top(cpu) + 1);
}
/** Pushes a number; what was in the register is lost. */
export function push(cpu: Cpu, value: Value): void {
	setTop(cpu, top(cpu) - 1);
	write(cpu, 0, value);
}

// ---- one instruction ---------------------------------------------------------------------------------

/** Takes rounding, masks and precision from the control word. */
export function begin(cpu: Cpu): void {
	const fcw = control(cpu);
	env.rounding = (fcw >>> 10) & 3;
	env.masks = fcw & ALL_EXCEPTIONS;
	env.begin();
}
/** Bits that additions, multiplications, divisions and roots are rounded to. */
export function precision(cpu: Cpu): number {
	return PRECISION[(control(cpu) >>> 8) & 3]!;
}
/** Whether an exception was raised that is not masked. @param which EXCEPTION bits to look at */
export function unmasked(which: number = ALL_EXCEPTIONS): boolean {
	return (env.flags & ~env.masks & which) !== 0;
}
/** Ends an instruction: its flags go to the status word, with C1 as given. */
export function end(cpu: Cpu, c1: boolean = env.roundedUp): void {
	const flags = env.end();
	setStatus(cpu, (status(cpu) & ~STATUS.c1) | flags | (c1 ? STATUS.c1 : 0));
	if ((flags & ~env.masks) !== 0) setStatus(cpu, status(cpu) | STATUS.summary | STATUS.busy);
}
/** Raises a stack fault and ends the instruction. @param overflow a push onto a full register, else an empty operand */
export function stackFault(cpu: Cpu, overflow: boolean): void {
	env.flags = EXCEPTION.invalid;
	setStatus(cpu, status(cpu) | STATUS.stackFault);
	end(cpu, overflow);
}
/** Sets the condition code. C1 is kept if `which` does not have it. */
export function setConditions(cpu: Cpu, value: number, which: number = CONDITIONS): void {
	setStatus(cpu, (status(cpu) & ~which) | value);
}
