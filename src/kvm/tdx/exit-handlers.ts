/** TD exits that need KVM: tdx_handle_exit() (arch/x86/kvm/vmx/tdx.c, v6.18) and TDG.VP.VMCALL (the GHCI specification). */
import * as L from "../../silicon/cpu/layout.ts";
import { TDX_STATUS } from "../../silicon/tdx/module.ts";
import { ENTRY_FAILURE, EXIT_REASON } from "../../silicon/vmx/controls.ts";
import { kvmCpuid } from "../emulate/cpuid.ts";
import { GuestFault } from "../emulate/guest-fault.ts";
import { kvmGetMsr, kvmSetMsr } from "../emulate/msr.ts";
import { kvmVcpuHasEvents } from "../emulate/simple.ts";
import { KVM_EXIT, MP_STATE } from "../requests.ts";
import type { Vcpu } from "../vcpu.ts";
import { NO_EXIT_REASON } from "./exit-reason.ts";
import { tdxMapGpa } from "./map-gpa.ts";
import { isReadOnlyMsr, tdxHasEmulatedMsr } from "./msr.ts";

const R10 = 10;
const R11 = 11;
const R12 = 12;
const R13 = 13;
const R14 = 14;
const R15 = 15;

/** TDG.VP.VMCALL completion statuses, for R10 (GHCI, table 2-4). R10 is 0, success, when a standard call comes in. */
const STATUS = {
	invalidOperand: 0x8000_0000_0000_0000n,
	subfunctionUnsupported: 0x8000_0000_0000_0003n,
} as const;

/** Sub-functions of TDG.VP.VMCALL that are no instruction's (GHCI, table 2-3). */
const SUBFUNCTION = { getInfo: 0x10000n, mapGpa: 0x10001n, reportFatalError: 0x10003n } as const;

const KVM_HC_VAPIC_POLL_IRQ = 1n;
const KVM_ENOSYS = -1000n;

/** tdx_emulate_io(): R12 size, R13 direction (1: write), R14 port, R15 data; R11 the data read. */
function emulateIo(v: Vcpu): number {
	const { regs } = v;
	const { io } = v.run;
	const size = regs[R12]!;
	v.stat.ioExits++;
	if (regs[R13]! > 1n || (size !== 1n && size !== 2n && size !== 4n)) {
		regs[R10] = STATUS.invalidOperand;
		return 1;
	}
	const bytes = Number(size);
	io.write = regs[R13]! === 1n;
	io.port = Number(regs[R14]! & 0xffffn);
	io.bytes = bytes;
	io.count = 1;
	for (let at = 0; at < bytes; at++)
		io.data[at] = io.write ? Number((regs[R15]! >> BigInt(8 * at)) & 0xffn) : 0;
	v.run.exitReason = KVM_EXIT.IO;
	v.completeUserspaceIo = () => {
		if (io.write) return 1;
		let value = 0n;
		for (let at = 0; at < bytes; at++) value |= BigInt(io.data[at]!) << BigInt(8 * at);
		regs[R11] = value;
		return 1;
	};
	return 0;
}

/** tdx_emulate_cpuid(): R12 leaf, R13 sub-leaf; R12-R15 the result. */
function emulateCpuid(v: Vcpu): number {
	const { regs } = v;
	const saved = [regs[L.RAX]!, regs[L.RBX]!, regs[L.RCX]!, regs[L.RDX]!] as const;
	kvmCpuid(v, Number(regs[R12]! & 0xffff_ffffn), Number(regs[R13]! & 0xffff_ffffn));
	regs[R12] = regs[L.RAX]!;
	regs[R13] = regs[L.RBX]!;
	regs[R14] = regs[L.RCX]!;
	regs[R15] = regs[L.RDX]!;
	[regs[L.RAX], regs[L.RBX], regs[L.RCX], regs[L.RDX]] = saved;
	return 1;
}

/** kvm_emulate_halt_noskip(). KVM runs TDs with its own local APIC only. */
function emulateHalt(v: Vcpu): number {
	v.stat.haltExits++;
	if (kvmVcpuHasEvents(v)) v.pvUnhalted = false;
	else v.mpState = MP_STATE.HALTED;
	return 1;
}

/** kvm_emulate_rdmsr(), tdx_complete_emulated_msr(): R12 index; R11 the value. */
function emulateRdmsr(v: Vcpu): number {
	const index = Number(v.regs[R12]! & 0xffff_ffffn);
	const value = tdxHasEmulatedMsr(index) ? kvmGetMsr(v, index) : undefined;
	if (value === undefined) v.regs[R10] = STATUS.invalidOperand;
	else v.regs[R11] = value;
	return 1;
}

