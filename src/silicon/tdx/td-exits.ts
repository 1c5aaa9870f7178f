/**
 * VM exits of a TD that the TDX module handles by itself, and TDCALL leaves (TDX Module Architecture Specification,
 * TD non-root mode instructions; TDX Module ABI, TDG.*).
 */
import { CR0, CR4, EFER, writeXcr, XFEATURE } from "../cpu/control.ts";
import type { Cpu } from "../cpu/cpu.ts";
import { VECTOR } from "../cpu/fault.ts";
import * as L from "../cpu/layout.ts";
import { MSR } from "../cpu/msr.ts";
import { tdCpuid } from "./td-cpuid.ts";
import { ENTRY_FAILURE, EXIT_REASON, INTR_INFO, INTR_TYPE } from "../vmx/controls.ts";
import { O } from "../vmx/fields.ts";
import { entryOffset, TDX_STATUS } from "./module.ts";
import { GPA_WIDTH, SHARED_BIT, type TdVcpu } from "./td.ts";

const R8 = 8;
const R9 = 9;
const R10 = 10;
const R11 = 11;

/** TDG leaves. */
const TDG = { vmcall: 0, vpInfo: 1, veInfoGet: 3, memPageAccept: 6 } as const;
/** Registers that TDG.VP.VMCALL can expose: XMM0-XMM15, and GPRs but RAX, RCX, RSP, and RBP (NO_RBP_MOD). */
const VMCALL_REGISTERS = 0xffff_ffccn;
/** Operands of TDG leaves, as completion statuses name them in their low half. */
const OPERAND = { rax: 0n, rcx: 1n } as const;
/** Interruptibility: blocking by NMI. */
const BLOCKING_BY_NMI = 8;

/** What the module does with a VM exit of a TD. */
export const DISPOSITION = { resume: 0, tdExit: 1 } as const;

const field = (vcpu: TdVcpu, offset: number) => vcpu.vmcs.u32[offset >> 2]!;

/**
 * Handles a VM exit of the TD in SEAM root mode. The TD's GPRs but RSP are in the state block.
 * @returns DISPOSITION.resume to enter the TD again; DISPOSITION.tdExit for an exit to the VMM
 */
export function handleTdExit(cpu: Cpu, vcpu: TdVcpu): number {
	const reason = field(vcpu, O.VM_EXIT_REASON);
	// Of a failed entry's information only the reason is new.
	if ((reason & ENTRY_FAILURE) !== 0) return DISPOSITION.tdExit;
	requeueEvent(vcpu);
	switch (reason) {
		case EXIT_REASON.cpuid:
			return emulateCpuid(cpu, vcpu);
		case EXIT_REASON.xsetbv:
			return emulateXsetbv(cpu, vcpu);
		case EXIT_REASON.rdmsr:
		case EXIT_REASON.wrmsr:
			return emulateMsr(cpu, vcpu, reason === EXIT_REASON.wrmsr);
		case EXIT_REASON.tdcall:
			return tdcall(cpu, vcpu);
		case EXIT_REASON.hlt:
		case EXIT_REASON.ioInstruction:
		case EXIT_REASON.invd:
		case EXIT_REASON.wbinvd:
		case EXIT_REASON.vmcall:
		case EXIT_REASON.monitor:
		case EXIT_REASON.mwait:
			return injectVe(vcpu);
		case EXIT_REASON.rdpmc:
			return inject(vcpu, VECTOR.GP, 0);
		case EXIT_REASON.crAccess:
			return crAccess(cpu, vcpu);
		case EXIT_REASON.vmclear:
			return inject(vcpu, VECTOR.UD, null);
		case EXIT_REASON.eptViolation:
			return linkShared(vcpu) ? DISPOSITION.resume : DISPOSITION.tdExit;
		default:
			return DISPOSITION.tdExit;
	}
}

