/** Operating modes, privilege level, interrupt shadow, and the power-on state. */
import { CR0, EFER } from "./control.ts";
import type { Cpu } from "./cpu.ts";
import { flushJumpCache } from "./jump-cache.ts";
import * as L from "./layout.ts";
import { ATTR, segmentAttributes, setSegment } from "./segments.ts";

/** Whether the processor is in IA-32e mode (EFER.LMA), 64-bit or compatibility. */
export function isLongMode(cpu: Cpu): boolean {
	return (cpu.read32(L.EFER) & EFER.LMA) !== 0;
}

/** Whether it runs 64-bit code: IA-32e mode with CS.L set. */
export function is64Bit(cpu: Cpu): boolean {
	return isLongMode(cpu) && (segmentAttributes(cpu, L.CS) & ATTR.L) !== 0;
}

/** Whether CR0.PE is set: protected mode, IA-32e mode included. */
export function isProtectedMode(cpu: Cpu): boolean {
	return (cpu.read32(L.CR0) & CR0.PE) !== 0;
}

/** Current privilege level: the DPL of SS, as VMX defines it (SDM 25.4.1); 0 in real mode. */
export function cpl(cpu: Cpu): number {
	return (cpu.read32(L.SEG + L.SS * L.SEG_BYTES + L.SEG_ATTR) >>> 5) & 3;
}

/** INTERRUPTIBILITY bits: blocking by STI, by MOV SS, by NMI. */
export const BLOCKING = { sti: 1, movSs: 2, smi: 4, nmi: 8 } as const;

/**
 * Starts an interrupt shadow over the next instruction.
 * @param kind BLOCKING.sti or BLOCKING.movSs
 * @param nextRip where the instruction in the shadow lies
 */
export function beginShadow(cpu: Cpu, kind: number, nextRip: bigint): void {
	const state = cpu.read32(L.INTERRUPTIBILITY);
	cpu.write32(L.INTERRUPTIBILITY, (state & ~3) | kind);
	cpu.write64(L.SHADOW_RIP, nextRip);
	cpu.f64[(cpu.base + L.SHADOW_AT) >> 3] = cpu.instructions;
}

/** Whether the processor is in an interrupt shadow, whose instruction is not over. */
export function inShadow(cpu: Cpu): boolean {
	if ((cpu.read32(L.INTERRUPTIBILITY) & 3) === 0) return false;
	const here =
		cpu.read32(L.RIP) === cpu.read32(L.SHADOW_RIP) && cpu.read32(L.RIP + 4) === cpu.read32(L.SHADOW_RIP + 4);
	// Two: the instruction that cast the shadow may itself not have been counted yet when it began.
	return here && cpu.instructions - cpu.f64[(cpu.base + L.SHADOW_AT) >> 3]! < 2;
}

/**
 * Ends the interrupt shadow if its instruction is over. Translated code does not look after the shadow, so
 * whoever reads INTERRUPTIBILITY (event delivery, VM exit) settles it first. A shadow that was injected at VM entry
 * has SHADOW_RIP set by the same call of `beginShadow`.
 */
export function settleShadow(cpu: Cpu): void {
	const state = cpu.read32(L.INTERRUPTIBILITY);
	if ((state & 3) !== 0 && !inShadow(cpu)) cpu.write32(L.INTERRUPTIBILITY, state & ~3);
}

/**
 * Puts the processor into its power-on state (SDM Vol. 3A, 10.1.1 and table 10-1): real mode at F000:FFF0, all
 * extended state in its initial configuration, XCR0 = 1. Clears the TLB and the jump cache. The clock goes on.
 */
export function resetCpu(cpu: Cpu): void {
	for (const [index, bank] of [0, L.USER_BANK].entries()) {
		const start = cpu.base + bank + L.TLB_READ;
		cpu.tlbFilled[index]!.empty(cpu.u32, start, cpu.base + bank + L.JUMP_CACHE);
	}
	cpu.largePages.fill(0);
	flushJumpCache(cpu);
	resetState(cpu);
}

/** Does what `resetCpu` does, for a processor that uses neither TLB nor jump cache: that of KVM's emulator. */
export function resetState(cpu: Cpu): void {
	const { base } = cpu;
	const cycles = cpu.cycles;
	cpu.memory.u8.fill(0, base, base + L.XSTATE + L.XSTATE_BYTES);
	cpu.guestPhysical.flush();
	cpu.walks.flush();
	cpu.cycles = cycles;
	cpu.deadline = Number.POSITIVE_INFINITY;
	cpu.beginSlice(Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY);
	cpu.setGpr(L.RDX, BigInt(cpu.model.signature));
	cpu.write64(L.RIP, 0xfff0n);
	cpu.write32(L.RFLAGS, 2);
	cpu.write32(L.CR0, 0x60000010);
	cpu.write64(L.PAT, 0x0007040600070406n);
	cpu.write32(L.DR6, 0xffff0ff0);
	cpu.write32(L.DR7, 0x400);
	cpu.write32(L.XCR0, 1);
	cpu.write32(L.APIC_BASE, cpu.index === 0 ? 0xfee00900 : 0xfee00800);
	cpu.write32(L.MISC_ENABLE, 1);
	for (const segment of [L.ES, L.SS, L.DS, L.FS, L.GS]) setSegment(cpu, segment, 0, 0n, 0xffff, 0x93);
	setSegment(cpu, L.CS, 0xf000, 0xffff0000n, 0xffff, 0x9b);
	setSegment(cpu, L.LDTR, 0, 0n, 0xffff, 0x82);
	setSegment(cpu, L.TR, 0, 0n, 0xffff, 0x8b);
	setSegment(cpu, L.GDTR, 0, 0n, 0xffff, 0);
	setSegment(cpu, L.IDTR, 0, 0n, 0xffff, 0);
	resetExtendedState(cpu);
	cpu.pending = 0;
	cpu.gif = true;
	cpu.nmiBlocked = false;
	cpu.nmiUnblockedByIret = false;
	cpu.machineCheckDuringEntry = false;
	cpu.guestBranches = false;
	cpu.stiShadow = "none";
	cpu.guest = null;
	cpu.halted = "no";
}

/** Puts x87 and SSE into their initial configuration as XRSTOR does: FCW 37FH, MXCSR 1F80H, all else 0. */
function resetExtendedState(cpu: Cpu): void {
	cpu.write32(L.XSTATE, 0x037f);
	cpu.write32(L.XSTATE + 24, 0x1f80);
	cpu.write32(L.XINUSE, 0);
}
