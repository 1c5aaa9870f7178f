/**
 * vcpu_enter_guest() of v6.18: one passage through the guest, with the fastpath loop inside
 * (arch/x86/kvm/x86.c; the order of steps is that of docs/run-loop.md).
 */
import { moveToDr, rdmsrDebugctl, rdmsrXfd, rdtsc, wrmsrXfdErr } from "../../host/access.ts";
import { symbol } from "../../silicon/cpu/symbols.ts";
import * as L from "../../silicon/cpu/layout.ts";
import { DR7_FIXED_1 } from "../../host/hw-breakpoint.ts";
import { OP } from "../../silicon/ops.ts";
import { type Node, breakFrom, callOp, flow, leave, loop, nothing, step, when } from "../flow/flow.ts";
import { kvmUpdateDr0123, kvmUpdateDr7 } from "../emulate/debug.ts";
import { DEBUGREG, FASTPATH, KVM_EXIT, KVM_REQ, KVM_RUN, MP_STATE, VCPU_MODE } from "../requests.ts";
import { type Vcpu, checkRequest, keepFastpath, makeRequest } from "../vcpu.ts";
import { cancelInjection, checkAndInjectEvents, processNmi } from "./events.ts";
import { handleExit } from "./exits.ts";
import { kvmAfterInterrupt, kvmBeforeInterrupt } from "./handling.ts";
import { countReentry } from "./trace-exit.ts";
import { srcuReadLock, srcuReadUnlock } from "./srcu.ts";
import { xferToGuestModeWorkPending } from "./work.ts";

/** Other CPUs go by vcpu->mode when they decide whether to send an IPI: what they do falls before or behind the store. */
function setMode(v: Vcpu, mode: number): void {
	v.cpu.op(OP.vcpu_mode);
	v.mode = mode;
}

/** kvm_vcpu_exit_request(). */
export function exitRequest(v: Vcpu): boolean {
	return v.mode === VCPU_MODE.EXITING_GUEST_MODE || v.requests !== 0 || xferToGuestModeWorkPending(v);
}

const lapicEnabled = (v: Vcpu) => v.apic !== null;
const VMX_SYNC_PIR_TO_IRR = symbol("vmx_sync_pir_to_irr");
const syncPirToIrr = (v: Vcpu) => {
	v.cpu.enter(VMX_SYNC_PIR_TO_IRR);
	v.cpu.code(6);
	v.vm.ops.syncPirToIrr?.(v);
	v.cpu.leave();
};

/** Requests that this model serves, in the order of the kernel's list. KVM_REQ_UNBLOCK is vcpu_run()'s, behind a bail-out. */
function serveRequests(v: Vcpu): void {
	if (checkRequest(v, KVM_REQ.MIGRATE_TIMER)) v.apic?.timer.migrate();
	checkRequest(v, KVM_REQ.CLOCK_UPDATE);
	checkRequest(v, KVM_REQ.LOAD_MMU_PGD);
	if (checkRequest(v, KVM_REQ.TLB_FLUSH)) v.vm.ops.flushTlb(v);
	if (checkRequest(v, KVM_REQ.NMI)) processNmi(v);
	if (checkRequest(v, KVM_REQ.LOAD_EOI_EXITMAP)) v.vm.ops.loadEoiExitmap?.(v);
	checkRequest(v, KVM_REQ.OUTSIDE_GUEST_MODE);
}

/** update_cr8_intercept(): whether the guest's writes of CR8 matter to KVM. */
function updateCr8Intercept(v: Vcpu): void {
	if (v.apic !== null) v.vm.ops.updateCr8Intercept?.(v, v.apic.cr8, v.apic.highestRequested >> 4);
}

/** The guest's time begins. */
export const guestTimingEnter = step(
	"guest_timing_enter_irqoff",
	(v) => v.kernel.guestContext.timingEnter(),
	2,
);
/** It ends, behind the interrupts that came in the guest. */
export const guestTimingExit = step("guest_timing_exit_irqoff", (v) => v.kernel.guestContext.timingExit(), 2);

