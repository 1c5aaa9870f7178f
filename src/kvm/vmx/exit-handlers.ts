/** VMX exits that leave the fastpath: kvm_vmx_exit_handlers (arch/x86/kvm/vmx/vmx.c, v6.18). */
import { symbol } from "../../silicon/cpu/cpu.ts";
import { DR6 } from "../../silicon/cpu/debug.ts";
import { VECTOR } from "../../silicon/cpu/fault.ts";
import { FLAG } from "../../silicon/cpu/rflags.ts";
import { CPU_BASED, ENTRY_FAILURE, EXIT_REASON, INTR_INFO, INTR_TYPE } from "../../silicon/vmx/controls.ts";
import { F } from "../../silicon/vmx/fields.ts";
import { vmread32, vmreadNumber, vmwrite, vmwrite32 } from "../../silicon/vmx/vmcs.ts";
import { kvmEmulateCrAccess, kvmEmulateXsetbv } from "../emulate/control.ts";
import { kvmEmulateCpuid } from "../emulate/cpuid.ts";
import { kvmEmulateDrAccess, kvmQueueDebug } from "../emulate/debug.ts";
import { handleUd } from "../emulate/undefined-opcode.ts";
import { kvmEmulateHypercall } from "../emulate/hypercall.ts";
import { kvmQueueException, kvmSkipEmulatedInstruction } from "../emulate/inject.ts";
import { emulateMmio } from "../emulate/mmio.ts";
import { kvmEmulateRdmsr, kvmEmulateWrmsr } from "../emulate/msr.ts";
import { kvmFastPio, kvmStringPio } from "../emulate/pio.ts";
import {
	kvmEmulateAsNop,
	kvmEmulateHalt,
	kvmEmulateInvd,
	kvmEmulateRdpmc,
	kvmEmulateWbinvd,
	kvmHandleInvalidOp,
} from "../emulate/simple.ts";
import { INTERNAL_ERROR, KVM_EXIT, KVM_REQ } from "../requests.ts";
import { type Vcpu, makeRequest } from "../vcpu.ts";
import { cacheControlRegisters } from "./control-registers.ts";
import { interruptWindowOpened } from "../x86/events.ts";
import { setWindow } from "./events.ts";

const again = () => 1;

function qualification(v: Vcpu): number {
	return vmreadNumber(v.cpu, v.vmx!.vmcs, F.EXIT_QUALIFICATION);
}

/** handle_exception_nmi(). */
function handleException(v: Vcpu): number {
	const info = v.vt.exitIntrInfo;
	const vector = info & 0xff;
	// NMIs and #MCs were handled with interrupts off.
	if (vector === VECTOR.NMI || vector === VECTOR.MC) return 1;
	// #NM by XFD goes to the guest, whose XFD_ERR was read with interrupts off.
	if (vector === VECTOR.NM) {
		kvmQueueException(v, vector, null);
		return 1;
	}
	if (vector === VECTOR.DB) return handleDebugException(v, info);
	if (vector === VECTOR.UD) return handleUd(v);
	const errorCode =
		(info & INTR_INFO.errorCode) !== 0 ? vmread32(v.cpu, v.vmx!.vmcs, F.VM_EXIT_INTR_ERROR_CODE) : null;
	kvmQueueException(v, vector, errorCode);
	return 1;
}

/** handle_exception_nmi(), #DB: what happened goes on to the guest. */
function handleDebugException(v: Vcpu, info: number): number {
	const { vmcs } = v.vmx!;
	// INT1 is skipped, since the exit is the instruction's.
	if (((info >>> 8) & 7) === INTR_TYPE.privilegedSoftwareException) v.vm.ops.skipEmulatedInstruction(v);
	else {
		const shadow = vmread32(v.cpu, vmcs, F.GUEST_INTERRUPTIBILITY_INFO) & 3;
		const stepped = (vmread32(v.cpu, vmcs, F.GUEST_RFLAGS) & FLAG.TF) !== 0;
		// VM entry wants to see the single step that a shadow holds back.
		if (shadow !== 0 && stepped) {
			const pending = vmread32(v.cpu, vmcs, F.GUEST_PENDING_DBG_EXCEPTIONS);
			vmwrite(v.cpu, vmcs, F.GUEST_PENDING_DBG_EXCEPTIONS, BigInt(pending | DR6.BS));
		}
	}
	kvmQueueDebug(v, qualification(v));
	return 1;
}

