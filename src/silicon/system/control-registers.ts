/** MOV to and from control and debug registers, CLTS, LMSW, SMSW, and TLB invalidation (SDM Vol. 2). */
import { LocalApic } from "../apic/local-apic.ts";
import { CR0, CR4, writeCr0, writeCr4 } from "../cpu/control.ts";
import type { Cpu } from "../cpu/cpu.ts";
import { DR6, DR7 } from "../cpu/debug.ts";
import { type Fault, GP0, UD } from "../cpu/fault.ts";
import { INTERCEPT } from "../cpu/intercepts.ts";
import * as L from "../cpu/layout.ts";
import { is64Bit, isLongMode } from "../cpu/modes.ts";
import { isCanonicalForRegister } from "../cpu/msr.ts";
import { explicitAccess, faulted, readLinear } from "../paging/access.ts";
import { contextChanged, flushLinear, flushPage, renewLinear } from "../paging/tlb.ts";
import { loadPdptes, readsPdptesOnDemand } from "../paging/walk.ts";
import { Code, Register } from "../translate/decode.ts";
import type { Insn } from "../translate/insn.ts";
import { OUTCOME, type Outcome } from "../translate/services.ts";
import { raiseDebug } from "./debug.ts";
import {
	advance,
	fail,
	type Handler,
	intercepted,
	isUndefined,
	memoryOperand,
	operandSize,
	privileged,
	readOperand,
	registerIndex,
	writeGpr,
	writeMemory,
} from "./operands.ts";

/** Access types of the CR exit qualification (SDM table 28-3), shifted. */
const TO_CR = 0;
const FROM_CR = 1 << 4;
const BY_CLTS = 2 << 4;
const BY_LMSW = 3 << 4;

const CONTROL_OFFSETS: readonly number[] = Object.assign([], {
	0: L.CR0,
	2: L.CR2,
	3: L.CR3,
	4: L.CR4,
	8: L.CR8,
});

function numberOf(insn: Insn, at: number, first: number): number {
	const operand = insn.operands[at];
	return operand?.kind === "register" ? operand.register - first : -1;
}

/** Bits whose change loads the PDPTEs (SDM Vol. 3A, 5.4.1). */
const CR0_PDPTES = CR0.CD | CR0.NW | CR0.PG;
const CR4_PDPTES = CR4.PAE | CR4.PGE | CR4.PSE | CR4.SMEP;

/** Reloads the PDPTEs where PAE paging keeps them in registers. */
function reloadPdptes(cpu: Cpu): Fault | null {
	const pae = (cpu.read32(L.CR4) & CR4.PAE) !== 0 && (cpu.read32(L.CR0) & CR0.PG) !== 0;
	return pae && !isLongMode(cpu) && !readsPdptesOnDemand(cpu) ? loadPdptes(cpu) : null;
}

/** Stores a value that may enter a control register, after the hypervisor was asked. */
function storeControl(cpu: Cpu, cr: number, wanted: bigint): Fault | null {
	// Before a virtual TPR takes the value: reserved bits fault there as well.
	if (cr === 8 && wanted > 15n) return GP0;
	const real = cpu.read64(CONTROL_OFFSETS[cr]!);
	const shadowed = cr === 0 || cr === 4 || cr === 8;
	const value = shadowed && cpu.guest !== null ? (cpu.guest.writeCr?.(cr, real, wanted) ?? wanted) : wanted;
	if (cr === 2) {
		cpu.write64(L.CR2, value);
		return null;
	}
	if (cr === 3) return storeCr3(cpu, value);
	if (cr === 8) {
		cpu.write64(L.CR8, value);
		if (cpu.guest === null && cpu.apic instanceof LocalApic) cpu.apic.setTaskPriority(Number(value) << 4);
		return null;
	}
	if (value > 0xffffffffn) return GP0;
	const fault = cr === 0 ? writeCr0(cpu, Number(value)) : writeCr4(cpu, Number(value));
	if (fault !== null) return fault;
	contextChanged(cpu);
	if (value === real) return null;
	const changed = Number(value ^ real);
	const refused = (changed & (cr === 0 ? CR0_PDPTES : CR4_PDPTES)) === 0 ? null : reloadPdptes(cpu);
	if (refused !== null || faulted(cpu)) {
		cpu.write64(CONTROL_OFFSETS[cr]!, real);
		contextChanged(cpu);
	}
	return refused;
}

function storeCr3(cpu: Cpu, wanted: bigint): Fault | null {
	let value = wanted;
	if (isLongMode(cpu)) {
		// Bit 63 asks to keep the PCID's translations, which this TLB may drop all the same.
		if ((cpu.read32(L.CR4) & CR4.PCIDE) !== 0) value &= (1n << 63n) - 1n;
		if (value >> BigInt(cpu.model.features.physicalAddressBits) !== 0n) return GP0;
	}
	const old = cpu.read64(L.CR3);
	if (old === value) {
		renewLinear(cpu);
	} else {
		cpu.write64(L.CR3, value);
		contextChanged(cpu);
	}
	const fault = reloadPdptes(cpu);
	if (fault !== null || faulted(cpu)) cpu.write64(L.CR3, old);
	return fault;
}