/** kvm_emulate_wrmsr(), tdx_complete_emulated_msr(): R12 index, R13 value. */
function emulateWrmsr(v: Vcpu): number {
	const index = Number(v.regs[R12]! & 0xffff_ffffn);
	if (!tdxHasEmulatedMsr(index) || isReadOnlyMsr(index) || !setMsr(v, index))
		v.regs[R10] = STATUS.invalidOperand;
	return 1;
}

function setMsr(v: Vcpu, index: number): boolean {
	try {
		return kvmSetMsr(v, index, v.regs[R13]!);
	} catch (fault) {
		// What would be a #GP in a VM is a failed call here.
		if (fault instanceof GuestFault) return false;
		throw fault;
	}
}

/** tdx_emulate_vmcall(): a hypercall of KVM's own, its number and then its result in R10. */
function emulateHypercall(v: Vcpu): number {
	const known = v.regs[R10]! === KVM_HC_VAPIC_POLL_IRQ;
	v.regs[R10] = BigInt.asUintN(64, known ? 0n : KVM_ENOSYS);
	return 1;
}

/** handle_tdvmcall(): the sub-functions that are no instruction's. User space here takes no part in them. */
function handleTdvmcall(v: Vcpu): number {
	const { regs } = v;
	switch (regs[R11]!) {
		case SUBFUNCTION.getInfo:
			if (regs[R12]! === 0n) regs.fill(0n, R11, R15);
			else regs[R10] = STATUS.invalidOperand;
			return 1;
		case SUBFUNCTION.mapGpa:
			return tdxMapGpa(v);
		case SUBFUNCTION.reportFatalError:
			return giveUp(v, `the TD reported the fatal error 0x${regs[R12]!.toString(16)}`);
		default:
			regs[R10] = STATUS.subfunctionUnsupported;
			return 1;
	}
}

/** The exits of a TDG.VP.VMCALL, by the exit reason that tdxToVmxExitReason() makes of it. */
const vmcallHandlers: ReadonlyMap<number, (v: Vcpu) => number> = new Map([
	[EXIT_REASON.cpuid, emulateCpuid],
	[EXIT_REASON.hlt, emulateHalt],
	[EXIT_REASON.ioInstruction, emulateIo],
	[EXIT_REASON.rdmsr, emulateRdmsr],
	[EXIT_REASON.wrmsr, emulateWrmsr],
	[EXIT_REASON.vmcall, emulateHypercall],
	[EXIT_REASON.tdcall, handleTdvmcall],
]);

function giveUp(v: Vcpu, message: string): number {
	v.run.exitReason = KVM_EXIT.INTERNAL_ERROR;
	v.run.message = message;
	return 0;
}

/**
 * tdx_handle_exit(). After an #MC the module has disabled the TD, and the VM is at its end.
 * @returns >0 to go on, 0 to leave to user space with `run` filled in
 */
export function tdxHandleExit(v: Vcpu): number {
	const reason = v.vt.exitReason;
	const basic = reason & 0xffff;
	const { status } = v.tdx!;
	v.cpu.code(20);
	if (basic === EXIT_REASON.tripleFault) {
		v.run.exitReason = KVM_EXIT.SHUTDOWN;
		return 0;
	}
	if (reason !== NO_EXIT_REASON && (reason & ENTRY_FAILURE) !== 0) {
		v.run.exitReason = KVM_EXIT.FAIL_ENTRY;
		v.run.message = `TD entry failed, exit reason ${basic}`;
		return 0;
	}
	if (reason === NO_EXIT_REASON || status !== TDX_STATUS.success)
		return giveUp(v, `TDH.VP.ENTER returned status 0x${(status >>> 0).toString(16)}`);
	const vmcall = vmcallHandlers.get(basic);
	if (vmcall !== undefined) {
		v.cpu.code(40);
		return vmcall(v);
	}
	switch (basic) {
		case EXIT_REASON.externalInterrupt:
			// Only counts: the interrupt was serviced with interrupts off.
			v.stat.irqExits++;
			return 1;
		case EXIT_REASON.exceptionOrNmi:
			// NMIs were handled with interrupts off.
			return 1;
		case EXIT_REASON.eptViolation:
			return giveUp(v, "EPT violation of a TD on memory that was not added to it");
		default:
			return giveUp(v, `unexpected TD exit, reason ${v.vm.ops.exitReasonName(basic)}`);
	}
}