/** Leaves the entry path if something is found late in it. */
export const bailOutWhen = (name: string, test: (v: Vcpu) => boolean): Node =>
	when(
		name,
		test,
		[
			step("mode = OUTSIDE_GUEST_MODE", (v) => {
				setMode(v, VCPU_MODE.OUTSIDE_GUEST_MODE);
			}),
			step("local_irq_enable (bail out)", (v) => v.kernel.localIrqEnable()),
			step("preempt_enable (bail out)", (v) => v.kernel.preemptEnable()),
			step("srcu_read_lock (bail out)", srcuReadLock),
			step("cancel_injection", cancelInjection, 6),
			leave("1", () => 1),
		],
		[],
		6,
	);

export const vcpuEnterGuest = flow("vcpu_enter_guest", "x86.c", [
	step("enter", (v) => {
		v.runFlags = 0;
		v.reqImmediateExit = false;
	}),
	when("kvm_request_pending", (v) => v.requests !== 0, [
		when("KVM_REQ_VM_DEAD", (v) => checkRequest(v, KVM_REQ.VM_DEAD), [leave("-EIO", () => -5)]),
		when("KVM_REQ_TRIPLE_FAULT", (v) => checkRequest(v, KVM_REQ.TRIPLE_FAULT), [
			step("KVM_EXIT_SHUTDOWN", (v) => {
				v.run.exitReason = KVM_EXIT.SHUTDOWN;
			}),
			leave("0", () => 0),
		]),
		step("serve requests", serveRequests, 20),
	]),
	when("KVM_REQ_EVENT", (v) => checkRequest(v, KVM_REQ.EVENT), [
		step("kvm_apic_accept_events", (v) => v.apic?.acceptEvents(), 6),
		when("KVM_MP_STATE_INIT_RECEIVED", (v) => v.mpState === MP_STATE.INIT_RECEIVED, [leave("1", () => 1)]),
		step("kvm_check_and_inject_events", checkAndInjectEvents, 27),
		step("update_cr8_intercept", updateCr8Intercept, 3),
	]),
	step("kvm_mmu_reload", nothing, 3),
	step("preempt_disable", (v) => v.kernel.preemptDisable(), 1),
	callOp("prepare_switch_to_guest"),
	step("local_irq_disable", (v) => v.kernel.localIrqDisable(), 1),
	step(
		"mode = IN_GUEST_MODE",
		(v) => {
			setMode(v, VCPU_MODE.IN_GUEST_MODE);
		},
		1,
	),
	step("srcu_read_unlock", srcuReadUnlock, 2),
	when("kvm_lapic_enabled (before entry)", lapicEnabled, [
		step("sync_pir_to_irr (before entry)", syncPirToIrr, 2),
	]),
	bailOutWhen("kvm_vcpu_exit_request (before entry)", exitRequest),
	when("req_immediate_exit", (v) => v.reqImmediateExit, [
		step("KVM_RUN_FORCE_IMMEDIATE_EXIT", (v) => {
			v.runFlags |= KVM_RUN.FORCE_IMMEDIATE_EXIT;
			makeRequest(v, KVM_REQ.EVENT);
		}),
	]),
	when("TIF_NEED_FPU_LOAD", (v) => v.kernel.current.needFpuLoad, [
		step("switch_fpu_return", (v) => v.kernel.switchFpuReturn()),
	]),
	when("guest_fpu.xfd_err", (v) => v.xfdErr !== 0, [
		step("WRMSR(guest XFD_ERR)", (v) => wrmsrXfdErr(v.cpu, v.xfdErr)),
	]),
	when(
		"switch_db_regs",
		(v) => v.switchDbRegs !== 0 && (v.switchDbRegs & DEBUGREG.AUTO_SWITCH) === 0,
		[
			step("load guest debug registers", (v) => {
				moveToDr(v.cpu, L.DR7, DR7_FIXED_1);
				for (let n = 0; n < 4; n++) moveToDr(v.cpu, L.DR0 + 8 * n, v.effDb[n]!);
				if ((v.switchDbRegs & DEBUGREG.WONT_EXIT) !== 0) v.runFlags |= KVM_RUN.LOAD_GUEST_DR6;
			}),
		],
		[
			when("hw_breakpoint_active (before entry)", (v) => v.kernel.breakpoints.active, [
				step("DR7 = DR7_FIXED_1", (v) => moveToDr(v.cpu, L.DR7, DR7_FIXED_1)),
			]),
		],
	),
	step(
		"get_debugctlmsr",
		(v) => {
			const debugctl = rdmsrDebugctl(v.cpu);
			if (((v.hostDebugctl ^ debugctl) & v.vm.ops.hostOwnedDebugctl) !== 0 && !v.guestStateProtected) {
				v.runFlags |= KVM_RUN.LOAD_DEBUGCTL;
			}
			v.hostDebugctl = debugctl;
		},
		5,
	),
	guestTimingEnter,
	loop("fastpath", [
		callOp("vcpu_run", keepFastpath),
		when(
			"not REENTER_GUEST",
			(v) => v.exitFastpath !== FASTPATH.REENTER_GUEST,
			[breakFrom("fastpath")],
			[],
			2,
		),
		when("kvm_lapic_enabled", lapicEnabled, [step("sync_pir_to_irr", syncPirToIrr, 2)], [], 2),
		when(
			"kvm_vcpu_exit_request",
			exitRequest,
			[
				step("EXIT_FASTPATH_EXIT_HANDLED", (v) => {
					v.exitFastpath = FASTPATH.EXIT_HANDLED;
				}),
				breakFrom("fastpath"),
			],
			[],
			6,
		),
		step(
			"run_flags = 0",
			(v) => {
				v.runFlags = 0;
				countReentry(v);
			},
			2,
		),
	]),
	when("KVM_DEBUGREG_WONT_EXIT", (v) => (v.switchDbRegs & DEBUGREG.WONT_EXIT) !== 0, [
		step("sync_dirty_debug_regs", (v) => v.vm.ops.syncDirtyDebugRegs(v), 12),
		step("kvm_update_dr0123", kvmUpdateDr0123, 6),
		step("kvm_update_dr7", kvmUpdateDr7, 6),
	]),
	when("hw_breakpoint_active", (v) => v.kernel.breakpoints.active, [
		step("hw_breakpoint_restore", (v) => v.kernel.breakpoints.restore(), 8),
	]),
	step(
		"last_guest_tsc",
		(v) => {
			v.lastVmentryCpu = v.cpu.index;
			v.lastGuestTsc = rdtsc(v.cpu);
		},
		4,
	),
	step(
		"mode = OUTSIDE_GUEST_MODE (after exit)",
		(v) => {
			setMode(v, VCPU_MODE.OUTSIDE_GUEST_MODE);
		},
		1,
	),
	when("xfd_no_write_intercept", (v) => v.xfdNoWriteIntercept, [
		step("fpu_sync_guest_vmexit_xfd_state", (v) => {
			v.guestFpu.xfd = rdmsrXfd(v.cpu);
			v.kernel.fpu.xfdState = v.guestFpu.xfd;
		}),
	]),
	callOp("handle_exit_irqoff"),
	when("guest_fpu.xfd_err (after exit)", (v) => v.xfdErr !== 0, [
		step("WRMSR(XFD_ERR, 0)", (v) => wrmsrXfdErr(v.cpu, 0)),
	]),
	// Before preemption can move the thread: the mark is of the CPU whose predictors the guest has used.
	when(
		"X86_FEATURE_IBPB_EXIT_TO_USER",
		(v) => v.kernel.hasIbpbExitToUser,
		[
			step(
				"x86_ibpb_exit_to_user = true",
				(v) => {
					v.kernel.ibpbExitToUser = true;
				},
				1,
			),
		],
		[],
		1,
	),
	kvmBeforeInterrupt,
	step("local_irq_enable (window)", (v) => v.kernel.localIrqEnable(), 1),
	step(
		"++stat.exits",
		(v) => {
			v.stat.exits++;
		},
		1,
	),
	step("local_irq_disable (window)", (v) => v.kernel.localIrqDisable(), 1),
	kvmAfterInterrupt,
	guestTimingExit,
	step("local_irq_enable", (v) => v.kernel.localIrqEnable(), 1),
	step("preempt_enable", (v) => v.kernel.preemptEnable(), 1),
	step("srcu_read_lock", srcuReadLock, 2),
	when("EXIT_FASTPATH_EXIT_USERSPACE", (v) => v.exitFastpath === FASTPATH.EXIT_USERSPACE, [
		leave("0", () => 0),
	]),
	leave("handle_exit", handleExit, true),
]);
