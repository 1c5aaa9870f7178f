/** The VMX side of the run loop (arch/x86/kvm/vmx/vmx.c, vmenter.S and main.c, v6.18). */
import {
	moveToDr,
	rdmsr,
	rdmsrSpecCtrl,
	rdmsrXfdErr,
	rdtsc,
	returnFromAssembly,
	wrmsr,
	wrmsrDebugctl,
	wrmsrSpecCtrl,
} from "../../host/access.ts";
import { HostInvariant } from "../../host/errors.ts";
import { symbol } from "../../silicon/cpu/symbols.ts";
import { VECTOR } from "../../silicon/cpu/fault.ts";
import { copyBlock } from "../../silicon/cpu/copy.ts";
import * as L from "../../silicon/cpu/layout.ts";
import { segmentAt } from "../../silicon/cpu/segments.ts";
import { OP } from "../../silicon/ops.ts";
import { ENTRY_FAILURE, EXIT_REASON, INTR_TYPE, PREEMPTION_TIMER_RATE } from "../../silicon/vmx/controls.ts";
import { beginVmEntry, endVmEntry, VMX_RESULT } from "../../silicon/vmx/entry.ts";
import { runGuest } from "../../silicon/system/interrupts.ts";
import { F } from "../../silicon/vmx/fields.ts";
import { vmclear, vmptrld, vmread32, vmwrite, vmwrite32, vmwriteNumber } from "../../silicon/vmx/vmcs.ts";
import {
	type Flow,
	type Waiting,
	call,
	flow,
	leave,
	nothing,
	step,
	waitingStep,
	when,
} from "../flow/flow.ts";
import { FASTPATH, GUESTDBG, KVM_REQ, KVM_RUN } from "../requests.ts";
import { kvmAfterInterrupt, kvmBeforeInterrupt } from "../x86/handling.ts";
import { traceKvmEntry, traceKvmExit } from "../x86/trace-exit.ts";
import { keepFastpath, loadingCpu, makeRequest, type Vcpu } from "../vcpu.ts";
import { atomicSwitchPerfMsrs } from "./atomic-switch.ts";
import { completeInterrupts, recoverNmiBlocking } from "./events.ts";
import { vmxFastpathFlows } from "./fastpath.ts";
import { loadGuestUserReturnMsrs, reloadGuestDebugctl } from "./ops.ts";
import { toVmx } from "./vmx-vcpu.ts";
import { isTd, kvmMachineCheck, vmxMachineCheckOnEntry } from "./machine-check.ts";

const VMX_DO_INTERRUPT = symbol("vmx_do_interrupt_irqoff");
const VMX_DO_NMI = symbol("vmx_do_nmi_irqoff");
const VMX_VCPU_RUN_ASM = symbol("__vmx_vcpu_run");
/** The label in vmenter.S at which the processor goes on behind a VM exit. */
const VMX_VMEXIT = symbol("vmx_vmexit");
/** On each side of the entry: 16 loads, or stores and XORs of all registers, and what is around them. Their time is `gpr_swap`'s. */
const ASM_INSTRUCTIONS = 50;
const SPEC_CTRL_RESTORE_HOST = symbol("vmx_spec_ctrl_restore_host");

/** Whether the exit is an exception or NMI of this vector. */
function isException(v: Vcpu, vector: number): boolean {
	return v.vt.exitReason === EXIT_REASON.exceptionOrNmi && (v.vt.exitIntrInfo & 0xff) === vector;
}

/** is_nmi(): by type, since vector 2 may also be INT 2. */
export function isNmi(v: Vcpu): boolean {
	return v.vt.exitReason === EXIT_REASON.exceptionOrNmi && ((v.vt.exitIntrInfo >>> 8) & 7) === INTR_TYPE.nmi;
}

/** vmx_handle_nmi(): the host's handler, before anything else can be interrupted. */
export function handleNmi(v: Vcpu): void {
	kvmBeforeInterrupt.run(v);
	v.cpu.enter(VMX_DO_NMI);
	v.kernel.nmi(v.cpu);
	// The handler's IRET ends the blocking that the exit left behind.
	v.cpu.nmiBlocked = false;
	v.cpu.leave();
	kvmAfterInterrupt.run(v);
}

