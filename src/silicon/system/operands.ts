/** Operands of system instructions: registers, effective addresses, memory, the stack. */
import type { Cpu } from "../cpu/cpu.ts";
import { type Fault, raise, VECTOR } from "../cpu/fault.ts";
import type { INTERCEPT } from "../cpu/intercepts.ts";
import * as L from "../cpu/layout.ts";
import { cpl, is64Bit } from "../cpu/modes.ts";
import { isCanonical } from "../cpu/msr.ts";
import { checkSegment } from "../cpu/segment-access.ts";
import { ATTR, segmentAttributes, segmentBase } from "../cpu/segments.ts";
import {
	explicitAccess,
	faulted,
	knownRange,
	probeLinear,
	readLinear,
	writeLinear,
} from "../paging/access.ts";
import type { Insn } from "../translate/insn.ts";
import { passInstruction } from "../translate/memory-operands.ts";
import { placeOf } from "../translate/registers.ts";
import { OUTCOME, type Outcome } from "../translate/services.ts";

/** Carries out one instruction. RIP names it; `next` moves past it. */
export type Handler = (cpu: Cpu, insn: Insn) => Outcome;

/** Notes a fault as the outcome of an instruction. */
export function fail(cpu: Cpu, fault: Fault): Outcome {
	raise(cpu, fault.vector, fault.errorCode);
	return OUTCOME.fault;
}

/** Notes an exception as the outcome of an instruction. */
export function failWith(cpu: Cpu, vector: number, errorCode: number | null): Outcome {
	raise(cpu, vector, errorCode);
	return OUTCOME.fault;
}

/** Whether the guest's hypervisor has left an instruction disabled, so that it is #UD. @param intercept of INTERCEPT */
export function isUndefined(cpu: Cpu, intercept: number): boolean {
	return cpu.guest?.isUndefined?.(intercept) ?? false;
}

/** Asks the hypervisor, if there is one. @returns true if a VM exit happened: the outcome is then `stop` */
export function intercepted(
	cpu: Cpu,
	insn: Insn,
	intercept: (typeof INTERCEPT)[keyof typeof INTERCEPT],
	info = 0,
): boolean {
	return cpu.guest?.instruction(cpu, intercept, insn.length, info) ?? false;
}

/** Sets RIP behind the instruction; the outcome of what may have changed modes, paging or segments. */
export function advance(cpu: Cpu, insn: Insn): Outcome {
	passInstruction(cpu, insn);
	return OUTCOME.jumped;
}

/** Offset of the following instruction within CS. */
export function nextRip(insn: Insn): bigint {
	const next = insn.rip + BigInt(insn.length);
	return insn.bitness === 64 ? BigInt.asUintN(64, next) : next & 0xffffffffn;
}

/** Low 32 bits of a general-purpose register. */
export function gpr32(cpu: Cpu, index: number): number {
	return cpu.read32(L.GPR + index * 8);
}

/** Sets a general-purpose register to a zero-extended 32-bit value. */
export function setGpr32(cpu: Cpu, index: number, value: number): void {
	cpu.write32(L.GPR + index * 8, value);
	cpu.write32(L.GPR + index * 8 + 4, 0);
}

/** EDX:EAX as a 64-bit value. */
export function edxEax(cpu: Cpu): bigint {
	return (BigInt(gpr32(cpu, L.RDX)) << 32n) | BigInt(gpr32(cpu, L.RAX));
}

/** The register operand at a position as its encoding number. @throws TypeError if it is none */
export function registerIndex(insn: Insn, at: number): number {
	const operand = insn.operands[at];
	const place = operand?.kind === "register" ? placeOf(operand.register) : undefined;
	if (place === undefined)
		throw new TypeError(`operand ${at} of code ${insn.code} is no general-purpose register`);
	return place.index;
}

/** Size of an operand in bytes; what is no register or memory has the operand size. */
export function operandSize(insn: Insn, at: number): number {
	const operand = insn.operands[at];
	return operand?.kind === "register" || operand?.kind === "memory" ? operand.bytes : insn.operandBytes;
}

/** Writes a general-purpose register of 2, 4 or 8 bytes with the rules of 64-bit mode. */
export function writeGpr(cpu: Cpu, index: number, bytes: number, value: bigint): void {
	if (bytes === 8) cpu.setGpr(index, BigInt.asUintN(64, value));
	else if (bytes === 4) cpu.setGpr(index, value & 0xffffffffn);
	else cpu.setGpr(index, (cpu.gpr(index) & ~0xffffn) | (value & 0xffffn));
}

/** Offset of the memory operand within its segment. */
export function effectiveAddress(cpu: Cpu, insn: Insn): bigint {
	let address = insn.displacement;
	const base = placeOf(insn.base);
	const index = placeOf(insn.index);
	if (base !== undefined) address += cpu.gpr(base.index);
	if (index !== undefined) address += cpu.gpr(index.index) * BigInt(insn.scale);
	return BigInt.asUintN(insn.addressBytes * 8, address);
}

/**
 * Linear address of `bytes` bytes at an offset in a segment, with the checks of the mode (SDM Vol. 3A, 6.3): limit and
 * type of the segment outside 64-bit mode, canonical form in it.
 * @returns the address; on a fault it is noted and the result means nothing
 */
