/**
 * Memory of shadow stacks, and the two frames that control transfers leave there (SDM Vol. 1, 17.2): a return address for
 * a near CALL; CS, the linear return address and the shadow-stack pointer before it for a far one.
 *
 * Functions note a fault in the state block and change nothing then.
 */
import { CP } from "../cpu/cet.ts";
import type { Cpu } from "../cpu/cpu.ts";
import { raise, VECTOR } from "../cpu/fault.ts";
import * as L from "../cpu/layout.ts";
import { is64Bit } from "../cpu/modes.ts";
import { faulted, probeLinear, readLinear, writeLinear } from "../paging/access.ts";
import { PF } from "../paging/physical.ts";

/** Bytes of the frame of a far transfer. */
const FAR_FRAME = 24n;

/** Shadow-stack accesses of a privilege level: of user mode at 3, else of supervisor mode. */
function accessOf(level: number): number {
	return level === 3 ? PF.shadowStack | PF.user : PF.shadowStack;
}

/** Loads from a shadow stack. @param level whose @returns the value, zero-extended; 0 with a fault noted */
export function shadowLoad(cpu: Cpu, linear: bigint, bytes: number, level: number): bigint {
	return readLinear(cpu, linear, bytes, accessOf(level));
}

/** Stores to a shadow stack. @param level whose */
export function shadowStore(cpu: Cpu, linear: bigint, bytes: number, value: bigint, level: number): void {
	writeLinear(cpu, linear, bytes, value, accessOf(level));
}

/** Whether a store to a shadow stack would succeed; notes its fault if not. */
export function shadowProbe(cpu: Cpu, linear: bigint, bytes: number, level: number): boolean {
	return probeLinear(cpu, linear, bytes, accessOf(level) | PF.write);
}

/**
 * shadow_stack_lock_cmpxchg8b() of the manuals: replaces a token if it is the expected one.
 * @returns whether it was; false also with a fault noted
 */
export function exchangeToken(
	cpu: Cpu,
	linear: bigint,
	wanted: bigint,
	expected: bigint,
	level: number,
): boolean {
	if (!shadowProbe(cpu, linear, 8, level)) return false;
	if (shadowLoad(cpu, linear, 8, level) !== expected) return false;
	shadowStore(cpu, linear, 8, wanted, level);
	return true;
}

/** Bytes of a near CALL's return address: 8 in 64-bit mode, else 4. */
function nearBytes(cpu: Cpu): number {
	return is64Bit(cpu) ? 8 : 4;
}

function moved(cpu: Cpu, bytes: number): bigint {
	return BigInt.asUintN(is64Bit(cpu) ? 64 : 32, cpu.read64(L.SSP) + BigInt(bytes));
}

/** Pushes the return address of a near CALL. */
export function pushReturn(cpu: Cpu, address: bigint, level: number): void {
	const bytes = nearBytes(cpu);
	const top = moved(cpu, -bytes);
	shadowStore(cpu, top, bytes, address, level);
	if (!faulted(cpu)) cpu.write64(L.SSP, top);
}

/** Pops the return address of a near RET, which must be the one that the stack gave: #CP(NEAR-RET) is noted if not. */
export function popReturn(cpu: Cpu, address: bigint, level: number): void {
	const bytes = nearBytes(cpu);
	const expected = shadowLoad(cpu, cpu.read64(L.SSP), bytes, level);
	if (faulted(cpu)) return;
	if (expected === address) cpu.write64(L.SSP, moved(cpu, bytes));
	else raise(cpu, VECTOR.CP, CP.nearRet);
}

/** Where a far transfer's frame goes below a shadow-stack pointer that may be a multiple of 4 alone. */
function frameBelow(ssp: bigint): bigint {
	return BigInt.asUintN(64, (ssp & ~7n) - FAR_FRAME);
}

/** Whether the frame below a shadow-stack pointer can be written, and its token if `token`; notes the fault if not. */
export function probeFarFrame(cpu: Cpu, ssp: bigint, level: number): boolean {
	const top = frameBelow(ssp);
	return shadowProbe(cpu, top, Number(ssp - top), level);
}

/**
 * Writes the frame of a far transfer that `probeFarFrame` has looked at.
 * @param cs selector
 * @param lip linear return address
 * @param previous shadow-stack pointer to return to
 * @returns the new shadow-stack pointer
 */
export function writeFarFrame(
	cpu: Cpu,
	ssp: bigint,
	level: number,
	cs: bigint,
	lip: bigint,
	previous: bigint,
): bigint {
	const top = frameBelow(ssp);
	// The hole that aligning leaves.
	if ((ssp & 4n) !== 0n) shadowStore(cpu, ssp - 4n, 4, 0n, level);
	for (const [at, value] of [previous, lip, cs].entries())
		shadowStore(cpu, top + BigInt(8 * at), 8, value, level);
	return top;
}

/**
 * Reads the frame at the top of the shadow stack and compares it with what a far RET or an IRET is about to load.
 * @returns the shadow-stack pointer in it, or null with #CP(FAR-RET/IRET) or another fault noted
 */
export function checkFarFrame(cpu: Cpu, level: number, cs: bigint, lip: bigint): bigint | null {
	const ssp = cpu.read64(L.SSP);
	const words: bigint[] = [];
	for (let at = 0n; at < FAR_FRAME; at += 8n) {
		words.push(shadowLoad(cpu, ssp + at, 8, level));
		if (faulted(cpu)) return null;
	}
	const [previous, savedLip, savedCs] = words as [bigint, bigint, bigint];
	if (savedCs === cs && savedLip === lip && (previous & 3n) === 0n) return previous;
	raise(cpu, VECTOR.CP, CP.farRetIret);
	return null;
}

/** The shadow-stack pointer behind a far transfer's frame. */
export function behindFarFrame(ssp: bigint): bigint {
	return ssp + FAR_FRAME;
}