/** handle_external_interrupt_irqoff(): the handler of the vector that the processor acknowledged at VM exit. */
function handleExternalInterrupt(v: Vcpu): void {
	kvmBeforeInterrupt.run(v);
	v.cpu.enter(VMX_DO_INTERRUPT);
	v.kernel.interrupt(v.cpu, v.vt.exitIntrInfo & 0xff);
	v.cpu.leave();
	kvmAfterInterrupt.run(v);
	v.atInstructionBoundary = true;
}

/** vmx_update_hv_timer(). */
function updateHvTimer(v: Vcpu): void {
	const vmx = toVmx(v);
	const { vmcs } = vmx;
	if (v.reqImmediateExit || (v.runFlags & KVM_RUN.FORCE_IMMEDIATE_EXIT) !== 0) {
		vmwrite32(v.cpu, vmcs, F.VMX_PREEMPTION_TIMER_VALUE, 0);
		vmx.hvTimerSoftDisabled = false;
	} else if (vmx.hvDeadlineTsc >= 0) {
		const left = vmx.hvDeadlineTsc - (rdtsc(v.cpu) + v.tscOffset);
		const units = left > 0 ? Math.min(Math.floor(left / 2 ** PREEMPTION_TIMER_RATE), 0xffffffff) : 0;
		vmwrite32(v.cpu, vmcs, F.VMX_PREEMPTION_TIMER_VALUE, units);
		vmx.hvTimerSoftDisabled = false;
	} else if (!vmx.hvTimerSoftDisabled) {
		vmwrite32(v.cpu, vmcs, F.VMX_PREEMPTION_TIMER_VALUE, 0xffffffff);
		vmx.hvTimerSoftDisabled = true;
	}
}

/** loaded_vmcs_clear(): the CPU that has the VMCS lets it go, on an IPI; it is launched anew on the next. */
function loadedVmcsClear(v: Vcpu): void {
	if (v.loadedOn === null) return;
	vmclear(v.loadedOn, toVmx(v).vmcs);
	toVmx(v).launched = false;
}

/** vmcs_load(). A VMCS that is active on two processors gets lost on both (SDM Vol. 3C, 25.1). */
function vmcsLoad(v: Vcpu): void {
	const { cpu } = v;
	const { vmcs } = toVmx(v);
	if (vmcs.activeOn >= 0 && vmcs.activeOn !== cpu.number)
		throw new HostInvariant("VMPTRLD of a VMCS that is active on another processor");
	vmptrld(cpu, vmcs);
}

/** The assembly of __vmx_vcpu_run(): GPRs and SPEC_CTRL around VMLAUNCH or VMRESUME. */
function vmxVcpuRunAsm(v: Vcpu): void {
	const { cpu } = v;
	const vmx = toVmx(v);
	cpu.enter(VMX_VCPU_RUN_ASM);
	if (vmx.specCtrl !== v.kernel.specCtrl) wrmsrSpecCtrl(cpu, vmx.specCtrl);
	cpu.op(OP.gpr_swap);
	cpu.firstLevel?.run(cpu, ASM_INSTRUCTIONS);
	copyBlock(v.regs8, cpu.gprs);
	if (cpu.currentVmcs !== vmx.vmcs) throw new HostInvariant("VM entry while another VMCS is current");
	if (vmx.vmcs.activeOn !== cpu.number)
		throw new HostInvariant("VM entry with a VMCS that is not active here");
	vmx.entryResult = beginVmEntry(cpu, vmx.vmcs, vmx.launched);
}

/** What follows the guest's run in the assembly. */
const vmxVcpuRunAsmEnd: Waiting = {
	isOver: (v) => toVmx(v).entryResult !== VMX_RESULT.entered || runGuest(v.cpu),
	end: (v) => {
		const { cpu } = v;
		const vmx = toVmx(v);
		vmx.fail = endVmEntry(cpu, vmx.vmcs, vmx.entryResult) !== VMX_RESULT.exit;
		cpu.leave();
		cpu.enter(VMX_VMEXIT);
		copyBlock(cpu.gprs, v.regs8);
		cpu.op(OP.gpr_swap);
		cpu.firstLevel?.run(cpu, ASM_INSTRUCTIONS);
		cpu.op(OP.rsb_fill);
		cpu.enter(SPEC_CTRL_RESTORE_HOST);
		// The guest has written it without exits since its first value other than 0.
		if (v.specCtrlNoIntercept) vmx.specCtrl = rdmsrSpecCtrl(cpu);
		if (vmx.specCtrl !== v.kernel.specCtrl) wrmsrSpecCtrl(cpu, v.kernel.specCtrl);
		cpu.leave();
		returnFromAssembly(cpu);
		cpu.leave();
	},
};

