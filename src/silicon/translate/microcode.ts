/**
 * Integer instructions that are carried out in TypeScript on the state block rather than translated: long and
 * rare ones. (String instructions: strings.ts.) The region ends before them, so the state block is exact.
 */
import type { Cpu } from "../cpu/cpu.ts";
import { raise, VECTOR } from "../cpu/fault.ts";
import * as L from "../cpu/layout.ts";
import { FLAG, readRflags, writeRflags } from "../cpu/rflags.ts";
import { Mnemonic as M } from "./decode.ts";
import type { Insn } from "./insn.ts";
import {
	hasFault,
	linearIn,
	linearOf,
	moveStack,
	registerValue,
	setRegisterValue,
	stackBytesOf,
	stackLinear,
} from "./memory-operands.ts";
import { OUTCOME, type Outcome, type Services } from "./services.ts";
import { DECIMAL } from "./decimal.ts";
import { STRINGS, isString } from "./strings.ts";
import { X87 } from "../x87/table.ts";

/** Carries out one instruction; RIP names it. */
export type Microcode = (cpu: Cpu, insn: Insn, services: Services) => Outcome;

/** POPF: IOPL changes at CPL 0 only, IF where CPL ≤ IOPL, VM and VIP and VIF never (SDM Vol. 2B, POPF). */
function popf(cpu: Cpu, insn: Insn, services: Services): Outcome {
	const bytes = insn.operandBytes;
	const top = stackLinear(cpu, insn, 0, bytes, false);
	if (hasFault(cpu)) return OUTCOME.fault;
	const popped = Number(services.load(cpu, top, bytes, true) & 0xffffffffn);
	if (hasFault(cpu)) return OUTCOME.fault;
	const old = readRflags(cpu);
	const real = (cpu.read32(L.CR0) & 1) === 0;
	const cpl = real ? 0 : (cpu.read32(L.SEG + L.SS * L.SEG_BYTES + L.SEG_ATTR) >>> 5) & 3;
	let mask = 0x8d5 | FLAG.TF | FLAG.DF | FLAG.NT | FLAG.AC | FLAG.ID;
	if (cpl <= ((old >>> 12) & 3)) mask |= FLAG.IF;
	if (cpl === 0) mask |= FLAG.IOPL;
	if (bytes === 2) mask &= 0xffff;
	writeRflags(cpu, (old & ~mask & ~FLAG.RF) | (popped & mask));
	moveStack(cpu, insn, bytes);
	return OUTCOME.next;
}

/** PUSHA: eight registers, RSP as it was before. */
function pusha(cpu: Cpu, insn: Insn, services: Services): Outcome {
	const bytes = insn.operandBytes;
	for (let at = 0; at < 8; at++) {
		const linear = stackLinear(cpu, insn, -bytes * (at + 1), bytes, true);
		if (!hasFault(cpu)) services.probeStore(cpu, linear, bytes, true);
		if (hasFault(cpu)) return OUTCOME.fault;
	}
	for (let at = 0; at < 8; at++) {
		const linear = stackLinear(cpu, insn, -bytes * (at + 1), bytes, true);
		services.store(cpu, linear, bytes, registerValue(cpu, at, bytes), true);
	}
	moveStack(cpu, insn, -8 * bytes);
	return OUTCOME.next;
}

/** POPA: the stored RSP is skipped. */
function popa(cpu: Cpu, insn: Insn, services: Services): Outcome {
	const bytes = insn.operandBytes;
	const values: bigint[] = [];
	for (let at = 0; at < 8; at++) {
		const linear = stackLinear(cpu, insn, bytes * at, bytes, false);
		if (!hasFault(cpu)) values.push(services.load(cpu, linear, bytes, true));
		if (hasFault(cpu)) return OUTCOME.fault;
	}
	for (let at = 0; at < 8; at++) {
		if (7 - at !== L.RSP) setRegisterValue(cpu, 7 - at, bytes, values[at]!);
	}
	moveStack(cpu, insn, 8 * bytes);
	return OUTCOME.next;
}

