/** Checks of an access to a segment outside 64-bit mode: usability, type and limit (SDM Vol. 3A, 6.3 and 6.4). */
import type { Cpu } from "./cpu.ts";
import { raise, VECTOR } from "./fault.ts";
import * as L from "./layout.ts";
import { isProtectedMode } from "./modes.ts";
import { ATTR, segmentAttributes, segmentLimit } from "./segments.ts";

/** Type bits, with S. */
const CODE = 0x18;
const EXPAND_DOWN = 0x14;
const WRITABLE_DATA = 0x12;

function typeAllows(attributes: number, write: boolean): boolean {
	if (write) return (attributes & 0x1a) === WRITABLE_DATA;
	return (attributes & CODE) !== CODE || (attributes & 2) !== 0;
}

function limitAllows(attributes: number, limit: number, offset: number, bytes: number): boolean {
	const last = offset + bytes - 1;
	if ((attributes & 0x1c) !== EXPAND_DOWN) return last <= limit;
	return offset > limit && last <= ((attributes & ATTR.DB) !== 0 ? 0xffffffff : 0xffff);
}

/**
 * Checks an access, and notes #SS(0) for the stack segment or #GP(0) for another if it is not allowed. Real mode
 * looks at the limit alone.
 * @param segment ES to GS
 * @param offset of the first byte, below 2^32
 * @param bytes at least 1
 * @returns whether it is allowed
 */
export function checkSegment(
	cpu: Cpu,
	segment: number,
	offset: number,
	bytes: number,
	write: boolean,
): boolean {
	const attributes = segmentAttributes(cpu, segment);
	const typed =
		!isProtectedMode(cpu) || ((attributes & ATTR.unusable) === 0 && typeAllows(attributes, write));
	if (typed && limitAllows(attributes, segmentLimit(cpu, segment), offset, bytes)) return true;
	raise(cpu, segment === L.SS ? VECTOR.SS : VECTOR.GP, 0);
	return false;
}
