/** The TDX side of the run loop (arch/x86/kvm/vmx/tdx.c, v6.18). The TDX module runs the TD; KVM enters it. */
import { wrmsr, wrmsrDebugctl, wrmsrXss, writePkru, xsetbv } from "../../host/access.ts";
import { HostInvariant } from "../../host/errors.ts";
import * as L from "../../silicon/cpu/layout.ts";
import { OP } from "../../silicon/ops.ts";
import { TDX_MODULE_USER_RETURN_MSRS, TDX_PRESERVED_DEBUGCTL, TDX_STATUS } from "../../silicon/tdx/module.ts";
import { tdhVpEnter, tdhVpFlush } from "../../silicon/tdx/tdh-vp-enter.ts";
import { ENTRY_FAILURE } from "../../silicon/vmx/controls.ts";
import { type Flow, call, flow, leave, nothing, step, when } from "../flow/flow.ts";
import { FASTPATH } from "../requests.ts";
import { loadingCpu, type Vcpu } from "../vcpu.ts";
import { handleNmi, isNmi } from "../vmx/flows.ts";
import { vmxMachineCheckOnEntry } from "../vmx/machine-check.ts";
import { traceKvmEntry, traceKvmExit } from "../x86/trace-exit.ts";
import { toTdx } from "./tdx-vcpu.ts";
import { NO_EXIT_REASON, tdxToVmxExitReason } from "./exit-reason.ts";
import { tdxNotifySelf } from "./interrupts.ts";

/** TDX_SW_ERROR's upper half: the SEAMCALL itself faulted or found no module. */
const TDX_SW_ERROR = 0x8000_ff00;

const tdxPrepareSwitchToGuest = flow("tdx_prepare_switch_to_guest", "vmx/tdx.c", [
	when("guest_state_loaded", (v) => toTdx(v).guestStateLoaded, [leave()]),
	// User space's GS base, which the kernel knows without reading the MSR.
	step(
		"msr_host_kernel_gs_base",
		(v) => {
			toTdx(v).hostKernelGsBase = v.kernel.current.gsBase;
		},
		4,
	),
	step(
		"guest_state_loaded = true",
		(v) => {
			toTdx(v).guestStateLoaded = true;
		},
		1,
	),
	// What the module leaves behind, written before it runs, so that it does not matter whether it will (c0711f8c610e).
	step("kvm_set_user_return_msr", (v) => v.kernel.userReturn.set(TDX_MODULE_USER_RETURN_MSRS), 40),
]);

const tdxPrepareSwitchToHost = flow("tdx_prepare_switch_to_host", "vmx/tdx.c", [
	when("!guest_state_loaded", (v) => !toTdx(v).guestStateLoaded, [leave()]),
	// TDH.VP.ENTER leaves 0 there.
	step("WRMSR(host KERNEL_GS_BASE)", (v) => wrmsr(v.cpu, L.KERNEL_GS_BASE, toTdx(v).hostKernelGsBase), 30),
	step(
		"guest_state_loaded = false",
		(v) => {
			toTdx(v).guestStateLoaded = false;
		},
		1,
	),
]);

function warnOnRunFlags(v: Vcpu): void {
	if (v.runFlags !== 0) throw new HostInvariant(`WARN_ON_ONCE(run_flags): 0x${v.runFlags.toString(16)}`);
}

/** SEAMCALL(TDH.VP.ENTER), and the exit in VMX's terms. */
function tdhVpEnterStep(v: Vcpu): void {
	const tdx = toTdx(v);
	v.cpu.op(OP.gpr_swap);
	tdx.status = tdhVpEnter(v.cpu, tdx.td, v.regs);
	v.cpu.op(OP.gpr_swap);
	v.vt.exitReason = tdxToVmxExitReason(v, tdx.status, tdx.td.exitReason);
	v.vt.exitIntrInfo = tdx.td.exitIntrInfo;
	v.vt.exitQualification = tdx.td.exitQualification;
}

