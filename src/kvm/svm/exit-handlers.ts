/** SVM exits that leave the fastpath: svm_exit_handlers (arch/x86/kvm/svm/svm.c, v6.18). */
import { symbol } from "../../silicon/cpu/symbols.ts";
import { DR6_RESERVED } from "../../host/hw-breakpoint.ts";
import { VECTOR } from "../../silicon/cpu/fault.ts";
import { EXIT_CODE } from "../../silicon/svm/exit-codes.ts";
import { kvmEmulateCrAccess, kvmEmulateXsetbv } from "../emulate/control.ts";
import { kvmEmulateCpuid } from "../emulate/cpuid.ts";
import { kvmEmulateDrAccess, kvmPassDebugRegisters, kvmQueueDebug } from "../emulate/debug.ts";
import { debuggerTakesDb, kvmExitDebug } from "../emulate/guest-debug.ts";
import { handleUd } from "../emulate/undefined-opcode.ts";
import { kvmEmulateHypercall } from "../emulate/hypercall.ts";
import { kvmQueueException, kvmSkipEmulatedInstruction } from "../emulate/inject.ts";
import { emulateOnSilicon } from "../emulate/instruction.ts";
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
import { interruptWindowOpened } from "../x86/events.ts";

type Handler = (v: Vcpu) => number;

/** exception_interception's family. */
function handleException(vector: number): Handler {
	if (vector === VECTOR.MC) return () => 1;
	if (vector === VECTOR.UD) return handleUd;
	if (vector === VECTOR.DB) {
		return (v) => {
			const { dr6, dr7 } = v.svm!.vmcb;
			if (debuggerTakesDb(v)) return kvmExitDebug(v, VECTOR.DB, dr6, dr7);
			// The processor has written DR6 already; what KVM loaded there had nothing set.
			kvmQueueDebug(v, (dr6 ^ DR6_RESERVED) >>> 0);
			return 1;
		};
	}
	return (v) => {
		const { vmcb } = v.svm!;
		if (vector === VECTOR.BP) return kvmExitDebug(v, vector, vmcb.dr6, vmcb.dr7);
		const errorCode =
			vector === VECTOR.PF || vector === VECTOR.GP || vector === VECTOR.AC ? vmcb.exitInfo1Low : null;
		kvmQueueException(v, vector, errorCode);
		return 1;
	};
}

/** io_interception(): EXITINFO1 of APM Vol. 2, 15.10.2. */
function handleIo(v: Vcpu): number {
	const info = v.svm!.vmcb.exitInfo1Low;
	v.stat.ioExits++;
	const bytes = (info >> 4) & 7;
	const isIn = (info & 1) !== 0;
	const port = info >>> 16;
	if ((info & 4) !== 0) return kvmStringPio(v, bytes, port, isIn, (info & 8) !== 0);
	return kvmFastPio(v, bytes, port, isIn);
}

/** cr_interception(): with decode assists EXITINFO1 names the register in bits 3:0. */
function handleCr(cr: number, write: boolean): Handler {
	return (v) => {
		const { vmcb } = v.svm!;
		v.cr3 = vmcb.cr3;
		// CLTS and LMSW have no general register: emulate_on_interception().
		if (vmcb.exitInfo1High >>> 31 === 0) return emulateOnSilicon(v);
		return kvmEmulateCrAccess(v, { cr, access: write ? 0 : 1, gpr: vmcb.exitInfo1Low & 15, lmsw: 0 });
	};
}

/** dr_interception(). @param access register, and direction in bit 4, as in the VMX qualification */
function handleDr(access: number): Handler {
	return (v) => {
		const { vmcb } = v.svm!;
		// Without a debugger the intercepts go before anything is checked: the instruction faults by itself.
		if (v.guestDebug === 0) {
			vmcb.interceptDr(false);
			return kvmPassDebugRegisters(v);
		}
		return kvmEmulateDrAccess(v, access | ((vmcb.exitInfo1Low & 15) << 8), () => vmcb.interceptDr(false));
	};
}

