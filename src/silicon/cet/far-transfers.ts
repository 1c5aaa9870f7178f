/**
 * What far transfers do to shadow stacks (SDM Vol. 2, CALL, RET, INT n and IRET; Vol. 1, 17.2.5): within a privilege level
 * they leave a frame on the shadow stack; to another one they change it, and the token at the new one's top is marked
 * busy while it is in use.
 *
 * Each transfer is looked at before anything of it is done, and done when nothing else of the instruction can fault.
 */
import { CP, isCetOn, shadowStackEnabled } from "../cpu/cet.ts";
import type { Cpu } from "../cpu/cpu.ts";
import { raise, VECTOR } from "../cpu/fault.ts";
import * as L from "../cpu/layout.ts";
import { cpl, isLongMode } from "../cpu/modes.ts";
import { isCanonical } from "../cpu/msr.ts";
import { faulted, readLinear } from "../paging/access.ts";
import { IMPLICIT } from "../paging/walk.ts";
import {
	behindFarFrame,
	checkFarFrame,
	exchangeToken,
	probeFarFrame,
	shadowLoad,
	shadowProbe,
	writeFarFrame,
} from "./access.ts";
import { trackFar } from "./tracker.ts";

const BUSY = 1n;

/** Where a far return leads. */
export interface FarTarget {
	/** CS selector, its RPL the privilege level. */
	readonly selector: number;
	/** Base of the code segment plus the offset. */
	readonly lip: bigint;
	/** The target is 64-bit code. */
	readonly long: boolean;
}

function refuse(cpu: Cpu, vector: number, errorCode: number): null {
	raise(cpu, vector, errorCode);
	return null;
}

/** Whether code of a mode can use a shadow-stack pointer: below 4 GiB, or canonical in 64-bit mode. */
function fits(cpu: Cpu, ssp: bigint, long: boolean): boolean {
	return long ? isCanonical(ssp, cpu) : ssp >> 32n === 0n;
}

// ---- far JMP and CALL ------------------------------------------------------------------------------

/**
 * Looks at a far JMP or CALL within a privilege level.
 * @param long the target is 64-bit code
 * @returns whether the shadow stack allows it; the fault is noted if not
 */
export function checkFarBranch(cpu: Cpu, long: boolean, call: boolean): boolean {
	const level = cpl(cpu);
	if (!shadowStackEnabled(cpu, level)) return true;
	const ssp = cpu.read64(L.SSP);
	if (!long && ssp >> 32n !== 0n) {
		raise(cpu, VECTOR.GP, 0);
		return false;
	}
	return !call || probeFarFrame(cpu, ssp, level);
}

/** CS and the linear address that the return from a far transfer is to load. */
export interface Origin {
	readonly cs: bigint;
	readonly lip: bigint;
}

/** Ends a far CALL that `checkFarBranch` has looked at, or with null a far JMP. */
export function finishFarBranch(cpu: Cpu, origin: Origin | null): void {
	const level = cpl(cpu);
	if (origin !== null && shadowStackEnabled(cpu, level)) {
		const ssp = cpu.read64(L.SSP);
		cpu.write64(L.SSP, writeFarFrame(cpu, ssp, level, origin.cs, origin.lip, ssp));
	}
	trackFar(cpu, level);
}

// ---- far RET and IRET ------------------------------------------------------------------------------

/** What a return does to shadow stacks. */
export interface ShadowReturn {
	/** The shadow-stack pointer that it loads; null: it stays. */
	readonly ssp: bigint | null;
	/** Address of the token that becomes free; null for none. */
	readonly token: bigint | null;
}

/** Of a return where shadow stacks are off. */
export const UNCHANGED: ShadowReturn = { ssp: null, token: null };

/**
 * Looks at a far RET or an IRET in protected mode.
 * @param iret an IRET of IA-32e mode also leaves the shadow stack that an IST entry brought
 * @returns what it will do, or null with a fault noted
 */
export function checkFarReturn(cpu: Cpu, target: FarTarget, iret: boolean): ShadowReturn | null {
	const from = cpl(cpu);
	const to = target.selector & 3;
	const fromShadow = shadowStackEnabled(cpu, from);
	const toShadow = shadowStackEnabled(cpu, to);
	if (!fromShadow && !toShadow) return UNCHANGED;
	let old = cpu.read64(L.SSP);
	let ssp: bigint | null = null;
	if (fromShadow) {
		if ((old & 7n) !== 0n) return refuse(cpu, VECTOR.CP, CP.farRetIret);
		// Level 3 left its pointer in IA32_PL3_SSP, and no frame.
		if (from === to || to !== 3) {
			ssp = checkFarFrame(cpu, from, BigInt(target.selector), target.lip);
			if (ssp === null) return null;
			old = behindFarFrame(old);
		}
	}
	if (from === to) {
		if (ssp === null) return UNCHANGED;
		if (!fits(cpu, ssp, target.long)) return refuse(cpu, VECTOR.GP, 0);
		const left = iret && isLongMode(cpu) && ssp !== old;
		return withToken(cpu, ssp, left ? old : null);
	}
	if (to === 3) ssp = cpu.read64(L.PL3_SSP);
	if (toShadow && ssp !== null && !fits(cpu, ssp, target.long)) return refuse(cpu, VECTOR.GP, 0);
	return withToken(cpu, toShadow ? ssp : old, fromShadow ? old : null);
}