/** CR2 is switched by nobody else: the guest's page faults leave it behind, the host's would overwrite it. */
function loadCr2(v: Vcpu): void {
	const { cpu, cr2Words } = v;
	cpu.op(OP.mov_from_cr);
	if (cpu.read32(L.CR2) !== cr2Words[0] || cpu.read32(L.CR2 + 4) !== cr2Words[1]) {
		cpu.op(OP.mov_to_cr);
		cpu.write32(L.CR2, cr2Words[0]!);
		cpu.write32(L.CR2 + 4, cr2Words[1]!);
	}
}

function saveCr2(v: Vcpu): void {
	const { cpu, cr2Words } = v;
	cpu.op(OP.mov_from_cr);
	cr2Words[0] = cpu.read32(L.CR2);
	cr2Words[1] = cpu.read32(L.CR2 + 4);
}

function readExit(v: Vcpu): void {
	const vmx = toVmx(v);
	if (vmx.fail) {
		v.vt.exitReason = 0xdead;
		return;
	}
	v.vt.exitReason = vmread32(v.cpu, vmx.vmcs, F.VM_EXIT_REASON);
	vmx.idtVectoringInfo = 0;
	v.vt.exitIntrInfo = 0;
	if ((v.vt.exitReason & ENTRY_FAILURE) !== 0) return;
	vmx.idtVectoringInfo = vmread32(v.cpu, vmx.vmcs, F.IDT_VECTORING_INFO_FIELD);
	if (v.vt.exitReason <= EXIT_REASON.externalInterrupt) {
		v.vt.exitIntrInfo = vmread32(v.cpu, vmx.vmcs, F.VM_EXIT_INTR_INFO);
	}
}

const vmxVcpuEnterExit = flow("vmx_vcpu_enter_exit", "vmx/vmx.c", [
	step("guest_state_enter_irqoff", (v) => v.kernel.guestContext.stateEnter(), 2),
	step("load CR2", loadCr2, 3),
	waitingStep("__vmx_vcpu_run", vmxVcpuRunAsm, vmxVcpuRunAsmEnd, 24),
	step("save CR2", saveCr2, 4),
	step("read exit reason", readExit, 6),
	when("is_nmi", isNmi, [step("vmx_handle_nmi", handleNmi)], [], 2),
	step("guest_state_exit_irqoff", (v) => v.kernel.guestContext.stateExit(), 2),
]);

