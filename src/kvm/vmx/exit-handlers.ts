/** VMX exits that leave the fastpath: kvm_vmx_exit_handlers (arch/x86/kvm/vmx/vmx.c, v6.18). */
import { symbol } from "../../silicon/cpu/symbols.ts";
import { DR6_RESERVED } from "../../host/hw-breakpoint.ts";
import { DR6 } from "../../silicon/cpu/debug.ts";
import { VECTOR } from "../../silicon/cpu/fault.ts";
import { FLAG } from "../../silicon/cpu/rflags.ts";
import { CPU_BASED, ENTRY_FAILURE, EXIT_REASON, INTR_INFO, INTR_TYPE } from "../../silicon/vmx/controls.ts";
import { F } from "../../silicon/vmx/fields.ts";
import { vmread32, vmreadNumber, vmwrite, vmwrite32 } from "../../silicon/vmx/vmcs.ts";
import { kvmEmulateCrAccess, kvmEmulateXsetbv } from "../emulate/control.ts";
import { kvmEmulateCpuid } from "../emulate/cpuid.ts";
import { kvmEmulateDrAccess, kvmQueueDebug } from "../emulate/debug.ts";
import { debuggerTakesDb, kvmExitDebug } from "../emulate/guest-debug.ts";
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
import { blockNmisAgain, setWindow } from "./events.ts";

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
	// INT3 exits for a debugger in user space alone.
	if (vector === VECTOR.BP) return kvmExitDebug(v, vector, DR6_RESERVED, guestDr7(v));
	if (vector === VECTOR.UD) return handleUd(v);
	const errorCode =
		(info & INTR_INFO.errorCode) !== 0 ? vmread32(v.cpu, v.vmx!.vmcs, F.VM_EXIT_INTR_ERROR_CODE) : null;
	kvmQueueException(v, vector, errorCode);
	return 1;
}

const guestDr7 = (v: Vcpu) => vmreadNumber(v.cpu, v.vmx!.vmcs, F.GUEST_DR7);

