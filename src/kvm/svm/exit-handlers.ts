/** SVM exits that leave the fastpath: svm_exit_handlers (arch/x86/kvm/svm/svm.c, v6.18). */
import { symbol } from "../../silicon/cpu/cpu.ts";
import { DR6_RESERVED } from "../../host/hw-breakpoint.ts";
import { VECTOR } from "../../silicon/cpu/fault.ts";
import { EXIT_CODE } from "../../silicon/svm/exit-codes.ts";
import { kvmEmulateCrAccess, kvmEmulateXsetbv } from "../emulate/control.ts";
import { kvmEmulateCpuid } from "../emulate/cpuid.ts";
import { kvmEmulateDrAccess, kvmPassDebugRegisters, kvmQueueDebug } from "../emulate/debug.ts";
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
			// The processor has written DR6 already; what KVM loaded there had nothing set.
			kvmQueueDebug(v, (v.svm!.vmcb.dr6 ^ DR6_RESERVED) >>> 0);
			return 1;
		};
	}
	return (v) => {
		const { vmcb } = v.svm!;
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
		if (!v.guestDebug) {
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
	if (v.vm.mmu.pageFault(v, vmcb.exitInfo2, (error & 2) !== 0, (error & 16) !== 0) === "fixed") return 1;
	v.cr3 = vmcb.cr3;
	return emulateMmio(v, vmcb.exitInfo2);
}

const SVM_HANDLE_EXIT = symbol("svm_handle_exit");

// biome-ignore format: a table
/** Names in svm_exit_handlers, by exit code. */
const HANDLER_SYMBOLS: ReadonlyMap<number, number> = new Map(([
	[EXIT_CODE.intr,   "intr_interception"],
	[EXIT_CODE.nmi,    "nmi_interception"],
	[EXIT_CODE.vintr,  "interrupt_window_interception"],
	[EXIT_CODE.iret,   "iret_interception"],
	[EXIT_CODE.cpuid,  "kvm_emulate_cpuid"],
	[EXIT_CODE.invd,   "kvm_emulate_invd"],
	[EXIT_CODE.hlt,    "kvm_emulate_halt"],
	[EXIT_CODE.invlpg, "invlpg_interception"],
	[EXIT_CODE.rdpmc,  "kvm_emulate_rdpmc"],
	[EXIT_CODE.pause,  "pause_interception"],
	[EXIT_CODE.ioio,   "io_interception"],
	[EXIT_CODE.msr,    "msr_interception"],
	[EXIT_CODE.vmmcall, "kvm_emulate_hypercall"],
	[EXIT_CODE.wbinvd, "kvm_emulate_wbinvd"],
	[EXIT_CODE.xsetbv, "kvm_emulate_xsetbv"],
	[EXIT_CODE.npf,    "npf_interception"],
] as const).map(([code, name]) => [code, symbol(name)]));
const OTHER_HANDLER = symbol("kvm_handle_invalid_op");

const handlers: ReadonlyMap<number, Handler> = (() => {
	const table = new Map<number, Handler>();
	for (let vector = 0; vector < 32; vector++)
		table.set(EXIT_CODE.exceptionBase + vector, handleException(vector));
	for (const cr of [0, 2, 3, 4, 8]) {
		table.set(cr, handleCr(cr, false));
		table.set(0x10 + cr, handleCr(cr, true));
	}
	for (let dr = 0; dr < 8; dr++) {
		// The qualification of a DR access in the VMX form: register, direction, GPR.
		table.set(0x20 + dr, handleDr(dr | 16));
		table.set(0x30 + dr, handleDr(dr));
	}
	table.set(EXIT_CODE.intr, (v) => {
		v.stat.irqExits++;
		return 1;
	});
	table.set(EXIT_CODE.nmi, (v) => {
		v.stat.nmiExits++;
		return 1;
	});
	table.set(EXIT_CODE.smi, () => 1);
	table.set(EXIT_CODE.vintr, (v) => {
		v.svm!.vmcb.closeInterruptWindow();
		v.svm!.irqWindow = false;
		makeRequest(v, KVM_REQ.EVENT);
		return interruptWindowOpened(v);
	});
	table.set(EXIT_CODE.iret, (v) => {
		v.svm!.nmiMasked = false;
		v.svm!.vmcb.interceptIret = false;
		makeRequest(v, KVM_REQ.EVENT);
		return 1;
	});
	table.set(EXIT_CODE.cpuid, kvmEmulateCpuid);
	table.set(EXIT_CODE.invd, kvmEmulateInvd);
	table.set(EXIT_CODE.hlt, kvmEmulateHalt);
	table.set(EXIT_CODE.invlpg, kvmSkipEmulatedInstruction);
	table.set(EXIT_CODE.rdpmc, kvmEmulateRdpmc);
	table.set(EXIT_CODE.pause, kvmSkipEmulatedInstruction);
	table.set(EXIT_CODE.ioio, handleIo);
	table.set(EXIT_CODE.msr, (v) => (v.svm!.vmcb.exitInfo1Low !== 0 ? kvmEmulateWrmsr(v) : kvmEmulateRdmsr(v)));
	table.set(EXIT_CODE.shutdown, (v) => {
		v.run.exitReason = KVM_EXIT.SHUTDOWN;
		return 0;
	});
	table.set(EXIT_CODE.vmmcall, kvmEmulateHypercall);
	table.set(EXIT_CODE.wbinvd, kvmEmulateWbinvd);
	table.set(EXIT_CODE.monitor, kvmEmulateAsNop);
	table.set(EXIT_CODE.mwait, kvmEmulateAsNop);
	table.set(EXIT_CODE.xsetbv, kvmEmulateXsetbv);
	table.set(EXIT_CODE.npf, handleNpf);
	for (const code of [
		EXIT_CODE.vmrun,
		EXIT_CODE.vmload,
		EXIT_CODE.vmsave,
		EXIT_CODE.stgi,
		EXIT_CODE.clgi,
		EXIT_CODE.skinit,
		EXIT_CODE.rdtscp,
		EXIT_CODE.invpcid,
		EXIT_CODE.rdpru,
	]) {
		table.set(code, kvmHandleInvalidOp);
	}
	return table;
})();

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
		v.cpu.enter(HANDLER_SYMBOLS.get(code) ?? OTHER_HANDLER);
		const result = handler(v);
		v.cpu.leave();
		return result;
	}
	v.run.exitReason = KVM_EXIT.INTERNAL_ERROR;
	v.run.code = INTERNAL_ERROR.UNEXPECTED_EXIT_REASON;
	v.run.message = `unexpected #VMEXIT, code ${v.vm.ops.exitReasonName(code)}`;
	return 0;
}