function withToken(cpu: Cpu, ssp: bigint | null, token: bigint | null): ShadowReturn | null {
	if (token !== null && !shadowProbe(cpu, token, 8, 0)) return null;
	return { ssp, token };
}

/** Does what `checkFarReturn` has found. The token is freed with supervisor rights, whatever the level is now. */
export function finishFarReturn(cpu: Cpu, { ssp, token }: ShadowReturn): void {
	if (token !== null) exchangeToken(cpu, token, token, token | BUSY, 0);
	if (ssp !== null) cpu.write64(L.SSP, ssp);
}

// ---- events ----------------------------------------------------------------------------------------

/** What the delivery of an event does to shadow stacks. */
export interface ShadowEntry {
	/** The handler's shadow-stack pointer before any frame; null: it has no shadow stack. */
	readonly ssp: bigint | null;
	/** The token there is to become busy. */
	readonly takesToken: boolean;
	/** What the frame holds; null for none. */
	readonly frame: Origin | null;
}

const NONE: ShadowEntry = { ssp: null, takesToken: false, frame: null };

/**
 * Looks at the delivery of an event through the IDT.
 * @param level privilege level of the handler
 * @param ist of the gate; 0 outside of IA-32e mode
 * @param cs selector to return to
 * @param lip linear address to return to
 * @returns what it will do, or null with a fault noted
 */
export function checkEventEntry(
	cpu: Cpu,
	level: number,
	ist: number,
	cs: number,
	lip: bigint,
): ShadowEntry | null {
	const from = cpl(cpu);
	if (!shadowStackEnabled(cpu, level)) return NONE;
	const inner = level !== from;
	const takesToken = inner || ist !== 0;
	let ssp = cpu.read64(L.SSP);
	if (ist !== 0) {
		ssp = readLinear(cpu, cpu.read64(L.INTERRUPT_SSP_TABLE) + BigInt(8 * ist), 8, IMPLICIT);
		if (faulted(cpu)) return null;
	} else if (inner) ssp = cpu.read64(L.PL0_SSP + 8 * level);
	if (takesToken && !isTokenFree(cpu, ssp)) {
		if (!faulted(cpu)) raise(cpu, VECTOR.GP, 0);
		return null;
	}
	const frame = inner && from === 3 ? null : { cs: BigInt(cs), lip };
	if (frame !== null && !probeFarFrame(cpu, ssp, level)) return null;
	return { ssp, takesToken, frame };
}

/** Whether a supervisor shadow-stack token lies at an address and is not busy. A fault on the way is noted. */
function isTokenFree(cpu: Cpu, ssp: bigint): boolean {
	if ((ssp & 7n) !== 0n || !fits(cpu, ssp, isLongMode(cpu))) return false;
	// Intel's want token and frame within one 32-byte line, so that a VM exit cannot come between.
	if (cpu.model.vendorString === "GenuineIntel" && (ssp & 0x1fn) !== 0x18n) return false;
	return shadowProbe(cpu, ssp, 8, 0) && shadowLoad(cpu, ssp, 8, 0) === ssp;
}

/** Does what `checkEventEntry` has found for a handler's privilege level, ahead of the change to it. */
export function finishEventEntry(cpu: Cpu, level: number, { ssp, takesToken, frame }: ShadowEntry): void {
	if (!isCetOn(cpu)) return;
	const from = cpl(cpu);
	const old = cpu.read64(L.SSP);
	if (from === 3 && level !== 3 && shadowStackEnabled(cpu, 3)) cpu.write64(L.PL3_SSP, old);
	if (ssp !== null) {
		if (takesToken) exchangeToken(cpu, ssp, ssp | BUSY, ssp, level);
		cpu.write64(L.SSP, frame === null ? ssp : writeFarFrame(cpu, ssp, level, frame.cs, frame.lip, old));
	}
	trackFar(cpu, level);
}

// ---- fast system calls -----------------------------------------------------------------------------

/** SYSCALL or SYSENTER, ahead of the change of privilege level: level 0 begins without a shadow stack of its own. */
export function shadowSystemCall(cpu: Cpu): void {
	if (shadowStackEnabled(cpu)) cpu.write64(L.PL3_SSP, cpu.read64(L.SSP));
	if (shadowStackEnabled(cpu, 0)) cpu.write64(L.SSP, 0n);
	trackFar(cpu, 0);
}

/** SYSRET or SYSEXIT. */
export function shadowSystemReturn(cpu: Cpu): void {
	if (shadowStackEnabled(cpu, 3)) cpu.write64(L.SSP, cpu.read64(L.PL3_SSP));
}