/** handle_cr(). */
function handleCr(v: Vcpu): number {
	const q = qualification(v);
	cacheControlRegisters(v);
	return kvmEmulateCrAccess(v, {
		cr: q & 15,
		access: (q >> 4) & 3,
		gpr: (q >> 8) & 15,
		lmsw: (q >>> 16) & 0xffff,
	});
}

/** handle_io(). */
function handleIo(v: Vcpu): number {
	const q = qualification(v);
	v.stat.ioExits++;
	const bytes = (q & 7) + 1;
	const isIn = (q & 8) !== 0;
	const port = (q >>> 16) & 0xffff;
	if ((q & 16) !== 0) return kvmStringPio(v, bytes, port, isIn, (q & 32) !== 0);
	return kvmFastPio(v, bytes, port, isIn);
}

/** handle_ept_violation(). */
function handleEptViolation(v: Vcpu): number {
	const q = qualification(v);
	const gpa = vmreadNumber(v.cpu, v.vmx!.vmcs, F.GUEST_PHYSICAL_ADDRESS);
	v.cpu.code(60);
	if (v.vm.mmu.pageFault(v, gpa, (q & 2) !== 0, (q & 4) !== 0) === "fixed") return 1;
	cacheControlRegisters(v);
	return emulateMmio(v, gpa);
}

/** exec_controls_clearbit(CPU_BASED_MOV_DR_EXITING). */
function passDebugRegisters(v: Vcpu): void {
	const { vmcs } = v.vmx!;
	const controls = vmread32(v.cpu, vmcs, F.CPU_BASED_VM_EXEC_CONTROL);
	vmwrite32(v.cpu, vmcs, F.CPU_BASED_VM_EXEC_CONTROL, controls & ~CPU_BASED.movDrExiting);
}

type Handler = (v: Vcpu) => number;

const VMX_HANDLE_EXIT = symbol("vmx_handle_exit");

// biome-ignore format: a table
/** Names in kvm_vmx_exit_handlers, by basic exit reason. */
const HANDLER_SYMBOLS: ReadonlyMap<number, number> = new Map(([
	[EXIT_REASON.exceptionOrNmi,     "handle_exception_nmi"],
	[EXIT_REASON.externalInterrupt,  "handle_external_interrupt"],
	[EXIT_REASON.tripleFault,        "handle_triple_fault"],
	[EXIT_REASON.interruptWindow,    "handle_interrupt_window"],
	[EXIT_REASON.nmiWindow,          "handle_nmi_window"],
	[EXIT_REASON.cpuid,              "kvm_emulate_cpuid"],
	[EXIT_REASON.hlt,                "kvm_emulate_halt"],
	[EXIT_REASON.invd,               "kvm_emulate_invd"],
	[EXIT_REASON.invlpg,             "handle_invlpg"],
	[EXIT_REASON.rdpmc,              "kvm_emulate_rdpmc"],
	[EXIT_REASON.vmcall,             "kvm_emulate_hypercall"],
	[EXIT_REASON.crAccess,           "handle_cr"],
	[EXIT_REASON.movDr,              "handle_dr"],
	[EXIT_REASON.ioInstruction,      "handle_io"],
	[EXIT_REASON.rdmsr,              "kvm_emulate_rdmsr"],
	[EXIT_REASON.wrmsr,              "kvm_emulate_wrmsr"],
	[EXIT_REASON.mwait,              "kvm_emulate_mwait"],
	[EXIT_REASON.monitor,            "kvm_emulate_monitor"],
	[EXIT_REASON.pause,              "handle_pause"],
	[EXIT_REASON.eptViolation,       "handle_ept_violation"],
	[EXIT_REASON.eptMisconfiguration, "handle_ept_misconfig"],
	[EXIT_REASON.preemptionTimer,    "handle_preemption_timer"],
	[EXIT_REASON.wbinvd,             "kvm_emulate_wbinvd"],
	[EXIT_REASON.xsetbv,             "kvm_emulate_xsetbv"],
] as const).map(([reason, name]) => [reason, symbol(name)]));
const OTHER_HANDLER = symbol("kvm_handle_invalid_op");