/** An event whose delivery the exit interrupted is injected at the next entry. */
function requeueEvent(vcpu: TdVcpu): void {
	const { u32 } = vcpu.vmcs;
	const info = u32[O.IDT_VECTORING_INFO_FIELD >> 2]!;
	if ((info & INTR_INFO.valid) === 0) return;
	if (((info >>> 8) & 7) === INTR_TYPE.nmi) u32[O.GUEST_INTERRUPTIBILITY_INFO >> 2]! &= ~BLOCKING_BY_NMI;
	setEntryEvent(vcpu, info & ~INTR_INFO.nmiUnblocked, u32[O.IDT_VECTORING_ERROR_CODE >> 2]!);
	vcpu.vmcs.set("VM_ENTRY_INSTRUCTION_LEN", u32[O.VM_EXIT_INSTRUCTION_LEN >> 2]!);
}

function setEntryEvent(vcpu: TdVcpu, info: number, errorCode: number): void {
	vcpu.vmcs.set("VM_ENTRY_INTR_INFO_FIELD", info >>> 0);
	vcpu.vmcs.set("VM_ENTRY_EXCEPTION_ERROR_CODE", errorCode);
}

function inject(vcpu: TdVcpu, vector: number, errorCode: number | null): number {
	const error = errorCode === null ? 0 : INTR_INFO.errorCode;
	setEntryEvent(vcpu, vector | (INTR_TYPE.hardwareException << 8) | error | INTR_INFO.valid, errorCode ?? 0);
	return DISPOSITION.resume;
}

/** #VE with the exit's information; a second one before the first was fetched becomes #DF. */
function injectVe(vcpu: TdVcpu): number {
	const { veInfo, vmcs } = vcpu;
	if (veInfo.valid) return inject(vcpu, VECTOR.DF, 0);
	veInfo.exitReason = field(vcpu, O.VM_EXIT_REASON);
	veInfo.exitQualification = vmcs.u64[O.EXIT_QUALIFICATION >> 3]!;
	veInfo.guestLinear = 0n;
	veInfo.guestPhysical = 0n;
	veInfo.instructionLength = field(vcpu, O.VM_EXIT_INSTRUCTION_LEN);
	veInfo.valid = true;
	return inject(vcpu, VECTOR.VE, null);
}

/** RIP moves behind the instruction that exited, and its interrupt shadow is over. */
function skipInstruction(vcpu: TdVcpu): number {
	const { vmcs } = vcpu;
	vmcs.set("GUEST_RIP", vmcs.get("GUEST_RIP") + BigInt(field(vcpu, O.VM_EXIT_INSTRUCTION_LEN)));
	vmcs.u32[O.GUEST_INTERRUPTIBILITY_INFO >> 2] = field(vcpu, O.GUEST_INTERRUPTIBILITY_INFO) & ~3;
	return DISPOSITION.resume;
}

function emulateCpuid(cpu: Cpu, vcpu: TdVcpu): number {
	const result = tdCpuid(cpu, vcpu, cpu.read32(L.GPR + 8 * L.RAX), cpu.read32(L.GPR + 8 * L.RCX));
	if (result === null) return injectVe(vcpu);
	cpu.setGpr(L.RAX, BigInt(result.eax >>> 0));
	cpu.setGpr(L.RBX, BigInt(result.ebx >>> 0));
	cpu.setGpr(L.RCX, BigInt(result.ecx >>> 0));
	cpu.setGpr(L.RDX, BigInt(result.edx >>> 0));
	return skipInstruction(vcpu);
}

const edxEax = (cpu: Cpu) => cpu.read32(L.GPR + 8 * L.RAX) + cpu.read32(L.GPR + 8 * L.RDX) * 2 ** 32;

