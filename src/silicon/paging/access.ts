/**
 * Access to linear memory outside of translated code: the slow path of guest loads and stores, instruction
 * fetch, and what system instructions and event delivery read and write.
 *
 * Every function notes a fault in the state block and returns; the caller looks at `faulted`.
 */
import { CR0 } from "../cpu/control.ts";
import type { Cpu } from "../cpu/cpu.ts";
import { watchMemory } from "../cpu/debug.ts";
import { raise, VECTOR } from "../cpu/fault.ts";
import { fromHalves, highHalf, lowHalf } from "../cpu/halves.ts";
import * as L from "../cpu/layout.ts";
import { cpl } from "../cpu/modes.ts";
import { isCanonicalHigh } from "../cpu/msr.ts";
import { FLAG } from "../cpu/rflags.ts";
import { PF } from "./physical.ts";
import { bankOf, fillTlb, lookUpCodePage, lookUpTlb, protectCodePage } from "./tlb.ts";
import { IMPLICIT, translate, walked } from "./walk.ts";

const MASK32 = 0xffffffffn;
const PAGE = 4096;

/** Whether a fault is noted in the state block. */
export function faulted(cpu: Cpu): boolean {
	return cpu.read32(L.FAULT) !== 0;
}

/** The access bits of explicit accesses at the current privilege level. */
export function explicitAccess(cpu: Cpu): number {
	return cpl(cpu) === 3 ? PF.user : 0;
}

/**
 * Finds a page in the TLB, or translates and, where that may be reused, fills the TLB. Shadow stacks are never in it: other
 * rights hold for them.
 * @returns the Wasm offset, -1 with a fault noted, or -2 for an address behind the end of RAM
 */
function resolve(cpu: Cpu, lo: number, hi: number, access: number): number {
	const shadow = (access & PF.shadowStack) !== 0;
	const bank = bankOf(access);
	const table =
		(access & PF.write) !== 0 ? L.TLB_WRITE : (access & PF.fetch) !== 0 ? L.TLB_FETCH : L.TLB_READ;
	if (!shadow) {
		let cached = lookUpTlb(cpu, table + bank, lo, hi);
		if (cached < 0 && table === L.TLB_WRITE) cached = lookUpCodePage(cpu, bank, lo, hi);
		if (cached >= 0) return cached;
	}
	const { memory } = cpu;
	const hpa = translate(cpu, lo, hi, access);
	if (hpa < 0) return -1;
	if (hpa >= memory.ramBytes) return -2;
	const at = memory.ramBase + hpa;
	if (!walked.transient && !shadow) fillTlb(cpu, table, bank, lo, hi, at, walked.shift);
	return at;
}

function readAt(cpu: Cpu, at: number, bytes: number): bigint {
	if (at === -2) return (1n << BigInt(bytes * 8)) - 1n;
	const { view } = cpu.memory;
	if (bytes === 8) return view.getBigUint64(at, true);
	if (bytes === 4) return BigInt(view.getUint32(at, true));
	if (bytes === 2) return BigInt(view.getUint16(at, true));
	return BigInt(view.getUint8(at));
}

function writeAt(cpu: Cpu, at: number, bytes: number, value: bigint): void {
	if (at === -2) return;
	const { memory } = cpu;
	const page = (at - memory.ramBase) >>> 12;
	const { view } = memory;
	if (memory.codePages[page] !== 0) {
		// Code that is written again as it stands is the same code.
		if (readAt(cpu, at, bytes) === BigInt.asUintN(bytes * 8, value)) return;
		memory.onCodeWrite(page);
	}
	if (bytes === 8) view.setBigUint64(at, BigInt.asUintN(64, value), true);
	else if (bytes === 4) view.setUint32(at, Number(value & MASK32), true);
	else if (bytes === 2) view.setUint16(at, Number(value & 0xffffn), true);
	else view.setUint8(at, Number(value & 0xffn));
}

/** Added to an access: it is through SS, whose faults are #SS. */
export const STACK = 0x200;

/** Notes #GP(0), or #SS(0) for the stack, for a non-canonical address. @returns false then */
function checkCanonical(cpu: Cpu, hi: number, access: number): boolean {
	if (isCanonicalHigh(cpu, hi)) return true;
	raise(cpu, (access & STACK) !== 0 ? VECTOR.SS : VECTOR.GP, 0);
	return false;
}

/**
 * Whether an access of level 3 must be aligned and is not: CR0.AM and RFLAGS.AC (SDM Vol. 3A, 7.15, #AC). Notes #AC(0)
 * then.
 */
function isMisaligned(cpu: Cpu, lo: number, bytes: number, access: number): boolean {
	if ((lo & (bytes - 1)) === 0 || (access & (PF.user | PF.shadowStack)) !== PF.user) return false;
	if ((cpu.read32(L.RFLAGS) & FLAG.AC) === 0 || (cpu.read32(L.CR0) & CR0.AM) === 0) return false;
	raise(cpu, VECTOR.AC, 0);
	return true;
}

