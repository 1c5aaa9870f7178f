/** Debug registers: their bits, and which breakpoints an address meets (SDM Vol. 3B, 18.2). */
import { CR4 } from "./control.ts";
import type { Cpu } from "./cpu.ts";
import * as L from "./layout.ts";
import { BLOCKING } from "./modes.ts";
import { FLAG } from "./rflags.ts";

/** Fields of DR7. */
export const DR7 = {
	/** L0 to G3. */
	enables: 0xff,
	GD: 1 << 13,
} as const;

/** Bits of DR6, in which PENDING_DBG and the details of a #DB are kept too; there bit 12 says "enabled breakpoint". */
export const DR6 = {
	breakpoints: 0xf,
	enabledBreakpoint: 1 << 12,
	BD: 1 << 13,
	BS: 1 << 14,
} as const;

/** DEBUGCTL.BTF: single-step on branches. */
export const DEBUGCTL_BTF = 2;

/** Conditions of DR7's R/W fields. */
export const BREAK_ON = { execution: 0, write: 1, io: 2, access: 3 } as const;

/** Bytes of DR7's LEN fields. */
const LENGTHS = [1, 2, 8, 4] as const;

/**
 * Enabled breakpoints that a range of addresses meets.
 * @param matches whether the condition of a breakpoint (BREAK_ON) fits the access
 * @returns bits 3:0 as in DR6
 */
export function matchingBreakpoints(
	cpu: Cpu,
	address: bigint,
	bytes: number,
	matches: (kind: number) => boolean,
): number {
	const dr7 = cpu.read32(L.DR7);
	let hits = 0;
	for (let n = 0; n < 4; n++) {
		const enabled = ((dr7 >>> (2 * n)) & 3) !== 0;
		if (!enabled || !matches((dr7 >>> (16 + 4 * n)) & 3)) continue;
		const length = LENGTHS[(dr7 >>> (18 + 4 * n)) & 3]!;
		// Aligned to the length: the low bits of the register are not looked at.
		const start = cpu.read64(L.DR0 + 8 * n) & ~BigInt(length - 1);
		if (address < start + BigInt(length) && start < address + BigInt(bytes)) hits |= 1 << n;
	}
	return hits;
}

/** Notes breakpoints whose #DB follows the instruction. @param hits bits 3:0 */
export function noteBreakpoints(cpu: Cpu, hits: number): void {
	if (hits === 0) return;
	cpu.write32(L.PENDING_DBG, cpu.read32(L.PENDING_DBG) | hits | DR6.enabledBreakpoint);
}

/** Notes the data breakpoints that an access to memory meets. */
export function watchMemory(cpu: Cpu, linear: bigint, bytes: number, write: boolean): void {
	if ((cpu.read32(L.DR7) & DR7.enables) === 0) return;
	const matches = (kind: number) => kind === BREAK_ON.access || (write && kind === BREAK_ON.write);
	noteBreakpoints(cpu, matchingBreakpoints(cpu, linear, bytes, matches));
}

/** Notes the I/O breakpoints that an access to ports meets; without CR4.DE there are none. */
export function watchPorts(cpu: Cpu, port: number, bytes: number): void {
	if ((cpu.read32(L.DR7) & DR7.enables) === 0 || (cpu.read32(L.CR4) & CR4.DE) === 0) return;
	noteBreakpoints(
		cpu,
		matchingBreakpoints(cpu, BigInt(port), bytes, (kind) => kind === BREAK_ON.io),
	);
}

const RFLAGS_WORD = L.RFLAGS >> 2;
const DR7_WORD = L.DR7 >> 2;
const PENDING_WORD = L.PENDING_DBG >> 2;
const INTERRUPTIBILITY_WORD = L.INTERRUPTIBILITY >> 2;

/** Whether a #DB waits for the boundary here. MOV SS holds it back over the next instruction. */
export function hasPendingDebug(cpu: Cpu): boolean {
	const at = cpu.base >> 2;
	return cpu.u32[at + PENDING_WORD] !== 0 && (cpu.u32[at + INTERRUPTIBILITY_WORD]! & BLOCKING.movSs) === 0;
}

/**
 * Whether the next instruction has to run by itself: in an interrupt shadow, with TF set, breakpoints on or a #DB
 * pending. Without breakpoints RF means nothing, and ends here.
 */
export function runsAlone(cpu: Cpu): boolean {
	const { u32 } = cpu;
	const at = cpu.base >> 2;
	const flags = u32[at + RFLAGS_WORD]!;
	const breakpoints = u32[at + DR7_WORD]! & DR7.enables;
	if (breakpoints === 0 && (flags & FLAG.RF) !== 0) u32[at + RFLAGS_WORD] = flags & ~FLAG.RF;
	const shadow = u32[at + INTERRUPTIBILITY_WORD]! & (BLOCKING.sti | BLOCKING.movSs);
	return ((flags & FLAG.TF) | breakpoints | shadow | u32[at + PENDING_WORD]!) !== 0;
}

/** What a #DB that is delivered does to DR6, DR7 and DEBUGCTL. @param details the bits of DR6 that it sets */
export function noteDebugException(cpu: Cpu, details: number): void {
	cpu.write32(L.DR6, (cpu.read32(L.DR6) & ~DR6.breakpoints) | details);
	cpu.write32(L.DR7, cpu.read32(L.DR7) & ~DR7.GD);
	cpu.write32(L.DEBUGCTL, cpu.read32(L.DEBUGCTL) & ~DEBUGCTL_BTF);
}