/** ENTER with nesting (SDM Vol. 2A, ENTER). */
function enter(cpu: Cpu, insn: Insn, services: Services): Outcome {
	const bytes = insn.operandBytes;
	const stackBytes = stackBytesOf(cpu, insn.bitness);
	const [size, nesting] = insn.operands;
	if (size?.kind !== "immediate" || nesting?.kind !== "immediate")
		throw new TypeError("ENTER without immediates");
	const level = Number(nesting.value) & 31;
	const pushes = level === 0 ? 1 : level + 1;
	// A 16-bit stack leaves the upper half of ESP alone, in the frame pointer too.
	const top = BigInt.asUintN(stackBytes * 8, cpu.gpr(L.RSP) - BigInt(bytes));
	const frame = (cpu.gpr(L.RSP) & ~((1n << BigInt(stackBytes * 8)) - 1n)) | top;
	const outer = (at: number): bigint => {
		const offset = BigInt.asUintN(stackBytes * 8, cpu.gpr(L.RBP) - BigInt(at * bytes));
		const linear = linearIn(cpu, L.SS, offset, insn.bitness, bytes, false);
		return hasFault(cpu) ? 0n : services.load(cpu, linear, bytes, true);
	};
	// Whatever can fault does so before anything is written.
	for (let at = 1; at <= pushes; at++) {
		const linear = stackLinear(cpu, insn, -bytes * at, bytes, true);
		if (!hasFault(cpu)) services.probeStore(cpu, linear, bytes, true);
		if (hasFault(cpu)) return OUTCOME.fault;
		if (at < level) outer(at);
		if (hasFault(cpu)) return OUTCOME.fault;
	}
	// A write through the final stack pointer must be possible (SDM Vol. 2A, ENTER, #PF).
	const final = stackLinear(cpu, insn, -(bytes * pushes + Number(size.value)), bytes, true);
	if (!hasFault(cpu)) services.probeStore(cpu, final, bytes, true);
	if (hasFault(cpu)) return OUTCOME.fault;
	// A frame pointer may be read from where one was just pushed.
	for (let at = 0; at < pushes; at++) {
		let value = registerValue(cpu, L.RBP, bytes);
		if (at > 0) value = at < level ? outer(at) : BigInt.asUintN(bytes * 8, frame);
		services.store(cpu, stackLinear(cpu, insn, -bytes * (at + 1), bytes, true), bytes, value, true);
	}
	moveStack(cpu, insn, -(bytes * pushes + Number(size.value)));
	setRegisterValue(cpu, L.RBP, bytes, frame);
	return OUTCOME.next;
}

/** CMPXCHG8B and CMPXCHG16B: only ZF changes. */
function compareExchangePair(bytes: number): Microcode {
	return (cpu, insn, services) => {
		const linear = linearOf(cpu, insn, bytes, true);
		if (hasFault(cpu)) return OUTCOME.fault;
		const half = bytes / 2;
		if (bytes === 16 && (linear & 15n) !== 0n) {
			raise(cpu, VECTOR.GP, 0);
			return OUTCOME.fault;
		}
		services.probeStore(cpu, linear, bytes);
		if (hasFault(cpu)) return OUTCOME.fault;
		const low = services.load(cpu, linear, half);
		const high = services.load(cpu, linear + BigInt(half), half);
		if (hasFault(cpu)) return OUTCOME.fault;
		const equal = low === registerValue(cpu, L.RAX, half) && high === registerValue(cpu, L.RDX, half);
		const newLow = equal ? registerValue(cpu, L.RBX, half) : low;
		const newHigh = equal ? registerValue(cpu, L.RCX, half) : high;
		services.store(cpu, linear, half, newLow);
		services.store(cpu, linear + BigInt(half), half, newHigh);
		if (!equal) {
			setRegisterValue(cpu, L.RAX, half, low);
			setRegisterValue(cpu, L.RDX, half, high);
		}
		const flags = readRflags(cpu);
		writeRflags(cpu, equal ? flags | FLAG.ZF : flags & ~FLAG.ZF);
		return OUTCOME.next;
	};
}

// biome-ignore format: one row an instruction
const table = new Map<number, Microcode>([
	[M.Popf, popf],   [M.Popfd, popf],   [M.Popfq, popf],
	[M.Pusha, pusha], [M.Pushad, pusha],
	[M.Popa, popa],   [M.Popad, popa],
	[M.Enter, enter],
	[M.Cmpxchg8b, compareExchangePair(8)],
	[M.Cmpxchg16b, compareExchangePair(16)],
	...DECIMAL,
]);

/** The microcode of an instruction, or undefined if it is translated or the system side's. */
export function microcodeOf(insn: Insn): Microcode | undefined {
	if (isString(insn)) return STRINGS.get(insn.mnemonic);
	return table.get(insn.mnemonic) ?? X87.get(insn.mnemonic);
}