export function linearAt(cpu: Cpu, segment: number, offset: bigint, bytes: number, write = false): bigint {
	if (is64Bit(cpu)) {
		const base = segment === L.FS || segment === L.GS ? segmentBase(cpu, segment) : 0n;
		const linear = BigInt.asUintN(64, base + offset);
		if (!isCanonical(linear, cpu) || (bytes > 1 && !isCanonical(linear + BigInt(bytes - 1), cpu))) {
			raise(cpu, segment === L.SS ? VECTOR.SS : VECTOR.GP, 0);
		}
		return linear;
	}
	checkSegment(cpu, segment, Number(offset), bytes, write);
	return (segmentBase(cpu, segment) + offset) & 0xffffffffn;
}

/** Linear address of the memory operand; on a fault it is noted. */
export function memoryOperand(cpu: Cpu, insn: Insn, bytes: number, write = false): bigint {
	return linearAt(cpu, insn.segment, effectiveAddress(cpu, insn), bytes, write);
}

/** Reads a register or memory operand of `bytes` bytes, zero-extended; 0 with a fault noted. */
export function readOperand(cpu: Cpu, insn: Insn, at: number, bytes: number): bigint {
	if (insn.operands[at]?.kind === "register") {
		return BigInt.asUintN(bytes * 8, cpu.gpr(registerIndex(insn, at)));
	}
	const linear = memoryOperand(cpu, insn, bytes);
	return faulted(cpu) ? 0n : readLinear(cpu, linear, bytes, explicitAccess(cpu));
}

/** Writes memory at an offset of the memory operand. */
export function writeMemory(cpu: Cpu, insn: Insn, bytes: number, value: bigint): void {
	const linear = memoryOperand(cpu, insn, bytes, true);
	if (!faulted(cpu)) writeLinear(cpu, linear, bytes, value, explicitAccess(cpu));
}

// ---- the stack -------------------------------------------------------------------------------------

/** Bits of the stack pointer in use: 64, 32 or 16 (SDM Vol. 1, 6.2.3). */
export function stackBits(cpu: Cpu): number {
	if (is64Bit(cpu)) return 64;
	return (segmentAttributes(cpu, L.SS) & ATTR.DB) !== 0 ? 32 : 16;
}

/** Writes the part of RSP that the stack size covers. */
export function setStackPointer(cpu: Cpu, value: bigint): void {
	const bits = stackBits(cpu);
	if (bits === 64) cpu.setGpr(L.RSP, BigInt.asUintN(64, value));
	else if (bits === 32) cpu.setGpr(L.RSP, value & 0xffffffffn);
	else cpu.setGpr(L.RSP, (cpu.gpr(L.RSP) & ~0xffffn) | (value & 0xffffn));
}

/** Pushes values of `bytes` bytes each, first one first; all or, with a fault noted, none. */
export function push(cpu: Cpu, bytes: number, ...values: readonly bigint[]): void {
	const bits = stackBits(cpu);
	const total = BigInt(bytes * values.length);
	const top = BigInt.asUintN(bits, cpu.gpr(L.RSP) - total);
	const linear = linearAt(cpu, L.SS, top, Number(total), true);
	if (faulted(cpu)) return;
	const access = explicitAccess(cpu);
	if (values.length > 1 && !probeLinear(cpu, linear, Number(total), access | 2)) return;
	for (const [at, value] of values.entries()) {
		writeLinear(cpu, linear + total - BigInt(bytes * (at + 1)), bytes, value, access);
		if (faulted(cpu)) return;
	}
	setStackPointer(cpu, top);
}

/** Where a quadword of the stack of 64-bit mode lies, if the TLB knows: a Wasm offset, or -1. */
function knownOnStack(cpu: Cpu, skip: number): number {
	const lo = cpu.read32(L.GPR + L.RSP * 8) + skip;
	return lo > 0xffffffff
		? -1
		: knownRange(cpu, lo, cpu.read32(L.GPR + L.RSP * 8 + 4), 8, explicitAccess(cpu));
}

/** Reads the stack `skip` bytes above its top, without moving it; 0 with a fault noted. */
export function peek(cpu: Cpu, bytes: number, skip: number): bigint {
	const known = bytes === 8 && is64Bit(cpu) ? knownOnStack(cpu, skip) : -1;
	if (known >= 0) return cpu.memory.view.getBigUint64(known, true);
	const offset = BigInt.asUintN(stackBits(cpu), cpu.gpr(L.RSP) + BigInt(skip));
	const linear = linearAt(cpu, L.SS, offset, bytes);
	return faulted(cpu) ? 0n : readLinear(cpu, linear, bytes, explicitAccess(cpu));
}

/** Whether the current privilege level is 0. */
export function privileged(cpu: Cpu): boolean {
	return cpl(cpu) === 0;
}

/**
 * Whether this processor is ahead of others of the machine, and has to let them catch up: the instruction runs again
 * then. A handler that this is true for returns OUTCOME.stop.
 */
export function waitsForOthers(cpu: Cpu): boolean {
	if (cpu.cycles <= cpu.horizon) return false;
	cpu.paused = true;
	return true;
}
