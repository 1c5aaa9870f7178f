/** The SVM side of the run loop (arch/x86/kvm/svm/svm.c and vmenter.S, v6.18). */
import { symbol } from "../../silicon/cpu/symbols.ts";
import { rdmsrSpecCtrl, returnFromAssembly, wrmsrDebugctl, wrmsrSpecCtrl } from "../../host/access.ts";
import { HOST_VECTOR } from "../../host/idt.ts";
import { copyBlock } from "../../silicon/cpu/copy.ts";
import * as L from "../../silicon/cpu/layout.ts";
import { OP } from "../../silicon/ops.ts";
import { EXIT_CODE } from "../../silicon/svm/exit-codes.ts";
import { runGuest } from "../../silicon/system/interrupts.ts";
import { beginVmrun, clgi, endVmrun, stgi, vmload, vmsave } from "../../silicon/svm/instructions.ts";
import { type Flow, type Step, call, flow, leave, nothing, step, waitingStep, when } from "../flow/flow.ts";
import { DEBUGREG, FASTPATH, KVM_REQ, KVM_RUN } from "../requests.ts";
import { kvmAfterInterrupt, kvmBeforeInterrupt } from "../x86/handling.ts";
import { traceKvmEntry, traceKvmExit } from "../x86/trace-exit.ts";
import { keepFastpath, loadingCpu, makeRequest, type Vcpu } from "../vcpu.ts";
import { CR8_WRITE } from "./ops.ts";
import { completeInterrupts } from "./events.ts";
import { svmExitHandlersFastpath } from "./fastpath.ts";
import { svmMachineCheckInGuest } from "./machine-check.ts";

const DR6_ACTIVE_LOW = 0xffff_0ff0;

/** Once until the next vcpu_put: VMSAVE of the host's segment state, and what only user space needs. */
const svmPrepareSwitchToGuest = flow("svm_prepare_switch_to_guest", "svm/svm.c", [
	when("guest_state_loaded", (v) => v.svm!.guestStateLoaded, [leave()]),
	step("vmsave(host)", (v) => vmsave(v.cpu, v.svm!.hostVmcb), 8),
	step("kvm_set_user_return_msr(TSC_AUX)", (v) => v.kernel.userReturn.set(v.svm!.tscAux), 8),
	step(
		"guest_state_loaded = true",
		(v) => {
			v.svm!.guestStateLoaded = true;
		},
		1,
	),
]);

// What moves at each run goes in 32-bit words, of which no BigInt is made.
const RAX_WORD = 2 * L.RAX;
const CR2_WORD = L.CR2 >> 2;

/** RAX, RSP, RIP go into the VMCB; a forced immediate exit is a self-IPI that VMRUN takes at once. */
function writeVmcb(v: Vcpu): void {
	const { u32 } = v.svm!.vmcb;
	u32[RAX_WORD] = v.regs32[RAX_WORD]!;
	u32[RAX_WORD + 1] = v.regs32[RAX_WORD + 1]!;
	if ((v.runFlags & KVM_RUN.FORCE_IMMEDIATE_EXIT) !== 0) {
		v.cpu.op(OP.send_ipi);
		v.kernel.apic.raise(HOST_VECTOR.reschedule);
	}
}

function writeCr2(v: Vcpu): void {
	const { u32 } = v.svm!.vmcb;
	u32[CR2_WORD] = v.cr2Words[0]!;
	u32[CR2_WORD + 1] = v.cr2Words[1]!;
}

function readVmcb(v: Vcpu): void {
	const { u32 } = v.svm!.vmcb;
	v.cr2Words[0] = u32[CR2_WORD]!;
	v.cr2Words[1] = u32[CR2_WORD + 1]!;
	v.regs32[RAX_WORD] = u32[RAX_WORD]!;
	v.regs32[RAX_WORD + 1] = u32[RAX_WORD + 1]!;
}

const SVM_VCPU_RUN_ASM = symbol("__svm_vcpu_run");

/** The assembly of __svm_vcpu_run() up to VMRUN. SPEC_CTRL is the hardware's to switch where V_SPEC_CTRL is there. */
function svmLoadGuest(v: Vcpu): void {
	const { cpu } = v;
	const svm = v.svm!;
	cpu.enter(SVM_VCPU_RUN_ASM);
	if (swapsSpecCtrl(v)) wrmsrSpecCtrl(cpu, svm.specCtrl);
	vmload(cpu, svm.vmcb);
	cpu.op(OP.gpr_swap);
	copyBlock(v.regs8, cpu.gprs);
}

