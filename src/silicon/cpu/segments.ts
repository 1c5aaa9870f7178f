/** Segment registers of the state block, and descriptors as they lie in memory (SDM Vol. 3A, 3.4). */
import type { Cpu } from "./cpu.ts";
import * as L from "./layout.ts";

/** Bits of a segment's attributes: the access-rights format of the VMCS (SDM table 25-2). */
export const ATTR = {
	type: 0xf,
	S: 1 << 4,
	DPL: 3 << 5,
	P: 1 << 7,
	L: 1 << 13,
	DB: 1 << 14,
	G: 1 << 15,
	unusable: 1 << 16,
} as const;

/** Byte offset of a segment register in the state block. @param segment one of ES … IDTR of layout.ts */
export function segmentAt(segment: number): number {
	return L.SEG + segment * L.SEG_BYTES;
}

/** The base address in the hidden part of a segment register. */
export function segmentBase(cpu: Cpu, segment: number): bigint {
	return cpu.read64(segmentAt(segment) + L.SEG_BASE);
}

/** The limit in bytes, with granularity already applied. */
export function segmentLimit(cpu: Cpu, segment: number): number {
	return cpu.read32(segmentAt(segment) + L.SEG_LIMIT);
}

/** The attributes in the hidden part of a segment register, in the format of ATTR. */
export function segmentAttributes(cpu: Cpu, segment: number): number {
	return cpu.read32(segmentAt(segment) + L.SEG_ATTR);
}

/** The visible part of a segment register. */
export function segmentSelector(cpu: Cpu, segment: number): number {
	return cpu.read32(segmentAt(segment) + L.SEG_SELECTOR);
}

/**
 * Sets a whole segment register, hidden part included, without any check.
 * @param limit in bytes
 * @param attributes in the format of ATTR
 */
export function setSegment(
	cpu: Cpu,
	segment: number,
	selector: number,
	base: bigint,
	limit: number,
	attributes: number,
): void {
	const at = segmentAt(segment);
	cpu.write64(at + L.SEG_BASE, base);
	cpu.write32(at + L.SEG_LIMIT, limit);
	cpu.write32(at + L.SEG_ATTR, attributes);
	cpu.write32(at + L.SEG_SELECTOR, selector);
}

/** Does what `setSegment` does, with a base below 4 GiB as descriptors of 8 bytes have it. */
export function setSegment32(
	cpu: Cpu,
	segment: number,
	selector: number,
	base: number,
	limit: number,
	attributes: number,
): void {
	const at = segmentAt(segment);
	cpu.write32(at + L.SEG_BASE, base);
	cpu.write32(at + L.SEG_BASE + 4, 0);
	cpu.write32(at + L.SEG_LIMIT, limit);
	cpu.write32(at + L.SEG_ATTR, attributes);
	cpu.write32(at + L.SEG_SELECTOR, selector);
}

/** Attributes in a descriptor's second doubleword. The limit's bits 19:16 lie between and are dropped. */
export function descriptorAttributes(high: number): number {
	return (high >>> 8) & 0xf0ff;
}

/** The limit in bytes that a descriptor's two doublewords give. */
export function descriptorLimit(low: number, high: number): number {
	const raw = (low & 0xffff) | (high & 0xf0000);
	return (high & (1 << 23)) === 0 ? raw : ((raw << 12) | 0xfff) >>> 0;
}

/** The 32-bit base that a descriptor's two doublewords give. */
export function descriptorBase(low: number, high: number): number {
	return ((low >>> 16) | ((high & 0xff) << 16) | (high & 0xff000000)) >>> 0;
}
