/** Software interrupts, the interrupt flag, HLT and waiting, and what happens at instruction boundaries. */
import { CR4 } from "../cpu/control.ts";
import { type Cpu, PENDING } from "../cpu/cpu.ts";
import { DR6, noteDebugException } from "../cpu/debug.ts";
import { GP0, UD, VECTOR } from "../cpu/fault.ts";
import { INTERCEPT } from "../cpu/intercepts.ts";
import * as L from "../cpu/layout.ts";
import { BLOCKING, beginShadow, cpl, is64Bit, settleShadow } from "../cpu/modes.ts";
import { FLAG, readRflags } from "../cpu/rflags.ts";
import { Mnemonic } from "../translate/decode.ts";
import type { Insn } from "../translate/insn.ts";
import { OUTCOME, type Outcome } from "../translate/services.ts";
import { deliverEvent } from "./exceptions.ts";
import { advance, fail, type Handler, intercepted, nextRip, privileged, waitsForOthers } from "./operands.ts";

/** Delivers the interrupt of INT n, INT3 or INTO. */
function softwareInterrupt(cpu: Cpu, insn: Insn, vector: number): Outcome {
	return deliverEvent(cpu, vector, "software", null, insn.length) ? OUTCOME.stop : OUTCOME.jumped;
}

const int: Handler = (cpu, insn) => {
	if (intercepted(cpu, insn, INTERCEPT.softwareInterrupt)) return OUTCOME.stop;
	const operand = insn.operands[0];
	return softwareInterrupt(
		cpu,
		insn,
		operand?.kind === "immediate" ? Number(operand.value) & 0xff : VECTOR.BP,
	);
};

/** INT3 and INTO: software exceptions, which the exception bitmap can intercept. */
function softwareException(cpu: Cpu, insn: Insn, vector: number): Outcome {
	// The exit needs the length of the instruction, which the exception interface has no place for.
	cpu.write32(L.VECTORING_LENGTH, insn.length);
	const exits = cpu.guest?.exception(cpu, vector, 0, false) ?? false;
	cpu.write32(L.VECTORING_LENGTH, 0);
	return exits ? OUTCOME.stop : softwareInterrupt(cpu, insn, vector);
}

const int3: Handler = (cpu, insn) => softwareException(cpu, insn, VECTOR.BP);

const into: Handler = (cpu, insn) => {
	if (is64Bit(cpu)) return fail(cpu, UD);
	return (readRflags(cpu) & FLAG.OF) === 0 ? OUTCOME.next : softwareException(cpu, insn, VECTOR.OF);
};

/**
 * INT1 raises #DB as a trap: the handler returns behind it. DR6 says nothing of it; breakpoints that MOV SS held back
 * come along.
 */
const int1: Handler = (cpu, insn) => {
	if (intercepted(cpu, insn, INTERCEPT.icebp)) return OUTCOME.stop;
	const details = cpu.read32(L.PENDING_DBG) & DR6.breakpoints;
	cpu.write32(L.PENDING_DBG, 0);
	cpu.write32(L.FAULT_LINEAR, details);
	cpu.write32(L.VECTORING_LENGTH, insn.length);
	const exits = cpu.guest?.exception(cpu, VECTOR.DB, 0, false) ?? false;
	cpu.write32(L.VECTORING_LENGTH, 0);
	if (exits) return OUTCOME.stop;
	noteDebugException(cpu, details);
	return deliverEvent(cpu, VECTOR.DB, "privileged", null, insn.length) ? OUTCOME.stop : OUTCOME.jumped;
};

/** UD0, UD1, UD2, and every instruction that this machine does not have. */
export const undefinedOpcode: Handler = (cpu) => fail(cpu, UD);

// ---- the interrupt flag ----------------------------------------------------------------------------

function mayChangeIf(cpu: Cpu): boolean {
	return cpl(cpu) <= (cpu.read32(L.RFLAGS) & FLAG.IOPL) >>> 12;
}

const cli: Handler = (cpu) => {
	if (!mayChangeIf(cpu)) return fail(cpu, GP0);
	cpu.write32(L.RFLAGS, cpu.read32(L.RFLAGS) & ~FLAG.IF);
	return OUTCOME.next;
};

const sti: Handler = (cpu, insn) => {
	if (!mayChangeIf(cpu)) return fail(cpu, GP0);
	const flags = cpu.read32(L.RFLAGS);
	if ((flags & FLAG.IF) === 0) {
		cpu.write32(L.RFLAGS, flags | FLAG.IF);
		beginShadow(cpu, BLOCKING.sti, nextRip(insn));
	}
	return OUTCOME.next;
};

function setAc(on: boolean): Handler {
	return (cpu) => {
		// Whatever CR4.SMAP says (SDM Vol. 2, CLAC and STAC).
		if (!privileged(cpu)) return fail(cpu, UD);
		const flags = cpu.read32(L.RFLAGS);
		cpu.write32(L.RFLAGS, on ? flags | FLAG.AC : flags & ~FLAG.AC);
		return OUTCOME.next;
	};
}

// ---- boundaries and waiting ------------------------------------------------------------------------

/**
 * Handles the deadline and `cpu.pending` at an instruction boundary: a guest's hypervisor decides, a bare machine
 * takes #MC, NMI and interrupts through its IDT (SDM table 7-2 gives the order).
 * @returns true if the context ended
 */
export function boundary(cpu: Cpu): boolean {
	if (cpu.cycles >= cpu.deadline) cpu.onDeadline(cpu);
	if (cpu.pending === 0) return false;
	settleShadow(cpu);
	return cpu.guest !== null ? cpu.guest.pendingEvent(cpu) : takePending(cpu);
}

