/**
 * Debug exceptions (SDM Vol. 3B, 18.3.1): instruction breakpoints before an instruction, single-step traps, data and I/O
 * breakpoints behind it. The dispatcher asks here about each instruction that runs by itself.
 */
import type { Cpu } from "../cpu/cpu.ts";
import { BREAK_ON, DEBUGCTL_BTF, DR6, DR7, hasPendingDebug, matchingBreakpoints } from "../cpu/debug.ts";
import { raise, VECTOR } from "../cpu/fault.ts";
import * as L from "../cpu/layout.ts";
import { BLOCKING, is64Bit } from "../cpu/modes.ts";
import { FLAG } from "../cpu/rflags.ts";
import { segmentBase } from "../cpu/segments.ts";
import { Mnemonic } from "../translate/decode.ts";
import type { BeforeInstruction } from "../translate/services.ts";
import { deliverFault } from "./exceptions.ts";

/** Notes #DB. @param details the bits of DR6 that it sets */
export function raiseDebug(cpu: Cpu, details: number): void {
	raise(cpu, VECTOR.DB);
	cpu.write32(L.FAULT_LINEAR, details);
}

/** Delivers the #DB that waits in PENDING_DBG. @returns true if the context ended */
export function deliverPendingDebug(cpu: Cpu): boolean {
	const details = cpu.read32(L.PENDING_DBG) & (DR6.breakpoints | DR6.BS);
	cpu.write32(L.PENDING_DBG, 0);
	raiseDebug(cpu, details);
	return deliverFault(cpu);
}

/**
 * Notes the #DB of an instruction breakpoint at RIP. RF holds it back, and on Intel's processors MOV SS does.
 * @returns whether there was one
 */
export function breaksBefore(cpu: Cpu): boolean {
	if ((cpu.read32(L.DR7) & DR7.enables) === 0 || (cpu.read32(L.RFLAGS) & FLAG.RF) !== 0) return false;
	const blocked = (cpu.read32(L.INTERRUPTIBILITY) & BLOCKING.movSs) !== 0;
	if (blocked && cpu.model.vendorString === "GenuineIntel") return false;
	const rip = cpu.read64(L.RIP);
	const linear = is64Bit(cpu) ? rip : (segmentBase(cpu, L.CS) + rip) & 0xffffffffn;
	const hits = matchingBreakpoints(cpu, linear, 1, (kind) => kind === BREAK_ON.execution);
	if (hits === 0) return false;
	raiseDebug(cpu, hits);
	return true;
}

/** To be asked before an instruction that runs by itself. */
export function beforeInstruction(cpu: Cpu): BeforeInstruction {
	return {
		rip: cpu.read64(L.RIP),
		singleStep: (cpu.read32(L.RFLAGS) & FLAG.TF) !== 0,
		pending: cpu.read32(L.PENDING_DBG),
	};
}

/** Instructions that deliver an event, which clears TF: no single-step trap follows them. */
const INTERRUPTS = new Set<number>([Mnemonic.Int, Mnemonic.Int1, Mnemonic.Int3, Mnemonic.Into]);
/** Instructions behind which TF decides as they leave it. */
const SYSTEM_CALLS = new Set<number>([Mnemonic.Syscall, Mnemonic.Sysret, Mnemonic.Sysretq]);

function isStepTrap(cpu: Cpu, before: BeforeInstruction, mnemonic: number, length: number): boolean {
	if (INTERRUPTS.has(mnemonic) || SYSTEM_CALLS.has(mnemonic) || !before.singleStep) return false;
	// A trap behind MOV SS or POP SS is lost.
	if ((cpu.read32(L.INTERRUPTIBILITY) & BLOCKING.movSs) !== 0) return false;
	if ((cpu.read32(L.DEBUGCTL) & DEBUGCTL_BTF) === 0) return true;
	return cpu.read64(L.RIP) !== before.rip + BigInt(length);
}

/**
 * Ends an instruction that ran by itself and is complete: RF goes, and a trap that is due is delivered.
 * @param before what `beforeInstruction` gave
 * @param mnemonic of the instruction @param length in bytes
 * @returns true if the context ended
 */
export function afterInstruction(
	cpu: Cpu,
	before: BeforeInstruction,
	mnemonic: number,
	length: number,
): boolean {
	// IRET has just loaded it.
	if (mnemonic !== Mnemonic.Iret && mnemonic !== Mnemonic.Iretd && mnemonic !== Mnemonic.Iretq) {
		cpu.write32(L.RFLAGS, cpu.read32(L.RFLAGS) & ~FLAG.RF);
	}
	if (isStepTrap(cpu, before, mnemonic, length)) {
		cpu.write32(L.PENDING_DBG, cpu.read32(L.PENDING_DBG) | DR6.BS);
	}
	return hasPendingDebug(cpu) && deliverPendingDebug(cpu);
}

/** SYSRET with TF set traps at once, at the target (SDM Vol. 2B, SYSRET). */
export function trapAfterSystemCall(cpu: Cpu): void {
	if ((cpu.read32(L.RFLAGS) & FLAG.TF) === 0) return;
	cpu.write32(L.PENDING_DBG, cpu.read32(L.PENDING_DBG) | DR6.BS);
}