const vmxVcpuRun = flow("vmx_vcpu_run", "vmx/vmx.c", [
	step("trace_kvm_entry", traceKvmEntry, 4),
	step("write RSP and RIP", nothing, 6),
	when("KVM_RUN_LOAD_GUEST_DR6", (v) => (v.runFlags & KVM_RUN.LOAD_GUEST_DR6) !== 0, [
		step("DR6 = guest", (v) => moveToDr(v.cpu, L.DR6, v.dr6)),
	]),
	when("KVM_RUN_LOAD_DEBUGCTL", (v) => (v.runFlags & KVM_RUN.LOAD_DEBUGCTL) !== 0, [
		step("vmx_reload_guest_debugctl", reloadGuestDebugctl),
	]),
	step("refresh HOST_CR3", refreshHostCr3, 6),
	step("refresh HOST_CR4", refreshHostCr4, 4),
	when(
		"KVM_GUESTDBG_SINGLESTEP",
		(v) => (v.guestDebug & GUESTDBG.SINGLESTEP) !== 0,
		[step("vmx_set_interrupt_shadow(0)", (v) => v.vm.ops.setInterruptShadow(v, 0))],
		[],
		1,
	),
	call("kvm_load_guest_xsave_state"),
	step("pt_guest_enter, atomic_switch_perf_msrs", atomicSwitchPerfMsrs, 12),
	step("vmx_update_hv_timer", updateHvTimer, 8),
	step("kvm_wait_lapic_expire", nothing, 5),
	call("vmx_vcpu_enter_exit"),
	when("host_debugctl", (v) => v.hostDebugctl !== 0, [
		step("update_debugctlmsr(host)", (v) => wrmsrDebugctl(v.cpu, v.hostDebugctl)),
	]),
	step("pt_guest_exit", nothing, 3),
	call("kvm_load_host_xsave_state"),
	when("vmx->fail", (v) => toVmx(v).fail, [leave("EXIT_FASTPATH_NONE (VMfail)", () => FASTPATH.NONE)], [], 2),
	vmxMachineCheckOnEntry(),
	step("trace_kvm_exit", (v) => traceKvmExit(v, v.vt.exitReason & 0xffff), 4),
	when(
		"VM entry failed",
		(v) => (v.vt.exitReason & ENTRY_FAILURE) !== 0,
		[leave("EXIT_FASTPATH_NONE (failed entry)", () => FASTPATH.NONE)],
		[],
		2,
	),
	step(
		"launched = true",
		(v) => {
			toVmx(v).launched = true;
		},
		1,
	),
	step("vmx_recover_nmi_blocking", recoverNmiBlocking, 5),
	step("vmx_complete_interrupts", completeInterrupts, 8),
	call("vmx_exit_handlers_fastpath", keepFastpath),
	leave("exit_fastpath", (v) => v.exitFastpath),
]);

/** HOST_CR3 as of now: CR3 can change between prepare_switch_to_guest and here (commit 1a71581012dd). */
export function refreshHostCr3(v: Vcpu): void {
	const vmx = toVmx(v);
	const cr3 = v.cpu.readNumber(L.CR3);
	if (cr3 === vmx.hostCr3) return;
	vmwriteNumber(v.cpu, vmx.vmcs, F.HOST_CR3, cr3);
	vmx.hostCr3 = cr3;
}

function refreshHostCr4(v: Vcpu): void {
	const vmx = toVmx(v);
	const cr4 = v.cpu.readNumber(L.CR4);
	if (cr4 === vmx.hostCr4) return;
	vmwriteNumber(v.cpu, vmx.vmcs, F.HOST_CR4, cr4);
	vmx.hostCr4 = cr4;
}

/** is_xfd_nm_fault(): XFD has made the #NM, not CR0.TS. */
const isXfdNmFault = (v: Vcpu): boolean => isException(v, VECTOR.NM) && v.guestFpu.xfd !== 0;

const vmxHandleExitIrqoff = flow("vmx_handle_exit_irqoff", "vmx/vmx.c", [
	when("EXTERNAL_INTERRUPT", (v) => v.vt.exitReason === EXIT_REASON.externalInterrupt, [
		step("handle_external_interrupt_irqoff", handleExternalInterrupt, 6),
	]),
	when("EXCEPTION_NMI: #NM", isXfdNmFault, [
		step("RDMSR(XFD_ERR)", (v) => {
			v.xfdErr = rdmsrXfdErr(v.cpu);
		}),
	]),
	when("EXCEPTION_NMI: #MC", (v) => isException(v, VECTOR.MC), [step("kvm_machine_check", kvmMachineCheck)]),
]);

const FS_BASE = segmentAt(L.FS) + L.SEG_BASE;

/** vmx_set_host_fs_gs(): what VM exit loads, if it is not in the VMCS already. */
function setHostFsGs(v: Vcpu): void {
	const { cpu } = v;
	const vmx = toVmx(v);
	const { fsBase } = v.kernel.current;
	if (fsBase !== vmx.hostFsBase) {
		vmwrite(cpu, vmx.vmcs, F.HOST_FS_BASE, fsBase);
		vmx.hostFsBase = fsBase;
	}
	const { gsBase } = v.kernel;
	if (gsBase !== vmx.hostGsBase) {
		vmwrite(cpu, vmx.vmcs, F.HOST_GS_BASE, gsBase);
		vmx.hostGsBase = gsBase;
	}
}