const movToCr: Handler = (cpu, insn) => {
	const cr = numberOf(insn, 0, Register.CR0);
	if (CONTROL_OFFSETS[cr] === undefined) return fail(cpu, UD);
	if (!privileged(cpu)) return fail(cpu, GP0);
	const source = registerIndex(insn, 1);
	if (cr !== 2 && intercepted(cpu, insn, INTERCEPT.cr, cr | TO_CR | (source << 8))) return OUTCOME.stop;
	const value = is64Bit(cpu) ? cpu.gpr(source) : cpu.gpr(source) & 0xffffffffn;
	return finishControl(cpu, insn, storeControl(cpu, cr, value));
};

function finishControl(cpu: Cpu, insn: Insn, fault: Fault | null): Outcome {
	if (fault !== null) return fail(cpu, fault);
	return faulted(cpu) ? OUTCOME.fault : advance(cpu, insn);
}

const movFromCr: Handler = (cpu, insn) => {
	const cr = numberOf(insn, 1, Register.CR0);
	const offset = CONTROL_OFFSETS[cr];
	if (offset === undefined) return fail(cpu, UD);
	if (!privileged(cpu)) return fail(cpu, GP0);
	const target = registerIndex(insn, 0);
	if (cr !== 2 && intercepted(cpu, insn, INTERCEPT.cr, cr | FROM_CR | (target << 8))) return OUTCOME.stop;
	cpu.setGpr(target, readControl(cpu, cr, offset));
	return OUTCOME.next;
};

function readControl(cpu: Cpu, cr: number, offset: number): bigint {
	const real = cpu.read64(offset);
	const shadowed = cr === 0 || cr === 4 || cr === 8;
	return shadowed && cpu.guest !== null ? (cpu.guest.readCr?.(cr, real) ?? real) : real;
}

const clts: Handler = (cpu, insn) => {
	if (!privileged(cpu)) return fail(cpu, GP0);
	if (intercepted(cpu, insn, INTERCEPT.cr, BY_CLTS)) return OUTCOME.stop;
	return finishControl(cpu, insn, storeControl(cpu, 0, cpu.read64(L.CR0) & ~BigInt(CR0.TS)));
};

const lmsw: Handler = (cpu, insn) => {
	if (!privileged(cpu)) return fail(cpu, GP0);
	const source = readOperand(cpu, insn, 0, 2);
	if (faulted(cpu)) return OUTCOME.fault;
	const memory = insn.operands[0]?.kind === "memory" ? 1 << 6 : 0;
	if (intercepted(cpu, insn, INTERCEPT.cr, BY_LMSW | memory | (Number(source) << 16))) return OUTCOME.stop;
	// LMSW sets PE, MP, EM and TS, but cannot clear PE.
	const old = cpu.read64(L.CR0);
	return finishControl(cpu, insn, storeControl(cpu, 0, (old & ~0xen) | (source & 0xfn)));
};

/** Whether UMIP forbids an instruction that reveals system state to user code. */
export function umipForbids(cpu: Cpu): boolean {
	return !privileged(cpu) && (cpu.read32(L.CR4) & CR4.UMIP) !== 0;
}

const smsw: Handler = (cpu, insn) => {
	if (umipForbids(cpu)) return fail(cpu, GP0);
	const value = readControl(cpu, 0, L.CR0);
	if (insn.operands[0]?.kind === "register") {
		writeGpr(cpu, registerIndex(insn, 0), operandSize(insn, 0), value);
		return OUTCOME.next;
	}
	writeMemory(cpu, insn, 2, value & 0xffffn);
	return faulted(cpu) ? OUTCOME.fault : OUTCOME.next;
};

// ---- debug registers -------------------------------------------------------------------------------

/** DR number with the aliases of CR4.DE = 0 resolved, or -1 for #UD. */
function debugRegister(cpu: Cpu, number: number): number {
	if (number !== 4 && number !== 5) return number > 7 ? -1 : number;
	return (cpu.read32(L.CR4) & CR4.DE) !== 0 ? -1 : number + 2;
}

function debugOffset(dr: number): number {
	return dr === 6 ? L.DR6 : dr === 7 ? L.DR7 : L.DR0 + dr * 8;
}

const movToDr: Handler = (cpu, insn) => {
	const number = numberOf(insn, 0, Register.DR0);
	const source = registerIndex(insn, 1);
	const access = accessDebugRegister(cpu, insn, number, number | (source << 8));
	if (access !== OUTCOME.next) return access;
	const dr = debugRegister(cpu, number);
	const value = is64Bit(cpu) ? cpu.gpr(source) : cpu.gpr(source) & 0xffffffffn;
	const fault = writeDr(cpu, dr, value);
	if (fault !== null) return fail(cpu, fault);
	contextChanged(cpu);
	return advance(cpu, insn);
};