/** handle_exception_nmi(), #DB: what happened goes on to the guest, or to its debugger in user space. */
function handleDebugException(v: Vcpu, info: number): number {
	if (debuggerTakesDb(v)) return kvmExitDebug(v, VECTOR.DB, qualification(v) | DR6_RESERVED, guestDr7(v));
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
	const vectoring = (v.vmx!.idtVectoringInfo & INTR_INFO.valid) !== 0;
	if (!vectoring && (q & INTR_INFO.nmiUnblocked) !== 0) blockNmisAgain(v);
	v.tracer?.tracepoint?.(v, "kvm_page_fault", { gpa, errorCode: q });
	if (v.vm.mmu.pageFault(v, gpa, (q & 2) !== 0, (q & 4) !== 0) === "fixed") return 1;
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

function interruptWindow(v: Vcpu): number {
	setWindow(v, "interrupt", false);
	makeRequest(v, KVM_REQ.EVENT);
	return interruptWindowOpened(v);
}

function nmiWindow(v: Vcpu): number {
	setWindow(v, "nmi", false);
	makeRequest(v, KVM_REQ.EVENT);
	return 1;
}

function externalInterrupt(v: Vcpu): number {
	v.stat.irqExits++;
	return 1;
}

function tripleFault(v: Vcpu): number {
	v.run.exitReason = KVM_EXIT.SHUTDOWN;
	return 0;
}

function eoiInduced(v: Vcpu): number {
	v.apic?.setEoiAccelerated(qualification(v) & 0xff);
	return 1;
}

const handleDr: Handler = (v) => kvmEmulateDrAccess(v, qualification(v), passDebugRegisters);

/** VMCLEAR to VMXON, which have neighbouring reasons. */
const VMX_INSTRUCTIONS = Array.from(
	{ length: EXIT_REASON.crAccess - EXIT_REASON.vmclear },
	(_, n) => EXIT_REASON.vmclear + n,
);

// biome-ignore format: a table
/** kvm_vmx_exit_handlers: basic exit reason, the handler's symbol, and what it does. */
const ROWS: readonly (readonly [reason: number, symbol: string, handler: Handler])[] = [
	[EXIT_REASON.exceptionOrNmi,      "handle_exception_nmi",      handleException],
	[EXIT_REASON.externalInterrupt,   "handle_external_interrupt", externalInterrupt],
	[EXIT_REASON.tripleFault,         "handle_triple_fault",       tripleFault],
	[EXIT_REASON.interruptWindow,     "handle_interrupt_window",   interruptWindow],
	[EXIT_REASON.nmiWindow,           "handle_nmi_window",         nmiWindow],
	[EXIT_REASON.eoiInduced,          "handle_apic_eoi_induced",   eoiInduced],
	[EXIT_REASON.cpuid,               "kvm_emulate_cpuid",         kvmEmulateCpuid],
	[EXIT_REASON.hlt,                 "kvm_emulate_halt",          kvmEmulateHalt],
	[EXIT_REASON.invd,                "kvm_emulate_invd",          kvmEmulateInvd],
	[EXIT_REASON.invlpg,              "handle_invlpg",             kvmSkipEmulatedInstruction],
	[EXIT_REASON.rdpmc,               "kvm_emulate_rdpmc",         kvmEmulateRdpmc],
	[EXIT_REASON.vmcall,              "kvm_emulate_hypercall",     kvmEmulateHypercall],
	[EXIT_REASON.crAccess,            "handle_cr",                 handleCr],
	[EXIT_REASON.movDr,               "handle_dr",                 handleDr],
	[EXIT_REASON.ioInstruction,       "handle_io",                 handleIo],
	[EXIT_REASON.rdmsr,               "kvm_emulate_rdmsr",         kvmEmulateRdmsr],
	[EXIT_REASON.wrmsr,               "kvm_emulate_wrmsr",         kvmEmulateWrmsr],
	[EXIT_REASON.mwait,               "kvm_emulate_mwait",         kvmEmulateAsNop],
	[EXIT_REASON.monitor,             "kvm_emulate_monitor",       kvmEmulateAsNop],
	[EXIT_REASON.pause,               "handle_pause",              kvmSkipEmulatedInstruction],
	[EXIT_REASON.eptViolation,        "handle_ept_violation",      handleEptViolation],
	[EXIT_REASON.eptMisconfiguration, "handle_ept_misconfig",      handleEptViolation],
	[EXIT_REASON.preemptionTimer,     "handle_preemption_timer",   again],
	[EXIT_REASON.wbinvd,              "kvm_emulate_wbinvd",        kvmEmulateWbinvd],
	[EXIT_REASON.xsetbv,              "kvm_emulate_xsetbv",        kvmEmulateXsetbv],
	[EXIT_REASON.tdcall,              "handle_tdx_instruction",    kvmHandleInvalidOp],
	[EXIT_REASON.seamcall,            "handle_tdx_instruction",    kvmHandleInvalidOp],
	...VMX_INSTRUCTIONS.map((reason) => [reason, "handle_vmx_instruction", kvmHandleInvalidOp] as const),
];

/** By basic exit reason. */
const handlers: readonly ({ readonly symbol: number; readonly handle: Handler } | undefined)[] = (() => {
	const table: { symbol: number; handle: Handler }[] = [];
	for (const [reason, name, handle] of ROWS) table[reason] = { symbol: symbol(name), handle };
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
		v.cpu.enter(handler.symbol);
		const result = handler.handle(v);
		v.cpu.leave();
		return result;
	}
	v.run.exitReason = KVM_EXIT.INTERNAL_ERROR;
	v.run.code = INTERNAL_ERROR.UNEXPECTED_EXIT_REASON;
	v.run.message = `unexpected VM exit, reason ${v.vm.ops.exitReasonName(basic)}`;
	return 0;
}