/** npf_interception(): EXITINFO1 is the error code, EXITINFO2 the guest physical address. */
function handleNpf(v: Vcpu): number {
	const { vmcb } = v.svm!;
	v.cpu.code(60);
	const error = vmcb.exitInfo1Low;
	v.tracer?.tracepoint?.(v, "kvm_page_fault", { gpa: vmcb.exitInfo2, errorCode: error });
	if (v.vm.mmu.pageFault(v, vmcb.exitInfo2, (error & 2) !== 0, (error & 16) !== 0) === "fixed") return 1;
	return emulateMmio(v, vmcb.exitInfo2);
}

const SVM_HANDLE_EXIT = symbol("svm_handle_exit");

/** Symbols of exception handlers; the model intercepts more exceptions than the kernel, which has none for them. */
const EXCEPTION_SYMBOLS: ReadonlyMap<number, string> = new Map([
	[VECTOR.DB, "db_interception"],
	[VECTOR.BP, "bp_interception"],
	[VECTOR.UD, "ud_interception"],
	[VECTOR.PF, "pf_interception"],
	[VECTOR.MC, "mc_interception"],
	[VECTOR.AC, "ac_interception"],
	[VECTOR.GP, "gp_interception"],
]);

function externalInterrupt(v: Vcpu): number {
	v.stat.irqExits++;
	return 1;
}

function nmi(v: Vcpu): number {
	v.stat.nmiExits++;
	return 1;
}

function interruptWindow(v: Vcpu): number {
	v.svm!.vmcb.closeInterruptWindow();
	v.svm!.irqWindow = false;
	makeRequest(v, KVM_REQ.EVENT);
	return interruptWindowOpened(v);
}

function iret(v: Vcpu): number {
	v.svm!.nmiMasked = false;
	v.svm!.vmcb.interceptIret = false;
	makeRequest(v, KVM_REQ.EVENT);
	return 1;
}

/** invlpga_interception(): INVLPG to v6.18, also for a guest whose EFER.SVME is clear. All translations go, as is allowed. */
function invlpga(v: Vcpu): number {
	v.vm.ops.flushTlb(v);
	return kvmSkipEmulatedInstruction(v);
}

function shutdown(v: Vcpu): number {
	v.run.exitReason = KVM_EXIT.SHUTDOWN;
	return 0;
}

const again = () => 1;
const handleMsr: Handler = (v) => (v.svm!.vmcb.exitInfo1Low !== 0 ? kvmEmulateWrmsr(v) : kvmEmulateRdmsr(v));

type Row = readonly [code: number, symbol: string, handler: Handler];