const handlers: readonly (Handler | undefined)[] = (() => {
	const table: (Handler | undefined)[] = [];
	const set = (reason: number, handler: Handler) => {
		table[reason] = handler;
	};
	set(EXIT_REASON.exceptionOrNmi, handleException);
	set(EXIT_REASON.externalInterrupt, (v) => {
		v.stat.irqExits++;
		return 1;
	});
	set(EXIT_REASON.tripleFault, (v) => {
		v.run.exitReason = KVM_EXIT.SHUTDOWN;
		return 0;
	});
	set(EXIT_REASON.interruptWindow, (v) => {
		setWindow(v, "interrupt", false);
		makeRequest(v, KVM_REQ.EVENT);
		return interruptWindowOpened(v);
	});
	set(EXIT_REASON.nmiWindow, (v) => {
		setWindow(v, "nmi", false);
		makeRequest(v, KVM_REQ.EVENT);
		return 1;
	});
	set(EXIT_REASON.eoiInduced, (v) => {
		v.apic?.setEoiAccelerated(qualification(v) & 0xff);
		return 1;
	});
	set(EXIT_REASON.cpuid, kvmEmulateCpuid);
	set(EXIT_REASON.hlt, kvmEmulateHalt);
	set(EXIT_REASON.invd, kvmEmulateInvd);
	set(EXIT_REASON.invlpg, kvmSkipEmulatedInstruction);
	set(EXIT_REASON.rdpmc, kvmEmulateRdpmc);
	set(EXIT_REASON.vmcall, kvmEmulateHypercall);
	set(EXIT_REASON.crAccess, handleCr);
	set(EXIT_REASON.movDr, (v) => kvmEmulateDrAccess(v, qualification(v), passDebugRegisters));
	set(EXIT_REASON.ioInstruction, handleIo);
	set(EXIT_REASON.rdmsr, kvmEmulateRdmsr);
	set(EXIT_REASON.wrmsr, kvmEmulateWrmsr);
	set(EXIT_REASON.mwait, kvmEmulateAsNop);
	set(EXIT_REASON.monitor, kvmEmulateAsNop);
	set(EXIT_REASON.pause, kvmSkipEmulatedInstruction);
	set(EXIT_REASON.eptViolation, handleEptViolation);
	set(EXIT_REASON.eptMisconfiguration, handleEptViolation);
	set(EXIT_REASON.preemptionTimer, again);
	set(EXIT_REASON.wbinvd, kvmEmulateWbinvd);
	set(EXIT_REASON.xsetbv, kvmEmulateXsetbv);
	for (const reason of [EXIT_REASON.vmclear, EXIT_REASON.tdcall, EXIT_REASON.seamcall])
		set(reason, kvmHandleInvalidOp);
	for (let reason = EXIT_REASON.vmclear; reason < EXIT_REASON.crAccess; reason++)
		set(reason, kvmHandleInvalidOp);
	return table;
})();

/**
 * vmx_handle_exit().
 * @returns >0 to go on, 0 to leave to user space with `run` filled in
 */
export function vmxHandleExit(v: Vcpu): number {
	v.cpu.enter(VMX_HANDLE_EXIT);
	const result = handleExit(v);
	v.cpu.leave();
	return result;
}

function handleExit(v: Vcpu): number {
	const reason = v.vt.exitReason;
	const basic = reason & 0xffff;
	v.cpu.code(20);
	if (v.vmx!.fail) {
		v.run.exitReason = KVM_EXIT.FAIL_ENTRY;
		v.run.code = v.vmx!.vmcs.instructionError;
		v.run.message = `VM entry refused, VM-instruction error ${v.vmx!.vmcs.instructionError}: ${v.vmx!.vmcs.failedCheck ?? "VMfail"}`;
		return 0;
	}
	// An #MC during the entry, too: what it hit of the guest is not known.
	if ((reason & ENTRY_FAILURE) !== 0) {
		v.run.exitReason = KVM_EXIT.FAIL_ENTRY;
		v.run.code = reason >>> 0;
		v.run.message = `VM entry failed, exit reason ${basic}: ${v.vmx!.vmcs.failedCheck ?? v.vm.ops.exitReasonName(basic)}`;
		return 0;
	}
	const handler = handlers[basic];
	if (handler !== undefined) {
		v.cpu.enter(HANDLER_SYMBOLS.get(basic) ?? OTHER_HANDLER);
		const result = handler(v);
		v.cpu.leave();
		return result;
	}
	v.run.exitReason = KVM_EXIT.INTERNAL_ERROR;
	v.run.code = INTERNAL_ERROR.UNEXPECTED_EXIT_REASON;
	v.run.message = `unexpected VM exit, reason ${v.vm.ops.exitReasonName(basic)}`;
	return 0;
}