function svmVcpuRunAsm(v: Vcpu): void {
	svmLoadGuest(v);
	beginVmrun(v.cpu, v.svm!.vmcb);
}

const swapsSpecCtrl = (v: Vcpu) => !v.cpu.model.features.vSpecCtrl && v.svm!.specCtrl !== v.kernel.specCtrl;

/** What follows the guest's run in the assembly, up to SPEC_CTRL. */
function svmSaveGuest(v: Vcpu): void {
	const { cpu } = v;
	const svm = v.svm!;
	endVmrun(cpu, svm.vmcb);
	copyBlock(cpu.gprs, v.regs8);
	cpu.op(OP.gpr_swap);
	vmsave(cpu, svm.vmcb);
	vmload(cpu, svm.hostVmcb);
	cpu.op(OP.rsb_fill);
}

/** RESTORE_HOST_SPEC_CTRL: the guest's is read if it may have changed, the host's is written if it differs. */
export function svmRestoreHostSpecCtrl(v: Vcpu): void {
	const { cpu } = v;
	const svm = v.svm!;
	if (!cpu.model.features.vSpecCtrl && v.specCtrlNoIntercept) svm.specCtrl = rdmsrSpecCtrl(cpu);
	if (swapsSpecCtrl(v)) wrmsrSpecCtrl(cpu, v.kernel.specCtrl);
}

/** __svm_vcpu_run(). @param restores SPEC_CTRL before it returns (commit 9f2febf3f04d) */
export function svmVcpuRunStep(restores: boolean): Step {
	return waitingStep(
		"__svm_vcpu_run",
		svmVcpuRunAsm,
		{
			isOver: (v) => runGuest(v.cpu),
			end: (v) => {
				svmSaveGuest(v);
				if (restores) svmRestoreHostSpecCtrl(v);
				returnFromAssembly(v.cpu);
				v.cpu.leave();
			},
		},
		20,
	);
}

const rawLocalIrqDisable = (v: Vcpu) => {
	v.cpu.op(OP.cli);
	v.cpu.interruptFlag = false;
};

/** __svm_vcpu_run() as it was up to be45bc4eff33: STI is its last instruction before VMRUN, CLI the first behind it. */
export const svmVcpuRunWithSti: Step = waitingStep(
	"__svm_vcpu_run",
	(v) => {
		svmLoadGuest(v);
		v.cpu.sti();
		beginVmrun(v.cpu, v.svm!.vmcb);
	},
	{
		isOver: (v) => runGuest(v.cpu),
		end: (v) => {
			svmSaveGuest(v);
			rawLocalIrqDisable(v);
			svmRestoreHostSpecCtrl(v);
			returnFromAssembly(v.cpu);
			v.cpu.leave();
		},
	},
	22,
);

const svmVcpuEnterExit = flow("svm_vcpu_enter_exit", "svm/svm.c", [
	step("guest_state_enter_irqoff", (v) => v.kernel.guestContext.stateEnter(), 2),
	// GIF is 0, so nothing arrives; with IF set a host interrupt makes the guest exit (commit be45bc4eff33).
	step("raw_local_irq_enable", (v) => v.cpu.sti(), 1),
	svmVcpuRunStep(true),
	step("raw_local_irq_disable", rawLocalIrqDisable, 1),
	step("guest_state_exit_irqoff", (v) => v.kernel.guestContext.stateExit(), 2),
]);

/** What guest and hypervisor share by hand because LBR virtualization is off (commit 433265870ab3). */
const swapsDebugctl = (v: Vcpu) => {
	const svm = v.svm!;
	return !svm.vmcb.lbrVirtualization && svm.vmcb.debugctl !== v.hostDebugctl;
};

const isNmiExit = (v: Vcpu) => v.svm!.vmcb.exitCode === EXIT_CODE.nmi;