function takePending(cpu: Cpu): boolean {
	if ((cpu.pending & PENDING.machineCheck) !== 0) {
		cpu.pending &= ~PENDING.machineCheck;
		// One while another is in progress, or that the system does not expect, is a shutdown (SDM Vol. 3B, 16.3.1.2).
		if (!cpu.beginMachineCheck() || (cpu.read32(L.CR4) & CR4.MCE) === 0) {
			cpu.write32(L.ACTIVITY, 2);
			cpu.halted = "shutdown";
			return true;
		}
		return deliverEvent(cpu, VECTOR.MC, "exception", null, 0);
	}
	const blocking = cpu.read32(L.INTERRUPTIBILITY);
	if ((cpu.pending & PENDING.nmi) !== 0 && (blocking & (BLOCKING.nmi | BLOCKING.movSs)) === 0) {
		cpu.pending &= ~PENDING.nmi;
		return deliverEvent(cpu, VECTOR.NMI, "hardware", null, 0);
	}
	if ((cpu.pending & PENDING.interrupt) === 0) return false;
	if ((cpu.read32(L.RFLAGS) & FLAG.IF) === 0 || (blocking & (BLOCKING.sti | BLOCKING.movSs)) !== 0)
		return false;
	const vector = cpu.apic === null ? -1 : cpu.apic.acknowledge();
	if (cpu.apic === null || cpu.apic.highestPending() < 0) cpu.pending &= ~PENDING.interrupt;
	return vector >= 0 && deliverEvent(cpu, vector, "hardware", null, 0);
}

const hlt: Handler = (cpu, insn) => {
	if (!privileged(cpu)) return fail(cpu, GP0);
	if (intercepted(cpu, insn, INTERCEPT.hlt)) return OUTCOME.stop;
	advance(cpu, insn);
	cpu.write32(L.ACTIVITY, 1);
	return waitForEvent(cpu) ? OUTCOME.stop : OUTCOME.jumped;
};

/**
 * Lets the time pass until an event ends the HLT state.
 * @returns true if the context ended: a VM exit, a bare machine that nothing can wake, or the slice is over
 */
export function waitForEvent(cpu: Cpu): boolean {
	for (;;) {
		if (cpu.pending !== 0 && boundary(cpu)) return true;
		if (cpu.read32(L.ACTIVITY) !== 1) return false;
		const { deadline } = cpu;
		if (cpu.sliceEnd < deadline) {
			cpu.cycles = Math.max(cpu.cycles, cpu.sliceEnd);
			cpu.paused = true;
			return true;
		}
		const deaf = cpu.guest === null && (cpu.read32(L.RFLAGS) & FLAG.IF) === 0;
		if (deadline === Number.POSITIVE_INFINITY || deaf) {
			cpu.halted = "hlt";
			return true;
		}
		if (cpu.cycles < deadline) cpu.cycles = deadline;
		cpu.onDeadline(cpu);
		if (cpu.deadline <= deadline && cpu.pending === 0) raiseStuck();
	}
}

/**
 * Runs the guest that the processor is in until it leaves guest mode, or its slice is over.
 * @returns true if it has left; false if it is to be called again
 */
export function runGuest(cpu: Cpu): boolean {
	if (cpu.guest === null) return true;
	cpu.paused = false;
	// A guest that is in the HLT state waits there first (SDM 27.7.2).
	if (cpu.read32(L.ACTIVITY) !== 1 || !waitForEvent(cpu)) cpu.execute(cpu);
	if (cpu.guest === null) return true;
	if (cpu.paused) return false;
	throw new Error("the guest halted with nothing that could wake it: no exit will come");
}

function raiseStuck(): never {
	throw new Error("onDeadline left its deadline in the past and nothing pending: HLT would wait for ever");
}

/** MONITOR and MWAIT. Without a monitor unit, MWAIT ends at once, which the architecture allows. */
function monitorWait(intercept: typeof INTERCEPT.monitor | typeof INTERCEPT.mwait): Handler {
	return (cpu, insn) => {
		if (!privileged(cpu)) return fail(cpu, UD);
		return intercepted(cpu, insn, intercept) ? OUTCOME.stop : OUTCOME.next;
	};
}

// Whoever spins waits for another processor, which may be behind.
const pause: Handler = (cpu, insn) => {
	if (waitsForOthers(cpu)) return OUTCOME.stop;
	return intercepted(cpu, insn, INTERCEPT.pause) ? OUTCOME.stop : OUTCOME.next;
};

/** Handlers by iced-x86 `Mnemonic`. */
export const interruptHandlers: readonly (readonly [number, Handler])[] = [
	[Mnemonic.Int, int],
	[Mnemonic.Int1, int1],
	[Mnemonic.Int3, int3],
	[Mnemonic.Into, into],
	[Mnemonic.Ud0, undefinedOpcode],
	[Mnemonic.Ud1, undefinedOpcode],
	[Mnemonic.Ud2, undefinedOpcode],
	[Mnemonic.Cli, cli],
	[Mnemonic.Sti, sti],
	[Mnemonic.Clac, setAc(false)],
	[Mnemonic.Stac, setAc(true)],
	[Mnemonic.Hlt, hlt],
	[Mnemonic.Monitor, monitorWait(INTERCEPT.monitor)],
	[Mnemonic.Mwait, monitorWait(INTERCEPT.mwait)],
	[Mnemonic.Pause, pause],
];