/**
 * Finds a range in the TLB: the short way to what is used all the time, such as stacks and descriptor tables.
 * @param lo low half of its linear address, and `hi`, unsigned
 * @param access as for `readLinear`; with PF.write for stores, which pages of code are not found for
 * @returns the Wasm offset; -1 if only the long way can tell, with nothing noted
 */
export function knownRange(cpu: Cpu, lo: number, hi: number, bytes: number, access: number): number {
	if (cpu.emulated !== null || (lo & 0xfff) + bytes > PAGE) return -1;
	// #AC is for the long way to find. Addresses that the TLB has are canonical.
	if ((access & PF.user) !== 0 && (lo & 7) !== 0) return -1;
	const table = (access & PF.write) !== 0 ? L.TLB_WRITE : L.TLB_READ;
	return lookUpTlb(cpu, table + bankOf(access), lo, hi);
}

/**
 * Reads quadwords of linear memory, as the doublewords that they consist of.
 * @param lo low half of its linear address, and `hi`, unsigned
 * @param into takes them, from its first element on
 * @param count of doublewords
 * @returns false with a fault noted
 */
export function readWords(
	cpu: Cpu,
	lo: number,
	hi: number,
	into: Uint32Array,
	count: number,
	access: number,
): boolean {
	const at = knownRange(cpu, lo, hi, 4 * count, access);
	if (at >= 0) {
		const { view } = cpu.memory;
		for (let index = 0; index < count; index++) into[index] = view.getUint32(at + 4 * index, true);
		return true;
	}
	const linear = fromHalves(lo, hi);
	for (let index = 0; index < count; index += 2) {
		const value = readLinear(cpu, BigInt.asUintN(64, linear + BigInt(4 * index)), 8, access);
		if (faulted(cpu)) return false;
		into[index] = lowHalf(value);
		into[index + 1] = highHalf(value);
	}
	return true;
}

/** The linear address of the page behind the one at (lo, hi), which ends a crossing access. */
function nextPageHigh(lo: number, hi: number): number {
	return lo >>> 12 === 0xfffff ? (hi + 1) >>> 0 : hi;
}

/**
 * Reads linear memory.
 * @param bytes 1 to 8
 * @param access access bits without PF.write: `explicitAccess`, or IMPLICIT for descriptor tables
 * @returns the value, zero-extended; 0 with a fault noted
 */
export function readLinear(cpu: Cpu, linear: bigint, bytes: number, access: number): bigint {
	if (cpu.emulated !== null) return cpu.emulated.read(cpu, linear, bytes, access);
	const lo = lowHalf(linear);
	const hi = highHalf(linear);
	if (!checkCanonical(cpu, hi, access) || isMisaligned(cpu, lo, bytes, access)) return 0n;
	const first = resolve(cpu, lo, hi, access);
	if (first === -1) return 0n;
	if ((access & IMPLICIT) === 0) watchMemory(cpu, linear, bytes, false);
	const room = PAGE - (lo & 0xfff);
	if (bytes <= room) return readAt(cpu, first, bytes);
	if (!checkCanonical(cpu, nextPageHigh(lo, hi), access)) return 0n;
	const second = resolve(cpu, (lo + room) >>> 0, nextPageHigh(lo, hi), access);
	if (second === -1) return 0n;
	let value = 0n;
	for (let i = 0; i < bytes; i++) {
		const at = i < room ? plus(first, i) : plus(second, i - room);
		value |= readAt(cpu, at, 1) << BigInt(8 * i);
	}
	return value;
}

function plus(at: number, offset: number): number {
	return at < 0 ? at : at + offset;
}

/**
 * Writes linear memory: all bytes or none.
 * @param bytes 1 to 8
 * @param access access bits; PF.write is added
 */
export function writeLinear(cpu: Cpu, linear: bigint, bytes: number, value: bigint, access: number): void {
	if (cpu.emulated !== null) {
		cpu.emulated.write(cpu, linear, bytes, value, access | PF.write);
		return;
	}
	const lo = lowHalf(linear);
	const hi = highHalf(linear);
	if (!checkCanonical(cpu, hi, access) || isMisaligned(cpu, lo, bytes, access)) return;
	const first = resolve(cpu, lo, hi, access | PF.write);
	if (first === -1) return;
	const room = PAGE - (lo & 0xfff);
	if (bytes <= room) {
		if ((access & IMPLICIT) === 0) watchMemory(cpu, linear, bytes, true);
		writeAt(cpu, first, bytes, value);
		return;
	}
	if (!checkCanonical(cpu, nextPageHigh(lo, hi), access)) return;
	const second = resolve(cpu, (lo + room) >>> 0, nextPageHigh(lo, hi), access | PF.write);
	if (second === -1) return;
	if ((access & IMPLICIT) === 0) watchMemory(cpu, linear, bytes, true);
	for (let i = 0; i < bytes; i++) {
		const at = i < room ? plus(first, i) : plus(second, i - room);
		writeAt(cpu, at, 1, (value >> BigInt(8 * i)) & 0xffn);
	}
}

