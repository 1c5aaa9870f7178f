/** Descriptor tables: reading descriptors and loading segment registers from them (SDM Vol. 3A, 3.4 and 6.5 to 6.8). */
import type { Cpu } from "../cpu/cpu.ts";
import { raise, VECTOR } from "../cpu/fault.ts";
import * as L from "../cpu/layout.ts";
import { cpl, is64Bit, isLongMode, isProtectedMode } from "../cpu/modes.ts";
import {
	ATTR,
	descriptorAttributes,
	descriptorBase,
	descriptorLimit,
	segmentAttributes,
	segmentBase,
	segmentAt,
	segmentLimit,
	setSegment32,
} from "../cpu/segments.ts";
import { faulted, readWords, writeLinear } from "../paging/access.ts";
import { IMPLICIT } from "../paging/walk.ts";

/** A descriptor as read from the GDT or LDT. */
export interface Descriptor {
	readonly selector: number;
	readonly low: number;
	readonly high: number;
	readonly attributes: number;
	readonly dpl: number;
	/** Type bits 3:0, with S as bit 4. */
	readonly type: number;
}

const words = new Uint32Array(2);

/** Selector without its RPL: the error code of faults about it. */
export function selectorError(selector: number): number {
	return selector & 0xfffc;
}

/** Whether a selector is null: index 0 of the GDT, any RPL. */
export function isNull(selector: number): boolean {
	return (selector & 0xfffc) === 0;
}

/** Where the descriptor of a selector lies. */
export function descriptorLinear(cpu: Cpu, selector: number): bigint {
	return segmentBase(cpu, (selector & 4) === 0 ? L.GDTR : L.LDTR) + BigInt(selector & 0xfff8);
}

/**
 * Reads a descriptor.
 * @param selector not null
 * @param vector what a selector outside its table raises: #GP, or #TS while a TSS is read
 * @param external EXT bit of the error code
 * @returns null with a fault noted
 */
export function readDescriptor(
	cpu: Cpu,
	selector: number,
	vector: number = VECTOR.GP,
	external = 0,
): Descriptor | null {
	const table = (selector & 4) === 0 ? L.GDTR : L.LDTR;
	const offset = selector & 0xfff8;
	const unusable = table === L.LDTR && (segmentAttributes(cpu, L.LDTR) & ATTR.unusable) !== 0;
	if (unusable || offset + 7 > segmentLimit(cpu, table)) {
		raise(cpu, vector, selectorError(selector) | external);
		return null;
	}
	const base = segmentAt(table) + L.SEG_BASE;
	const sum = cpu.read32(base) + offset;
	const carry = sum > 0xffffffff ? 1 : 0;
	if (!readWords(cpu, sum >>> 0, (cpu.read32(base + 4) + carry) >>> 0, words, 2, IMPLICIT)) return null;
	const low = words[0]!;
	const high = words[1]!;
	const attributes = descriptorAttributes(high);
	return { selector, low, high, attributes, dpl: (attributes >>> 5) & 3, type: attributes & 0x1f };
}

/** Loads a segment register from a checked descriptor, and sets the descriptor's accessed bit. */
export function loadFromDescriptor(cpu: Cpu, segment: number, selector: number, from: Descriptor): void {
	const accessed = (from.type & 0x11) === 0x10;
	if (accessed) {
		const type = descriptorLinear(cpu, from.selector) + 5n;
		writeLinear(cpu, type, 1, BigInt(((from.high >>> 8) & 0xff) | 1), IMPLICIT);
		if (faulted(cpu)) return;
	}
	const base = descriptorBase(from.low, from.high);
	const attributes = accessed ? from.attributes | 1 : from.attributes;
	setSegment32(cpu, segment, selector & 0xffff, base, descriptorLimit(from.low, from.high), attributes);
}

/** Makes a segment register null. SS keeps the privilege level in its DPL. */
export function loadNull(cpu: Cpu, segment: number, selector: number, dpl = 0): void {
	setSegment32(cpu, segment, selector & 0xffff, 0, 0, ATTR.unusable | (dpl << 5));
}

/** A data segment that may be written: type 001xb with S. */
function isWritableData(type: number): boolean {
	return (type & 0x1a) === 0x12;
}

/**
 * Loads a segment register in real mode: selector and base. Limit, granularity and size stay, which protected mode may
 * have left there ("big" or "unreal" mode; SDM Vol. 3A, 11.9.2).
 */
