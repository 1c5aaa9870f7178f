/** TD exits that need KVM: tdx_handle_exit() (arch/x86/kvm/vmx/tdx.c, v6.18) and TDG.VP.VMCALL (the GHCI specification). */
import { EXIT_REASON } from "../../silicon/vmx/controls.ts";
import { kvmCpuid } from "../emulate/cpuid.ts";
import { kvmGetMsr, kvmSetMsr } from "../emulate/msr.ts";
import { kvmVcpuHasEvents } from "../emulate/simple.ts";
import * as L from "../../silicon/cpu/layout.ts";
import { KVM_EXIT, MP_STATE } from "../requests.ts";
import type { Vcpu } from "../vcpu.ts";

const R10 = 10;
const R11 = 11;
const R12 = 12;
const R13 = 13;
const R14 = 14;
const R15 = 15;
/** TDG.VP.VMCALL_INVALID_OPERAND. */
const INVALID_OPERAND = 0x8000_0000_0000_0000n;
/** KVM's answer to a hypercall that it does not know: -KVM_ENOSYS. */
const KVM_ENOSYS = -1000n;

/** <Instruction.IO>: R12 size, R13 direction (1: write), R14 port, R15 data; R11 the data read. */
function handleIo(v: Vcpu): number {
	const { regs } = v;
	const { io } = v.run;
	const bytes = Number(regs[R12]!);
	if (bytes !== 1 && bytes !== 2 && bytes !== 4) {
		regs[R10] = INVALID_OPERAND;
		return 1;
	}
	v.stat.ioExits++;
	io.write = regs[R13]! === 1n;
	io.port = Number(regs[R14]! & 0xffffn);
	io.bytes = bytes;
	io.count = 1;
	for (let at = 0; at < bytes; at++)
		io.data[at] = io.write ? Number((regs[R15]! >> BigInt(8 * at)) & 0xffn) : 0;
	v.run.exitReason = KVM_EXIT.IO;
	v.completeUserspaceIo = () => {
		regs[R10] = 0n;
		let value = 0n;
		if (!io.write) for (let at = 0; at < bytes; at++) value |= BigInt(io.data[at]!) << BigInt(8 * at);
		regs[R11] = value;
		return 1;
	};
	return 0;
}

/** <Instruction.CPUID>: R12 leaf, R13 sub-leaf; R12-R15 the result. */
function handleCpuid(v: Vcpu): number {
	const { regs } = v;
	const saved = [regs[L.RAX]!, regs[L.RBX]!, regs[L.RCX]!, regs[L.RDX]!] as const;
	kvmCpuid(v, Number(regs[R12]! & 0xffff_ffffn), Number(regs[R13]! & 0xffff_ffffn));
	regs[R12] = regs[L.RAX]!;
	regs[R13] = regs[L.RBX]!;
	regs[R14] = regs[L.RCX]!;
	regs[R15] = regs[L.RDX]!;
	[regs[L.RAX], regs[L.RBX], regs[L.RCX], regs[L.RDX]] = saved;
	regs[R10] = 0n;
	return 1;
}

/** <Instruction.HLT>. */
function handleHlt(v: Vcpu): number {
	v.regs[R10] = 0n;
	v.stat.haltExits++;
	if (!kvmVcpuHasEvents(v)) v.mpState = MP_STATE.HALTED;
	return 1;
}

/** <Instruction.RDMSR>: R12 index; R11 the value. */
function handleRdmsr(v: Vcpu): number {
	const value = kvmGetMsr(v, Number(v.regs[R12]! & 0xffff_ffffn));
	v.regs[R10] = value === undefined ? INVALID_OPERAND : 0n;
	if (value !== undefined) v.regs[R11] = value;
	return 1;
}

/** <Instruction.WRMSR>: R12 index, R13 value. */
function handleWrmsr(v: Vcpu): number {
	const done = kvmSetMsr(v, Number(v.regs[R12]! & 0xffff_ffffn), v.regs[R13]!);
	v.regs[R10] = done ? 0n : INVALID_OPERAND;
	return 1;
}

/** handle_tdvmcall(). R10 = 0: a GHCI sub-function in R11; otherwise a hypercall of KVM's own. */
function handleTdvmcall(v: Vcpu): number {
	v.cpu.code(40);
	if (v.regs[R10]! !== 0n) {
		v.regs[R10] = BigInt.asUintN(64, KVM_ENOSYS);
		return 1;
	}
	switch (Number(v.regs[R11]! & 0xffff_ffffn)) {
		case EXIT_REASON.cpuid:
			return handleCpuid(v);
		case EXIT_REASON.hlt:
			return handleHlt(v);
		case EXIT_REASON.ioInstruction:
			return handleIo(v);
		case EXIT_REASON.rdmsr:
			return handleRdmsr(v);
		case EXIT_REASON.wrmsr:
			return handleWrmsr(v);
		default:
			v.regs[R10] = INVALID_OPERAND;
			return 1;
	}
}

/**
 * tdx_handle_exit().
 * @returns >0 to go on, 0 to leave to user space with `run` filled in
 */
export function tdxHandleExit(v: Vcpu): number {
	const basic = v.vt.exitReason & 0xffff;
	v.cpu.code(20);
	switch (basic) {
		case EXIT_REASON.externalInterrupt:
			// Only counts: the interrupt was serviced with interrupts off.
			v.stat.irqExits++;
			return 1;
		case EXIT_REASON.exceptionOrNmi:
		case EXIT_REASON.machineCheckDuringEntry:
			// NMIs and #MCs were handled with interrupts off.
			return 1;
		case EXIT_REASON.tdcall:
			return handleTdvmcall(v);
		case EXIT_REASON.tripleFault:
			v.run.exitReason = KVM_EXIT.SHUTDOWN;
			return 0;
		case EXIT_REASON.eptViolation:
			v.run.exitReason = KVM_EXIT.INTERNAL_ERROR;
			v.run.message = "EPT violation of a TD on memory that was not added to it";
			return 0;
		default:
			v.run.exitReason = KVM_EXIT.INTERNAL_ERROR;
			v.run.message = `unexpected TD exit, reason ${v.vm.ops.exitReasonName(basic)}`;
			return 0;
	}
}
