/** Addresses, stack accesses and RIP for instructions that are carried out in TypeScript. */
import type { Cpu } from "../cpu/cpu.ts";
import * as L from "../cpu/layout.ts";
import { checkSegment } from "../cpu/segment-access.ts";
import type { Insn } from "./insn.ts";
import { placeOf } from "./registers.ts";

/** Whether a fault is noted in the state block. */
export function hasFault(cpu: Cpu): boolean {
	return cpu.read32(L.FAULT) !== 0;
}

/** Whether the current privilege level is 3. */
export function isUser(cpu: Cpu): boolean {
	return (cpu.read32(L.SEG + L.SS * L.SEG_BYTES + L.SEG_ATTR) & 0x60) === 0x60;
}

/** A register, cut to an address or operand size in bytes. */
export function registerValue(cpu: Cpu, index: number, bytes: number): bigint {
	return BigInt.asUintN(bytes * 8, cpu.gpr(index));
}

/** Writes a register with x86's rules: 4 bytes zero-extend, 1 and 2 bytes keep the rest. */
export function setRegisterValue(cpu: Cpu, index: number, bytes: number, value: bigint): void {
	if (bytes >= 4) {
		cpu.setGpr(index, BigInt.asUintN(bytes * 8, value));
		return;
	}
	const mask = (1n << BigInt(bytes * 8)) - 1n;
	cpu.setGpr(index, (cpu.gpr(index) & ~mask) | (value & mask));
}

/**
 * Linear address of an offset in a segment.
 * @param bytes of the access, and whether it is a `write`: outside 64-bit mode a fault of the segment is noted
 */
export function linearIn(
	cpu: Cpu,
	segment: number,
	offset: bigint,
	bitness: number,
	bytes: number,
	write: boolean,
): bigint {
	if (bitness === 64 && segment !== L.FS && segment !== L.GS) return offset;
	if (bitness !== 64) checkSegment(cpu, segment, Number(offset), bytes, write);
	const base = cpu.read64(L.SEG + segment * L.SEG_BYTES + L.SEG_BASE);
	return BigInt.asUintN(bitness === 64 ? 64 : 32, base + offset);
}

/** Offset of an instruction's memory operand in its segment. */
export function offsetOf(cpu: Cpu, insn: Insn): bigint {
	let offset = insn.displacement;
	if (insn.base !== 0) offset += cpu.gpr(placeOf(insn.base)!.index);
	if (insn.index !== 0) offset += cpu.gpr(placeOf(insn.index)!.index) * BigInt(insn.scale);
	return BigInt.asUintN(insn.addressBytes * 8, offset);
}

/** Linear address of an instruction's memory operand; a fault of the segment is noted. */
export function linearOf(cpu: Cpu, insn: Insn, bytes: number, write: boolean): bigint {
	return linearIn(cpu, insn.segment, offsetOf(cpu, insn), insn.bitness, bytes, write);
}

/** Bytes of the stack pointer: 8 in 64-bit mode, else as SS.B says. */
export function stackBytesOf(cpu: Cpu, bitness: number): number {
	if (bitness === 64) return 8;
	const attributes = cpu.read32(L.SEG + L.SS * L.SEG_BYTES + L.SEG_ATTR);
	return (attributes & (1 << 14)) !== 0 ? 4 : 2;
}

/** Linear address of RSP + an offset, for an access of `bytes`; a fault of SS is noted. */
export function stackLinear(cpu: Cpu, insn: Insn, offset: number, bytes: number, write: boolean): bigint {
	const at = BigInt.asUintN(stackBytesOf(cpu, insn.bitness) * 8, cpu.gpr(L.RSP) + BigInt(offset));
	return linearIn(cpu, L.SS, at, insn.bitness, bytes, write);
}

/** Adds to RSP. */
export function moveStack(cpu: Cpu, insn: Insn, offset: number): void {
	setRegisterValue(cpu, L.RSP, stackBytesOf(cpu, insn.bitness), cpu.gpr(L.RSP) + BigInt(offset));
}

/** Moves RIP, which names an instruction, past it. */
export function passInstruction(cpu: Cpu, insn: Insn): void {
	const at = (cpu.base + L.RIP) >> 2;
	const words = cpu.u32;
	const low = words[at]! + insn.length;
	words[at] = low;
	if (low > 0xffffffff) words[at + 1] = insn.bitness === 64 ? words[at + 1]! + 1 : 0;
}