/** tdx_flush_vp_on_cpu(): the CPU that ran the TD's vCPU last lets it go, on an IPI. */
function tdxFlushVpOnCpu(v: Vcpu): void {
	tdhVpFlush(toTdx(v).td);
}

const hostXcr0Lost = (v: Vcpu) => v.kernel.xcr0 !== (toTdx(v).td.xfam & v.cpu.model.features.xcr0);
const hostXssLost = (v: Vcpu) => v.kernel.xss !== (toTdx(v).td.xfam & v.cpu.model.features.xss);

export const tdxFlows: readonly Flow[] = [
	flow("tdx_vcpu_load", "vmx/tdx.c", [
		step("vmx_vcpu_pi_load", nothing, 18),
		when(
			"vcpu->cpu != cpu",
			(v) => v.cpuNumber !== loadingCpu(v),
			[step("tdx_flush_vp_on_cpu", tdxFlushVpOnCpu, 6), step("associated_tdvcpus", nothing, 12)],
			[],
			2,
		),
	]),
	flow("tdx_vcpu_put", "vmx/tdx.c", [call("tdx_prepare_switch_to_host")]),
	tdxPrepareSwitchToGuest,
	tdxPrepareSwitchToHost,
	flow("tdx_load_host_xsave_state", "vmx/tdx.c", [
		when("host PKRU", (v) => v.cpu.model.features.pku && v.hostPkru !== 0, [
			step("WRPKRU(host)", (v) => writePkru(v.cpu, v.hostPkru), 3),
		]),
		when("host XCR0 differs from XFAM", hostXcr0Lost, [
			step("XSETBV(host XCR0)", (v) => xsetbv(v.cpu, v.kernel.xcr0), 3),
		]),
		when("host XSS differs from XFAM", hostXssLost, [
			step("WRMSR(host IA32_XSS)", (v) => wrmsrXss(v.cpu, v.kernel.xss), 3),
		]),
	]),
	flow("tdx_vcpu_enter_exit", "vmx/tdx.c", [
		step("guest_state_enter_irqoff", (v) => v.kernel.guestContext.stateEnter(), 2),
		step("tdh_vp_enter", tdhVpEnterStep, 20),
		when("is_nmi", isNmi, [step("vmx_handle_nmi", handleNmi)], [], 2),
		step("guest_state_exit_irqoff", (v) => v.kernel.guestContext.stateExit(), 2),
	]),
	flow("tdx_vcpu_run", "vmx/tdx.c", [
		step("trace_kvm_entry", traceKvmEntry, 4),
		// KVM never needs an immediate exit of a TD, and cannot inject into one; nothing else is a flag for it.
		step("WARN_ON_ONCE(run_flags)", warnOnRunFlags, 1),
		step("pi_test_on", tdxNotifySelf, 3),
		call("tdx_vcpu_enter_exit"),
		when("host_debugctl", (v) => (v.hostDebugctl & ~TDX_PRESERVED_DEBUGCTL) !== 0, [
			step("update_debugctlmsr(host)", (v) => wrmsrDebugctl(v.cpu, v.hostDebugctl)),
		]),
		call("tdx_load_host_xsave_state"),
		when(
			"TDX_SW_ERROR",
			(v) => (toTdx(v).status & TDX_SW_ERROR) >>> 0 === TDX_SW_ERROR,
			[leave("EXIT_FASTPATH_NONE (error)", () => FASTPATH.NONE)],
			[],
			4,
		),
		vmxMachineCheckOnEntry(),
		step("trace_kvm_exit", (v) => traceKvmExit(v, v.vt.exitReason & 0xffff), 4),
		when(
			"TD entry failed",
			(v) => (v.vt.exitReason & ENTRY_FAILURE) !== 0 && v.vt.exitReason !== NO_EXIT_REASON,
			[leave("EXIT_FASTPATH_NONE (failed entry)", () => FASTPATH.NONE)],
			[],
			2,
		),
		leave("tdx_exit_handlers_fastpath", (v) =>
			toTdx(v).status === TDX_STATUS.operandBusy ? FASTPATH.EXIT_HANDLED : FASTPATH.NONE,
		),
	]),
];
