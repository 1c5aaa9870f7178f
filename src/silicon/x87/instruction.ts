/** What every x87 instruction goes through: availability, pending exceptions, the pointers to itself (SDM Vol. 1, 8.1.8 and 8.7). */
import { CR0 } from "../cpu/control.ts";
import type { Cpu } from "../cpu/cpu.ts";
import { raise, VECTOR } from "../cpu/fault.ts";
import * as L from "../cpu/layout.ts";
import { Register } from "../translate/decode.ts";
import type { Insn } from "../translate/insn.ts";
import { hasFault, linearOf, offsetOf } from "../translate/memory-operands.ts";
import type { Microcode } from "../translate/microcode.ts";
import { OUTCOME, type Outcome, type Services } from "../translate/services.ts";
import { begin, FDP, FIP, FOP, STATUS, status, touch } from "./state.ts";

/** The effect of an instruction. @returns false with a memory fault noted and nothing changed */
export type Effect = (cpu: Cpu, insn: Insn, services: Services) => boolean;

function refuse(cpu: Cpu, vector: number): Outcome {
	raise(cpu, vector);
	return OUTCOME.fault;
}

/** #NM: the unit is switched off or another task's. @returns whether it is noted */
function unavailable(cpu: Cpu): boolean {
	return (cpu.read32(L.CR0) & (CR0.EM | CR0.TS)) !== 0;
}

/**
 * Whether #MF is due. With CR0.NE clear the processor would signal FERR#, which nothing here is wired to; it then goes on.
 */
export function hasPending(cpu: Cpu): boolean {
	return (status(cpu) & STATUS.summary) !== 0 && (cpu.read32(L.CR0) & CR0.NE) !== 0;
}

/** Notes why an MMX instruction may not run: #UD with CR0.EM, #NM with CR0.TS, #MF if an exception is pending (SDM table 14-1). */
export function noteUnavailableMmx(cpu: Cpu): void {
	const cr0 = cpu.read32(L.CR0);
	if ((cr0 & CR0.EM) !== 0) raise(cpu, VECTOR.UD);
	else if ((cr0 & CR0.TS) !== 0) raise(cpu, VECTOR.NM);
	else if (hasPending(cpu)) raise(cpu, VECTOR.MF);
}

/** A control instruction that does not wait: FNINIT, FNSTSW … */
export function nonWaiting(effect: Effect): Microcode {
	return (cpu, insn, services) => {
		if (unavailable(cpu)) return refuse(cpu, VECTOR.NM);
		touch(cpu);
		return effect(cpu, insn, services) ? OUTCOME.next : OUTCOME.fault;
	};
}

/** A control instruction that waits: FLDCW, FLDENV, FRSTOR. */
export function waiting(effect: Effect): Microcode {
	return (cpu, insn, services) => {
		if (unavailable(cpu)) return refuse(cpu, VECTOR.NM);
		if (hasPending(cpu)) return refuse(cpu, VECTOR.MF);
		touch(cpu);
		return effect(cpu, insn, services) ? OUTCOME.next : OUTCOME.fault;
	};
}

/**
 * Notes the instruction and its operand. AMD's processors do so always; Intel's from Skylake on note the opcode and
 * the operand only for unmasked exceptions (CPUID.7.0:EBX.FDP_EXCPTN_ONLY), and no selectors (…:EBX[13]).
 */
function notePointers(cpu: Cpu, insn: Insn): void {
	const amd = cpu.model.vendorString === "AuthenticAMD";
	cpu.write64(FIP, insn.rip);
	if (!amd && (status(cpu) & STATUS.summary) === 0) return;
	cpu.memory.u16[(cpu.base + FOP) >> 1] = insn.x87Opcode;
	const operand = insn.operands.find(({ kind }) => kind === "memory");
	if (operand !== undefined) cpu.write64(FDP, offsetOf(cpu, insn));
}

/** An instruction that computes or moves numbers. It waits, and can raise x87 exceptions. */
export function numeric(effect: Effect): Microcode {
	return (cpu, insn, services) => {
		if (unavailable(cpu)) return refuse(cpu, VECTOR.NM);
		if (hasPending(cpu)) return refuse(cpu, VECTOR.MF);
		begin(cpu);
		if (!effect(cpu, insn, services)) return OUTCOME.fault;
		touch(cpu);
		notePointers(cpu, insn);
		return OUTCOME.next;
	};
}

/** FWAIT: #NM with CR0.MP and TS, #MF if an exception is pending. */
export const fwait: Microcode = (cpu) => {
	const both = CR0.MP | CR0.TS;
	if ((cpu.read32(L.CR0) & both) === both) return refuse(cpu, VECTOR.NM);
	return hasPending(cpu) ? refuse(cpu, VECTOR.MF) : OUTCOME.next;
};

// ---- memory ------------------------------------------------------------------------------------------

/** Loads 1 to 8 bytes at an offset of the memory operand; look at `hasFault` behind it. */
export function loadAt(cpu: Cpu, insn: Insn, services: Services, offset: number, bytes: number): bigint {
	const linear = linearOf(cpu, insn, offset + bytes, false);
	return hasFault(cpu) ? 0n : services.load(cpu, wrap(insn, linear + BigInt(offset)), bytes);
}

/** Checks that a store over the whole memory operand will succeed. @returns false with the fault noted */
export function probe(cpu: Cpu, insn: Insn, services: Services, bytes: number): boolean {
	const linear = linearOf(cpu, insn, bytes, true);
	if (!hasFault(cpu)) services.probeStore(cpu, linear, bytes);
	return !hasFault(cpu);
}

/** Stores 1 to 8 bytes at an offset of the memory operand. @returns false with a fault noted */
export function storeAt(
	cpu: Cpu,
	insn: Insn,
	services: Services,
	offset: number,
	bytes: number,
	value: bigint,
): boolean {
	const linear = linearOf(cpu, insn, offset + bytes, true);
	if (!hasFault(cpu)) services.store(cpu, wrap(insn, linear + BigInt(offset)), bytes, value);
	return !hasFault(cpu);
}

function wrap(insn: Insn, linear: bigint): bigint {
	return BigInt.asUintN(insn.bitness === 64 ? 64 : 32, linear);
}

/** Whether ST(i) is what a register operand names: ST0 to ST7 of iced-x86. @returns i */
export function stackIndex(insn: Insn, at: number): number {
	const operand = insn.operands[at];
	if (operand?.kind !== "register") throw new TypeError(`x87 operand ${at} is no register`);
	return operand.register - Register.ST0;
}