/** XSETBV: any valid value within XFAM. */
function emulateXsetbv(cpu: Cpu, vcpu: TdVcpu): number {
	const value = edxEax(cpu);
	if (value > 0xffffffff || (value & ~vcpu.xfam) !== 0) return inject(vcpu, VECTOR.GP, 0);
	// The module runs with CR4.OSXSAVE, and so must the TD have to get here.
	if (writeXcr(cpu, cpu.read32(L.GPR + 8 * L.RCX), value) !== null) return inject(vcpu, VECTOR.GP, 0);
	return skipInstruction(vcpu);
}

/** IA32_XSS within XFAM, EFER.SCE; most other MSRs that exit are the VMM's to emulate. */
function emulateMsr(cpu: Cpu, vcpu: TdVcpu, write: boolean): number {
	switch (cpu.read32(L.GPR + 8 * L.RCX)) {
		case MSR.IA32_XSS:
			if (write) return writeTdXss(cpu, vcpu);
			cpu.setGpr(L.RAX, BigInt(cpu.read32(L.XSS)));
			cpu.setGpr(L.RDX, 0n);
			return skipInstruction(vcpu);
		case MSR.IA32_EFER:
			return writeTdEfer(cpu, vcpu);
		case MSR.IA32_XFD:
		case MSR.IA32_XFD_ERR:
			// XFAM has no feature that these are for.
			return inject(vcpu, VECTOR.GP, 0);
		default:
			return injectVe(vcpu);
	}
}

function writeTdXss(cpu: Cpu, vcpu: TdVcpu): number {
	const value = edxEax(cpu);
	const supported = vcpu.xfam & cpu.model.features.xss;
	if (value > 0xffffffff || (value & ~supported) !== 0) return inject(vcpu, VECTOR.GP, 0);
	cpu.writeNumber(L.XSS, value);
	return skipInstruction(vcpu);
}

/** Only SCE can change; LMA is read-only. */
function writeTdEfer(cpu: Cpu, vcpu: TdVcpu): number {
	const { vmcs } = vcpu;
	const old = vmcs.get("GUEST_IA32_EFER");
	const value = BigInt(edxEax(cpu));
	if (((value ^ old) & ~BigInt(EFER.SCE | EFER.LMA)) !== 0n) return injectVe(vcpu);
	vmcs.set("GUEST_IA32_EFER", (value & ~BigInt(EFER.LMA)) | (old & BigInt(EFER.LMA)));
	return skipInstruction(vcpu);
}

/**
 * A MOV to CR0 or CR4 that would change a bit of the module's. What bare hardware refuses, and CR4.SMXE, VMXE and
 * CET, which the TD does not have, give #GP; the rest, such as CR0.CD or a cleared CR4.MCE, #VE.
 */
function crAccess(cpu: Cpu, vcpu: TdVcpu): number {
	const qualification = field(vcpu, O.EXIT_QUALIFICATION);
	const register = (qualification >> 8) & 15;
	const value =
		register === L.RSP ? Number(vcpu.vmcs.get("GUEST_RSP") & 0xffff_ffffn) : cpu.read32(L.GPR + 8 * register);
	const refused =
		(qualification & 15) === 0
			? (value & (CR0.NW | CR0.CD)) === CR0.NW || ((value & CR0.PG) !== 0 && (value & CR0.PE) === 0)
			: (value & notOfferedCr4(vcpu)) !== 0;
	return refused ? inject(vcpu, VECTOR.GP, 0) : injectVe(vcpu);
}

/** CR4.VMXE and SMXE, and CET where XFAM has none of it. */
function notOfferedCr4(vcpu: TdVcpu): number {
	return (1 << 13) | (1 << 14) | ((vcpu.xfam & XFEATURE.cetUser) === 0 ? CR4.CET : 0);
}