// biome-ignore format: a table
/** svm_exit_handlers: exit code, the handler's symbol, and what it does. */
const ROWS: readonly Row[] = [
	[EXIT_CODE.intr,     "intr_interception",             externalInterrupt],
	[EXIT_CODE.nmi,      "nmi_interception",              nmi],
	[EXIT_CODE.smi,      "smi_interception",              again],
	[EXIT_CODE.vintr,    "interrupt_window_interception", interruptWindow],
	[EXIT_CODE.iret,     "iret_interception",             iret],
	[EXIT_CODE.cpuid,    "kvm_emulate_cpuid",             kvmEmulateCpuid],
	[EXIT_CODE.invd,     "kvm_emulate_invd",              kvmEmulateInvd],
	[EXIT_CODE.hlt,      "kvm_emulate_halt",              kvmEmulateHalt],
	[EXIT_CODE.invlpg,   "invlpg_interception",           kvmSkipEmulatedInstruction],
	[EXIT_CODE.invlpga,  "invlpga_interception",          invlpga],
	[EXIT_CODE.rdpmc,    "kvm_emulate_rdpmc",             kvmEmulateRdpmc],
	[EXIT_CODE.pause,    "pause_interception",            kvmSkipEmulatedInstruction],
	[EXIT_CODE.ioio,     "io_interception",               handleIo],
	[EXIT_CODE.msr,      "msr_interception",              handleMsr],
	[EXIT_CODE.shutdown, "shutdown_interception",         shutdown],
	[EXIT_CODE.vmmcall,  "kvm_emulate_hypercall",         kvmEmulateHypercall],
	[EXIT_CODE.wbinvd,   "kvm_emulate_wbinvd",            kvmEmulateWbinvd],
	[EXIT_CODE.monitor,  "kvm_emulate_monitor",           kvmEmulateAsNop],
	[EXIT_CODE.mwait,    "kvm_emulate_mwait",             kvmEmulateAsNop],
	[EXIT_CODE.xsetbv,   "kvm_emulate_xsetbv",            kvmEmulateXsetbv],
	[EXIT_CODE.npf,      "npf_interception",              handleNpf],
	[EXIT_CODE.vmrun,    "vmrun_interception",            kvmHandleInvalidOp],
	[EXIT_CODE.vmload,   "vmload_interception",           kvmHandleInvalidOp],
	[EXIT_CODE.vmsave,   "vmsave_interception",           kvmHandleInvalidOp],
	[EXIT_CODE.stgi,     "stgi_interception",             kvmHandleInvalidOp],
	[EXIT_CODE.clgi,     "clgi_interception",             kvmHandleInvalidOp],
	[EXIT_CODE.skinit,   "skinit_interception",           kvmHandleInvalidOp],
	[EXIT_CODE.rdtscp,   "kvm_handle_invalid_op",         kvmHandleInvalidOp],
	[EXIT_CODE.invpcid,  "invpcid_interception",          kvmHandleInvalidOp],
	[EXIT_CODE.rdpru,    "kvm_handle_invalid_op",         kvmHandleInvalidOp],
	...Array.from({ length: 32 }, (_, vector): Row =>
		[EXIT_CODE.exceptionBase + vector, EXCEPTION_SYMBOLS.get(vector) ?? "kvm_handle_invalid_op", handleException(vector)]),
	...[0, 2, 3, 4, 8].flatMap((cr): Row[] => [
		[EXIT_CODE.crReadBase + cr,  "cr_interception", handleCr(cr, false)],
		[EXIT_CODE.crWriteBase + cr, "cr_interception", handleCr(cr, true)],
	]),
	// The qualification of a DR access in the VMX form: register, direction, GPR.
	...Array.from({ length: 8 }, (_, dr): Row[] => [
		[EXIT_CODE.drReadBase + dr,  "dr_interception", handleDr(dr | 16)],
		[EXIT_CODE.drWriteBase + dr, "dr_interception", handleDr(dr)],
	]).flat(),
];

/** By exit code. */
const handlers: ReadonlyMap<number, { readonly symbol: number; readonly handle: Handler }> = new Map(
	ROWS.map(([code, name, handle]) => [code, { symbol: symbol(name), handle }]),
);

/**
 * svm_handle_exit().
 * @returns >0 to go on, 0 to leave to user space with `run` filled in
 */
export function svmHandleExit(v: Vcpu): number {
	v.cpu.enter(SVM_HANDLE_EXIT);
	const result = handleExit(v);
	v.cpu.leave();
	return result;
}

function handleExit(v: Vcpu): number {
	const { vmcb } = v.svm!;
	const code = vmcb.exitCode;
	v.cpu.code(20);
	if (code === EXIT_CODE.invalid) {
		v.run.exitReason = KVM_EXIT.FAIL_ENTRY;
		v.run.code = code;
		v.run.message = `VMRUN refused: ${vmcb.failedCheck ?? "VMEXIT_INVALID"}`;
		return 0;
	}
	const handler = handlers.get(code);
	if (handler !== undefined) {
		v.cpu.enter(handler.symbol);
		const result = handler.handle(v);
		v.cpu.leave();
		return result;
	}
	v.run.exitReason = KVM_EXIT.INTERNAL_ERROR;
	v.run.code = INTERNAL_ERROR.UNEXPECTED_EXIT_REASON;
	v.run.message = `unexpected #VMEXIT, code ${v.vm.ops.exitReasonName(code)}`;
	return 0;
}