/**
 * What comes before a MOV of a debug register: its exit, and its faults. VMX exits whatever the privilege level and
 * CR4.DE say (SDM Vol. 3C, 26.1.3), SVM looks at them first; #DB by DR7.GD comes last.
 * @param info see INTERCEPT.dr
 */
function accessDebugRegister(cpu: Cpu, insn: Insn, number: number, info: number): Outcome {
	if (number > 7) return fail(cpu, UD);
	const exitsFirst = cpu.model.vendorString === "GenuineIntel";
	if (exitsFirst && intercepted(cpu, insn, INTERCEPT.dr, info)) return OUTCOME.stop;
	if (debugRegister(cpu, number) < 0) return fail(cpu, UD);
	if (!privileged(cpu)) return fail(cpu, GP0);
	if (!exitsFirst && intercepted(cpu, insn, INTERCEPT.dr, info)) return OUTCOME.stop;
	if ((cpu.read32(L.DR7) & DR7.GD) === 0) return OUTCOME.next;
	raiseDebug(cpu, DR6.BD);
	return OUTCOME.fault;
}

/**
 * Writes a debug register as MOV does (SDM Vol. 3B, 18.2).
 * @param dr 0-3, 6 or 7
 * @returns #GP(0) for upper halves of DR6 and DR7, or null
 */
export function writeDr(cpu: Cpu, dr: number, value: bigint): Fault | null {
	if (dr < 4) {
		cpu.write64(L.DR0 + dr * 8, value);
		return null;
	}
	if (value > 0xffffffffn) return GP0;
	if (dr === 6) cpu.write64(L.DR6, (value & 0xe00fn) | 0xffff0ff0n);
	else cpu.write64(L.DR7, (value & 0xffff23ffn) | 0x400n);
	return null;
}

const movFromDr: Handler = (cpu, insn) => {
	const number = numberOf(insn, 1, Register.DR0);
	const target = registerIndex(insn, 0);
	const access = accessDebugRegister(cpu, insn, number, number | (1 << 4) | (target << 8));
	if (access !== OUTCOME.next) return access;
	const dr = debugRegister(cpu, number);
	cpu.setGpr(target, cpu.read64(debugOffset(dr)));
	return OUTCOME.next;
};

// ---- invalidation ----------------------------------------------------------------------------------

const invlpg: Handler = (cpu, insn) => {
	if (!privileged(cpu)) return fail(cpu, GP0);
	if (intercepted(cpu, insn, INTERCEPT.invlpg)) return OUTCOME.stop;
	const linear = memoryOperand(cpu, insn, 1);
	// A non-canonical operand is no fault: there is nothing to invalidate (SDM Vol. 2, INVLPG).
	cpu.write32(L.FAULT, 0);
	flushPage(cpu, linear);
	return advance(cpu, insn);
};

const invpcid: Handler = (cpu, insn) => {
	if (isUndefined(cpu, INTERCEPT.invpcid)) return fail(cpu, UD);
	if (!privileged(cpu)) return fail(cpu, GP0);
	if (intercepted(cpu, insn, INTERCEPT.invpcid)) return OUTCOME.stop;
	const type = cpu.gpr(registerIndex(insn, 0));
	const linear = memoryOperand(cpu, insn, 16);
	if (faulted(cpu)) return OUTCOME.fault;
	const pcid = readLinear(cpu, linear, 8, explicitAccess(cpu));
	if (faulted(cpu)) return OUTCOME.fault;
	const address = readLinear(cpu, linear + 8n, 8, explicitAccess(cpu));
	if (faulted(cpu)) return OUTCOME.fault;
	if (type > 3n || pcid > 0xfffn) return fail(cpu, GP0);
	if (type <= 1n && pcid !== 0n && (cpu.read32(L.CR4) & CR4.PCIDE) === 0) return fail(cpu, GP0);
	if (type === 0n && !isCanonicalForRegister(address, cpu)) return fail(cpu, GP0);
	flushLinear(cpu);
	return advance(cpu, insn);
};

/** Handlers by iced-x86 `Code`. */
export const controlRegisterHandlers: readonly (readonly [number, Handler])[] = [
	[Code.Mov_cr_r32, movToCr],
	[Code.Mov_cr_r64, movToCr],
	[Code.Mov_r32_cr, movFromCr],
	[Code.Mov_r64_cr, movFromCr],
	[Code.Mov_dr_r32, movToDr],
	[Code.Mov_dr_r64, movToDr],
	[Code.Mov_r32_dr, movFromDr],
	[Code.Mov_r64_dr, movFromDr],
	[Code.Clts, clts],
	[Code.Lmsw_rm16, lmsw],
	[Code.Lmsw_r32m16, lmsw],
	[Code.Lmsw_r64m16, lmsw],
	[Code.Smsw_rm16, smsw],
	[Code.Smsw_r32m16, smsw],
	[Code.Smsw_r64m16, smsw],
	[Code.Invlpg_m, invlpg],
	[Code.Invpcid_r32_m128, invpcid],
	[Code.Invpcid_r64_m128, invpcid],
];