export function loadRealSegment(cpu: Cpu, segment: number, selector: number): void {
	const kept = segmentAttributes(cpu, segment) & (ATTR.G | ATTR.DB);
	const type = segment === L.CS ? 0x9b : 0x93;
	setSegment32(cpu, segment, selector, selector << 4, segmentLimit(cpu, segment), kept | type);
}

/**
 * Loads ES, SS, DS, FS or GS as MOV, POP and LDS do (SDM Vol. 2B, MOV).
 * @returns false with a fault noted
 */
export function loadDataSegment(cpu: Cpu, segment: number, selector: number): boolean {
	if (!isProtectedMode(cpu)) {
		loadRealSegment(cpu, segment, selector);
		return true;
	}
	const level = cpl(cpu);
	const rpl = selector & 3;
	if (segment === L.SS) return loadStackSegment(cpu, selector, level);
	if (isNull(selector)) {
		loadNull(cpu, segment, selector);
		return true;
	}
	const found = readDescriptor(cpu, selector);
	if (found === null) return false;
	const code = (found.type & 0x18) === 0x18;
	const readable = (found.type & 0x10) !== 0 && (!code || (found.type & 2) !== 0);
	const conforming = code && (found.type & 4) !== 0;
	if (!readable || (!conforming && (rpl > found.dpl || level > found.dpl))) {
		raise(cpu, VECTOR.GP, selectorError(selector));
		return false;
	}
	if ((found.attributes & ATTR.P) === 0) {
		raise(cpu, VECTOR.NP, selectorError(selector));
		return false;
	}
	loadFromDescriptor(cpu, segment, selector, found);
	return !faulted(cpu);
}

/**
 * Loads SS for a privilege level.
 * @param level the CPL that is or will be current; the selector's RPL and the DPL must equal it
 * @param vector raised for a bad selector: #GP, or #TS when it came from a TSS
 * @returns false with a fault noted
 */
export function loadStackSegment(
	cpu: Cpu,
	selector: number,
	level: number,
	vector: number = VECTOR.GP,
	external = 0,
): boolean {
	if (isNull(selector)) {
		if (!is64Bit(cpu) || level === 3 || (selector & 3) !== level) {
			raise(cpu, vector, external);
			return false;
		}
		loadNull(cpu, L.SS, selector, level);
		return true;
	}
	const found = readDescriptor(cpu, selector, vector, external);
	if (found === null) return false;
	if ((selector & 3) !== level || !isWritableData(found.type) || found.dpl !== level) {
		raise(cpu, vector, selectorError(selector) | external);
		return false;
	}
	if ((found.attributes & ATTR.P) === 0) {
		raise(cpu, VECTOR.SS, selectorError(selector) | external);
		return false;
	}
	loadFromDescriptor(cpu, L.SS, selector, found);
	return !faulted(cpu);
}

/** Whether a descriptor is a code segment whose L and D bits go together. */
export function isCodeSegment(cpu: Cpu, found: Descriptor): boolean {
	if ((found.type & 0x18) !== 0x18) return false;
	return !isLongMode(cpu) || (found.attributes & (ATTR.L | ATTR.DB)) !== (ATTR.L | ATTR.DB);
}

/** Conforming code: type bit 2. */
export function isConforming(found: Descriptor): boolean {
	return (found.type & 4) !== 0;
}

/**
 * Makes null those of ES, DS, FS and GS that a return to an outer level may not keep (SDM Vol. 2B, RET). The bases of FS
 * and GS stay, which 64-bit code goes on to use.
 * @param level the new CPL
 */
export function dropInnerSegments(cpu: Cpu, level: number): void {
	dropInner(cpu, L.ES, level);
	dropInner(cpu, L.DS, level);
	dropInner(cpu, L.FS, level);
	dropInner(cpu, L.GS, level);
}

function dropInner(cpu: Cpu, segment: number, level: number): void {
	const attributes = segmentAttributes(cpu, segment);
	if ((attributes & ATTR.unusable) !== 0) return;
	const conforming = (attributes & 0x1c) === 0x1c;
	if (conforming || ((attributes >>> 5) & 3) >= level) return;
	const at = segmentAt(segment);
	cpu.write32(at + L.SEG_SELECTOR, 0);
	cpu.write32(at + L.SEG_LIMIT, 0);
	cpu.write32(at + L.SEG_ATTR, ATTR.unusable);
}