const svmVcpuRun = flow("svm_vcpu_run", "svm/svm.c", [
	step("trace_kvm_entry", traceKvmEntry, 4),
	step("write RAX, RSP, RIP", writeVmcb, 10),
	step("pre_svm_run", nothing, 12),
	step(
		"sync_lapic_to_cr8",
		(v) => {
			if (v.apic !== null) v.svm!.vmcb.vTpr = v.apic.cr8;
		},
		8,
	),
	step("CR2 of the VMCB", writeCr2, 2),
	step(
		"DR6 of the VMCB",
		(v) => {
			if ((v.runFlags & KVM_RUN.LOAD_GUEST_DR6) !== 0) v.svm!.vmcb.dr6 = v.dr6;
			else if ((v.switchDbRegs & DEBUGREG.WONT_EXIT) === 0) v.svm!.vmcb.dr6 = DR6_ACTIVE_LOW;
		},
		4,
	),
	step("clgi", (v) => clgi(v.cpu), 1),
	call("kvm_load_guest_xsave_state"),
	when("DEBUGCTL differs", swapsDebugctl, [
		step("update_debugctlmsr(guest)", (v) => {
			wrmsrDebugctl(v.cpu, v.svm!.vmcb.debugctl);
			v.svm!.debugctlSwapped = true;
		}),
	]),
	step("kvm_wait_lapic_expire", nothing, 5),
	call("svm_vcpu_enter_exit"),
	step("read CR2, RAX, RSP, RIP", readVmcb, 10),
	when("DEBUGCTL was swapped", (v) => v.svm!.debugctlSwapped, [
		step("update_debugctlmsr(host)", (v) => {
			wrmsrDebugctl(v.cpu, v.hostDebugctl);
			v.svm!.debugctlSwapped = false;
		}),
	]),
	call("kvm_load_host_xsave_state"),
	// Its two comparisons are among the instructions of the steps around it.
	when("SVM_EXIT_NMI", isNmiExit, [kvmBeforeInterrupt], [], 0),
	// A pending NMI arrives right behind STGI; interrupts stay pending because IF is 0.
	step(
		"stgi",
		(v) => {
			stgi(v.cpu);
			v.cpu.poll();
		},
		1,
	),
	when("SVM_EXIT_NMI (behind STGI)", isNmiExit, [kvmAfterInterrupt], [], 0),
	step(
		"sync_cr8_to_lapic",
		(v) => {
			const { vmcb } = v.svm!;
			if (v.apic !== null && !vmcb.isIntercepted(CR8_WRITE)) v.apic.cr8 = vmcb.vTpr;
		},
		8,
	),
	step("vmcb_mark_all_clean", nothing, 10),
	svmMachineCheckInGuest,
	step("trace_kvm_exit", (v) => traceKvmExit(v, v.svm!.vmcb.exitCode), 4),
	step("svm_complete_interrupts", completeInterrupts, 12),
	when(
		"SVM_EXIT_ERR",
		(v) => v.svm!.vmcb.exitCode === EXIT_CODE.invalid,
		[leave("EXIT_FASTPATH_NONE (failed entry)", () => FASTPATH.NONE)],
		[],
		2,
	),
	call("svm_exit_handlers_fastpath", keepFastpath),
	leave("exit_fastpath", (v) => v.exitFastpath),
]);

const svmHandleExitIrqoff = flow("svm_handle_exit_irqoff", "svm/svm.c", [
	when("SVM_EXIT_INTR", (v) => v.svm!.vmcb.exitCode === EXIT_CODE.intr, [
		step(
			"at_instruction_boundary = true",
			(v) => {
				v.atInstructionBoundary = true;
			},
			1,
		),
	]),
]);

export const svmFlows: readonly Flow[] = [
	flow("svm_vcpu_pre_run", "svm/svm.c", [step("check", nothing, 4)]),
	flow("svm_vcpu_load", "svm/svm.c", [
		step("current_vmcb->cpu", nothing, 18),
		// pre_svm_run(): a new ASID on another CPU, whose old translations are thereby gone.
		when(
			"current_vmcb->cpu != cpu",
			(v) => v.cpuNumber !== loadingCpu(v),
			[step("new ASID", (v) => makeRequest(v, KVM_REQ.TLB_FLUSH))],
			[],
			2,
		),
	]),
	flow("svm_vcpu_put", "svm/svm.c", [
		step(
			"svm_prepare_host_switch",
			(v) => {
				v.svm!.guestStateLoaded = false;
			},
			20,
		),
	]),
	svmPrepareSwitchToGuest,
	svmVcpuRun,
	svmVcpuEnterExit,
	svmHandleExitIrqoff,
	svmExitHandlersFastpath,
];
