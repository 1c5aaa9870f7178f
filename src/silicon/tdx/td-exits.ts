/**
 * VM exits of a TD that the TDX module handles by itself, and TDCALL leaves (TDX Module Architecture Specification,
 * TD non-root mode instructions; TDX Module ABI, TDG.*).
 */
import { isValidXcr0, writeXcr } from "../cpu/control.ts";
import type { Cpu } from "../cpu/cpu.ts";
import { cpuid } from "../cpu/cpuid.ts";
import { VECTOR } from "../cpu/fault.ts";
import * as L from "../cpu/layout.ts";
import { MSR } from "../cpu/msr.ts";
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
/** GPRs that TDG.VP.VMCALL can expose: all but RAX, RCX and RSP. */
const VMCALL_REGISTERS = 0xffec;
const TDX_LEAF = 0x21;

/** What the module does with a VM exit of a TD. */
export const DISPOSITION = { resume: 0, tdExit: 1 } as const;

const field = (vcpu: TdVcpu, offset: number) => vcpu.vmcs.u32[offset >> 2]!;

/**
 * Handles a VM exit of the TD in SEAM root mode. The TD's GPRs but RSP are in the state block.
 * @returns DISPOSITION.resume to enter the TD again; DISPOSITION.tdExit for an exit to the VMM
 */
export function handleTdExit(cpu: Cpu, vcpu: TdVcpu): number {
	const reason = field(vcpu, O.VM_EXIT_REASON);
	requeueEvent(vcpu);
	if ((reason & ENTRY_FAILURE) !== 0) return DISPOSITION.tdExit;
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
			return injectVe(cpu, vcpu);
		case EXIT_REASON.rdpmc:
		case EXIT_REASON.crAccess:
			return inject(vcpu, VECTOR.GP, 0);
		case EXIT_REASON.vmclear:
		case EXIT_REASON.rsm:
		case EXIT_REASON.vmfunc:
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
	if ((field(vcpu, O.VM_EXIT_REASON) & ENTRY_FAILURE) !== 0 || (info & INTR_INFO.valid) === 0) return;
	setEntryEvent(vcpu, info, u32[O.IDT_VECTORING_ERROR_CODE >> 2]!);
	u32[O.VM_ENTRY_INSTRUCTION_LEN >> 2] = u32[O.VM_EXIT_INSTRUCTION_LEN >> 2]!;
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
function injectVe(cpu: Cpu, vcpu: TdVcpu): number {
	const { veInfo, vmcs } = vcpu;
	if (veInfo.valid) return inject(vcpu, VECTOR.DF, 0);
	veInfo.exitReason = field(vcpu, O.VM_EXIT_REASON);
	veInfo.exitQualification = vmcs.u64[O.EXIT_QUALIFICATION >> 3]!;
	veInfo.guestLinear = 0n;
	veInfo.guestPhysical = 0n;
	veInfo.instructionLength = field(vcpu, O.VM_EXIT_INSTRUCTION_LEN);
	veInfo.valid = true;
	cpu.write32(L.FAULT, 0);
	return inject(vcpu, VECTOR.VE, null);
}

/** RIP moves behind the instruction that exited, and its interrupt shadow is over. */
export function skipInstruction(vcpu: TdVcpu): number {
	const { vmcs } = vcpu;
	vmcs.set("GUEST_RIP", vmcs.get("GUEST_RIP") + BigInt(field(vcpu, O.VM_EXIT_INSTRUCTION_LEN)));
	vmcs.u32[O.GUEST_INTERRUPTIBILITY_INFO >> 2] = field(vcpu, O.GUEST_INTERRUPTIBILITY_INFO) & ~3;
	return DISPOSITION.resume;
}

/** CPUID: the module's leaf, the processor's leaves, #VE for what only the VMM could answer. */
function emulateCpuid(cpu: Cpu, vcpu: TdVcpu): number {
	const leaf = cpu.read32(L.GPR + 8 * L.RAX);
	const subleaf = cpu.read32(L.GPR + 8 * L.RCX);
	if (leaf >= 0x40000000 && leaf < 0x80000000) return injectVe(cpu, vcpu);
	// "IntelTDX    " in EBX, EDX, ECX.
	const own = leaf === TDX_LEAF && subleaf === 0;
	const result = own
		? { eax: 0, ebx: 0x65746e49, ecx: 0x20202020, edx: 0x5844546c }
		: cpuid(cpu, leaf, subleaf);
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
	const allowed = value <= 0xffffffff && (value & ~vcpu.xfam) === 0 && isValidXcr0(cpu, value);
	if (cpu.read32(L.GPR + 8 * L.RCX) !== 0 || !allowed) return inject(vcpu, VECTOR.GP, 0);
	// The module runs with CR4.OSXSAVE, and so must the TD have to get here.
	if (writeXcr(cpu, 0, value) !== null) return inject(vcpu, VECTOR.GP, 0);
	return skipInstruction(vcpu);
}

/** IA32_XSS within XFAM; every other MSR that exits is the VMM's to emulate. */
function emulateMsr(cpu: Cpu, vcpu: TdVcpu, write: boolean): number {
	if (cpu.read32(L.GPR + 8 * L.RCX) !== MSR.IA32_XSS) return injectVe(cpu, vcpu);
	if (write) {
		const value = edxEax(cpu);
		const supported = vcpu.xfam & cpu.model.features.xss;
		if (value > 0xffffffff || (value & ~supported) !== 0) return inject(vcpu, VECTOR.GP, 0);
		cpu.writeNumber(L.XSS, value);
	} else {
		cpu.setGpr(L.RAX, BigInt(cpu.read32(L.XSS)));
		cpu.setGpr(L.RDX, 0n);
	}
	return skipInstruction(vcpu);
}

const statusValue = (status: number) => BigInt(status) << 32n;

function tdcall(cpu: Cpu, vcpu: TdVcpu): number {
	const leaf = Number(cpu.gpr(L.RAX) & 0xffffn);
	switch (leaf) {
		case TDG.vmcall: {
			const mask = cpu.gpr(L.RCX);
			if ((mask & ~BigInt(VMCALL_REGISTERS) & 0xffff_ffffn) !== 0n)
				return complete(cpu, vcpu, TDX_STATUS.operandInvalid);
			vcpu.vmcallMask = Number(mask & 0xffffn);
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
			return complete(cpu, vcpu, TDX_STATUS.operandInvalid);
	}
}

function complete(cpu: Cpu, vcpu: TdVcpu, status: number): number {
	cpu.setGpr(L.RAX, statusValue(status));
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
