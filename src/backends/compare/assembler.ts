/** What generated guests are encoded with: prefixes, ModRM, and memory operands of one absolute address (SDM Vol. 2A, 2). */
import { DATA_BYTES, type GuestMode, RESUME_GPA } from "./machine.ts";

/** Operand sizes in bits. */
export type Size = 8 | 16 | 32 | 64;

/** Little-endian bytes of a number below 2^53. */
export function le(value: number, bytes: number): number[] {
	return Array.from({ length: bytes }, (_, at) => Math.floor(value / 2 ** (8 * at)) & 0xff);
}

/** An immediate of an operand's size: 64-bit operands take 32 bits, sign-extended. */
export function immediate(value: number, size: Size): number[] {
	return le(value >>> 0, size === 64 ? 4 : size / 8);
}

/** Operand-size prefix, and REX where registers or the size want one. @param reg ModRM.reg @param rm ModRM.rm or base */
export function prefixes(mode: GuestMode, size: Size, reg = 0, rm = 0): number[] {
	const made: number[] = [];
	if ((size === 16 && mode.bits !== 16) || (size === 32 && mode.bits === 16)) made.push(0x66);
	const rex = (size === 64 ? 8 : 0) | (reg > 7 ? 4 : 0) | (rm > 7 ? 1 : 0);
	if (rex !== 0) made.push(0x40 | rex);
	return made;
}

/** An instruction with two registers. @param opcode its bytes */
export function regReg(
	mode: GuestMode,
	size: Size,
	opcode: readonly number[],
	reg: number,
	rm: number,
): number[] {
	return [...prefixes(mode, size, reg, rm), ...opcode, 0xc0 | ((reg & 7) << 3) | (rm & 7)];
}

/** An instruction with a memory operand at an offset of the data. */
export function regMemory(
	mode: GuestMode,
	size: Size,
	opcode: readonly number[],
	reg: number,
	offset: number,
): number[] {
	return [...prefixes(mode, size, reg), ...opcode, ...address(mode, reg, offset + mode.dataOffset)];
}

/** ModRM with an absolute address: disp16, disp32, or SIB without base and index. */
export function address(mode: GuestMode, reg: number, linear: number): number[] {
	const field = (reg & 7) << 3;
	if (mode.bits === 16) return [field | 6, ...le(linear & 0xffff, 2)];
	if (mode.bits === 32) return [field | 5, ...le(linear, 4)];
	return [field | 4, 0x25, ...le(linear, 4)];
}

/** An opcode whose bit 0 tells 8 bits from the mode's sizes. */
export const wide = (opcode: number, size: Size): number => opcode | (size === 8 ? 0 : 1);

/** MOV of an immediate of full width to a register. */
export function loadImmediate(mode: GuestMode, size: 16 | 32 | 64, reg: number, value: number): number[] {
	const bytes =
		size === 64
			? [...le(value, 4), ...le(Math.imul(value, 0x9e37_79b1) >>> 0, 4)]
			: le(value >>> 0, size / 8);
	return [...prefixes(mode, size, 0, reg), 0xb8 | (reg & 7), ...bytes];
}

/** CMP of two registers: all six arithmetic flags are defined behind it. */
export function defineFlags(mode: GuestMode): number[] {
	return regReg(mode, mode.bits, [0x39], 2, 6);
}

/**
 * MOV of the address behind some code to RESUME, where handlers go on.
 * @param at linear address of this instruction
 * @param length bytes of what follows it and may fault
 */
export function setResume(mode: GuestMode, at: number, length: number): number[] {
	const own = mode.bits === 16 ? 10 : mode.bits === 32 ? 11 : 12;
	const target = at - mode.codeBase + own + length;
	// SS has base 0 in all modes. 32 bits in 16-bit code, too: handlers of protected mode take a whole EIP.
	if (mode.bits === 16) return [0x66, 0x36, 0xc7, 0x06, ...le(RESUME_GPA, 2), ...le(target, 4)];
	if (mode.bits === 32) return [0x36, 0xc7, 0x05, ...le(RESUME_GPA, 4), ...le(target, 4)];
	return [0x48, 0xc7, 0x04, 0x25, ...le(RESUME_GPA, 4), ...le(target, 4)];
}

/** An offset of the data that leaves room for an operand. */
export const dataOffset = (random: () => number): number => Math.floor(random() * (DATA_BYTES - 64));