function tdcall(cpu: Cpu, vcpu: TdVcpu): number {
	if (!isIn64BitMode(vcpu)) return inject(vcpu, VECTOR.GP, 0);
	// With the version in bits 23:16, which is 0 for all leaves here.
	switch (Number(cpu.gpr(L.RAX))) {
		case TDG.vmcall: {
			const mask = cpu.gpr(L.RCX);
			if ((mask & ~VMCALL_REGISTERS) !== 0n)
				return complete(cpu, vcpu, TDX_STATUS.operandInvalid, OPERAND.rcx);
			vcpu.vmcallMask = Number(mask);
			vcpu.inVmcall = true;
			// The exit is like a trap: the TD goes on behind its TDCALL.
			skipInstruction(vcpu);
			return DISPOSITION.tdExit;
		}
		case TDG.vpInfo:
			cpu.setGpr(L.RCX, BigInt(GPA_WIDTH));
			cpu.setGpr(L.RDX, vcpu.td.attributes);
			cpu.setGpr(R8, BigInt(vcpu.td.vcpus.length) * 0x1_0000_0001n);
			cpu.setGpr(R9, BigInt(vcpu.index));
			cpu.setGpr(R10, 0n);
			cpu.setGpr(R11, 0n);
			return complete(cpu, vcpu, TDX_STATUS.success);
		case TDG.veInfoGet:
			return veInfoGet(cpu, vcpu);
		case TDG.memPageAccept:
			// Pages are the TD's from the moment they are added.
			return complete(cpu, vcpu, TDX_STATUS.success);
		default:
			return complete(cpu, vcpu, TDX_STATUS.operandInvalid, OPERAND.rax);
	}
}

/** EFER.LMA and CS.L. */
function isIn64BitMode(vcpu: TdVcpu): boolean {
	const { vmcs } = vcpu;
	const lma = (Number(vmcs.get("GUEST_IA32_EFER")) & EFER.LMA) !== 0;
	return lma && (Number(vmcs.get("GUEST_CS_AR_BYTES")) & 0x2000) !== 0;
}

/** The leaf returns to the TD. @param operand the one that the status is about, as its low half */
function complete(cpu: Cpu, vcpu: TdVcpu, status: number, operand = 0n): number {
	cpu.setGpr(L.RAX, (BigInt(status) << 32n) | operand);
	return skipInstruction(vcpu);
}

/** TDG.VP.VEINFO.GET: once for each #VE. */
function veInfoGet(cpu: Cpu, vcpu: TdVcpu): number {
	const { veInfo } = vcpu;
	if (!veInfo.valid) return complete(cpu, vcpu, TDX_STATUS.noVeInfo);
	veInfo.valid = false;
	cpu.setGpr(L.RCX, BigInt(veInfo.exitReason));
	cpu.setGpr(L.RDX, veInfo.exitQualification);
	cpu.setGpr(R8, veInfo.guestLinear);
	cpu.setGpr(R9, veInfo.guestPhysical);
	cpu.setGpr(R10, BigInt(veInfo.instructionLength));
	return complete(cpu, vcpu, TDX_STATUS.success);
}

/**
 * A shared address translates through the VMM's EPT: its root's entry is linked into the secure one's upper half.
 * @returns whether an entry was new, so that the access is worth trying again
 */
function linkShared(vcpu: TdVcpu): boolean {
	const { td, vmcs } = vcpu;
	const gpa =
		vmcs.u32[O.GUEST_PHYSICAL_ADDRESS >> 2]! + vmcs.u32[(O.GUEST_PHYSICAL_ADDRESS >> 2) + 1]! * 2 ** 32;
	if (gpa < SHARED_BIT || td.sharedEptRoot < 0) return false;
	const { memory } = td;
	const from = (memory.ramBase + td.sharedEptRoot + entryOffset(gpa, 4)) >> 2;
	const to = (memory.ramBase + td.secureEptRoot + entryOffset(gpa, 4)) >> 2;
	if (memory.u32[from] === 0 || memory.u32[from] === memory.u32[to]) return false;
	memory.u32[to] = memory.u32[from]!;
	memory.u32[to + 1] = memory.u32[from + 1]!;
	return true;
}