/**
 * Writes quadwords to linear memory, as the doublewords that they consist of. The caller has probed the range.
 * @param lo low half of its linear address, and `hi`, unsigned
 * @param from index of the first doubleword of `values` to write; those to its end follow
 * @returns false with a fault noted
 */
export function writeWords(
	cpu: Cpu,
	lo: number,
	hi: number,
	values: Uint32Array,
	from: number,
	access: number,
): boolean {
	const at = knownRange(cpu, lo, hi, 4 * (values.length - from), access | PF.write);
	if (at >= 0) {
		const { view } = cpu.memory;
		for (let index = from; index < values.length; index++)
			view.setUint32(at + 4 * (index - from), values[index]!, true);
		return true;
	}
	const linear = fromHalves(lo, hi);
	for (let index = from; index < values.length; index += 2) {
		const value = fromHalves(values[index]!, values[index + 1]!);
		writeLinear(cpu, linear + BigInt(4 * (index - from)), 8, value, access);
	}
	return !faulted(cpu);
}

/**
 * Checks that an access to a range would succeed, and notes the fault if not. Sets accessed and dirty bits.
 * @param bytes at least 1
 * @param access access bits, PF.write included if wanted
 * @returns whether it would
 */
export function probeLinear(cpu: Cpu, linear: bigint, bytes: number, access: number): boolean {
	if (cpu.emulated !== null) return cpu.emulated.probe(cpu, linear, bytes, access);
	let lo = lowHalf(linear);
	let hi = highHalf(linear);
	let left = bytes;
	while (left > 0) {
		if (!checkCanonical(cpu, hi, access)) return false;
		if (resolve(cpu, lo, hi, access) === -1) return false;
		const room = PAGE - (lo & 0xfff);
		hi = nextPageHigh(lo, hi);
		lo = (lo + room) >>> 0;
		left -= room;
	}
	return true;
}

/** Does what `probeLinear` does, for an address in halves: the short way to pages that the TLB has. */
export function probeWords(cpu: Cpu, lo: number, hi: number, bytes: number, access: number): boolean {
	return knownRange(cpu, lo, hi, bytes, access) >= 0 || probeLinear(cpu, fromHalves(lo, hi), bytes, access);
}

/** Copies linear memory into an array. @returns false with a fault noted; the array is then undefined */
export function copyFromLinear(
	cpu: Cpu,
	linear: bigint,
	into: Uint8Array,
	bytes: number,
	access: number,
): boolean {
	let done = 0;
	while (done < bytes) {
		const address = linear + BigInt(done);
		const lo = lowHalf(address);
		if (!checkCanonical(cpu, highHalf(address), access)) return false;
		const at = resolve(cpu, lo, highHalf(address), access);
		if (at === -1) return false;
		const part = Math.min(bytes - done, PAGE - (lo & 0xfff));
		if (at === -2) into.fill(0xff, done, done + part);
		else into.set(cpu.memory.u8.subarray(at, at + part), done);
		done += part;
	}
	return true;
}

/**
 * Copies part of an array to linear memory. The caller has probed the range.
 * @param from first byte, in the array and from `linear`
 * @param to one past the last
 */
export function copyToLinear(
	cpu: Cpu,
	linear: bigint,
	source: Uint8Array,
	from: number,
	to: number,
	access: number,
): void {
	let done = from;
	while (done < to) {
		const address = linear + BigInt(done);
		const lo = lowHalf(address);
		const at = resolve(cpu, lo, highHalf(address), access | PF.write);
		if (at === -1) return;
		const part = Math.min(to - done, PAGE - (lo & 0xfff));
		if (at >= 0) {
			const page = (at - cpu.memory.ramBase) >>> 12;
			if (cpu.memory.codePages[page] !== 0) cpu.memory.onCodeWrite(page);
			cpu.memory.u8.set(source.subarray(done, done + part), at);
		}
		done += part;
	}
}

/**
 * Finds the code byte at a linear address, with the rights of an instruction fetch. Stores to its page take the
 * slow path from here on.
 * @returns its byte offset in the machine's memory, or -1 with a fault noted; #UD behind the end of RAM, where
 *   the bus would read all ones
 */
export function fetchLinear(cpu: Cpu, linear: bigint): number {
	if (cpu.emulated !== null) return cpu.emulated.fetch(cpu, linear);
	const lo = lowHalf(linear);
	const hi = highHalf(linear);
	if (!checkCanonical(cpu, hi, 0)) return -1;
	const at = resolve(cpu, lo, hi, explicitAccess(cpu) | PF.fetch);
	if (at >= 0) {
		const page = (at - cpu.memory.ramBase) >>> 12;
		// Write entries of a page that is known to hold code are marked already.
		if (cpu.memory.codePages[page] === 0) protectCodePage(cpu, page);
		return at;
	}
	if (at === -2) raise(cpu, VECTOR.UD);
	return -1;
}