/** Once until the next vcpu_put: the MSRs and bases that only user space needs. */
const vmxPrepareSwitchToGuest = flow("vmx_prepare_switch_to_guest", "vmx/vmx.c", [
	when("!guest_uret_msrs_loaded", (v) => !toVmx(v).guestUretMsrsLoaded, [
		step("kvm_set_user_return_msr", loadGuestUserReturnMsrs, 20),
	]),
	when("guest_state_loaded", (v) => toVmx(v).guestStateLoaded, [leave()]),
	step(
		"current_save_fsgs",
		(v) => {
			v.cpu.op(OP.swap_segment_base);
			v.kernel.current.fsBase = v.cpu.read64(FS_BASE);
			v.kernel.current.gsBase = v.cpu.read64(L.KERNEL_GS_BASE);
			toVmx(v).hostKernelGsBase = v.kernel.current.gsBase;
		},
		12,
	),
	step("WRMSR(guest KERNEL_GS_BASE)", (v) => wrmsr(v.cpu, L.KERNEL_GS_BASE, toVmx(v).guestKernelGsBase), 4),
	step("vmx_set_host_fs_gs", setHostFsGs, 12),
	step(
		"guest_state_loaded = true",
		(v) => {
			toVmx(v).guestStateLoaded = true;
		},
		1,
	),
]);

const vmxPrepareSwitchToHost = flow("vmx_prepare_switch_to_host", "vmx/vmx.c", [
	when("!guest_state_loaded", (v) => !toVmx(v).guestStateLoaded, [leave()]),
	step(
		"RDMSR(guest KERNEL_GS_BASE)",
		(v) => {
			toVmx(v).guestKernelGsBase = rdmsr(v.cpu, L.KERNEL_GS_BASE);
		},
		4,
	),
	step("WRMSR(host KERNEL_GS_BASE)", (v) => wrmsr(v.cpu, L.KERNEL_GS_BASE, toVmx(v).hostKernelGsBase), 4),
	step(
		"guest_state_loaded = false",
		(v) => {
			toVmx(v).guestStateLoaded = false;
			toVmx(v).guestUretMsrsLoaded = false;
		},
		2,
	),
]);

export const vmxFlows: readonly Flow[] = [
	flow("vt_vcpu_pre_run", "vmx/main.c", [step("is_td_vcpu or vmx", nothing, 4)]),
	flow("vt_prepare_switch_to_guest", "vmx/main.c", [
		when("is_td_vcpu", isTd, [call("tdx_prepare_switch_to_guest"), leave()]),
		call("vmx_prepare_switch_to_guest"),
	]),
	vmxPrepareSwitchToGuest,
	vmxPrepareSwitchToHost,
	flow("vt_vcpu_load", "vmx/main.c", [
		when("is_td_vcpu", isTd, [call("tdx_vcpu_load"), leave()]),
		call("vmx_vcpu_load"),
	]),
	flow("vmx_vcpu_load", "vmx/vmx.c", [
		when(
			"!already_loaded",
			(v) => v.cpuNumber !== loadingCpu(v),
			[
				step("loaded_vmcs_clear", loadedVmcsClear, 10),
				step("KVM_REQ_TLB_FLUSH", (v) => makeRequest(v, KVM_REQ.TLB_FLUSH)),
			],
			[],
			2,
		),
		step("vmcs_load", vmcsLoad, 18),
	]),
	flow("vt_vcpu_put", "vmx/main.c", [
		when("is_td_vcpu", isTd, [call("tdx_vcpu_put"), leave()]),
		call("vmx_vcpu_put"),
	]),
	flow("vmx_vcpu_put", "vmx/vmx.c", [call("vmx_prepare_switch_to_host")]),
	flow("vt_vcpu_run", "vmx/main.c", [
		when("is_td_vcpu", isTd, [
			call("tdx_vcpu_run", keepFastpath),
			leave("tdx_vcpu_run()", (v) => v.exitFastpath),
		]),
		call("vmx_vcpu_run", keepFastpath),
		leave("vmx_vcpu_run()", (v) => v.exitFastpath),
	]),
	vmxVcpuRun,
	vmxVcpuEnterExit,
	vmxHandleExitIrqoff,
	...vmxFastpathFlows,
];
