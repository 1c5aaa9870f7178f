/** KVM_RUN down to vcpu_enter_guest() (arch/x86/kvm/x86.c, v6.18). */
import { HostInvariant } from "../../host/errors.ts";
import { restoreFpregs, saveFpregs, xfdUpdateState } from "../../host/fpu.ts";
import {
	type Waiting,
	breakFrom,
	call,
	flow,
	leave,
	loop,
	nothing,
	step,
	waitingStep,
	when,
} from "../flow/flow.ts";
import { kvmVcpuHasEvents } from "../emulate/simple.ts";
import { KVM_EXIT, KVM_REQ, MP_STATE } from "../requests.ts";
import { type Vcpu, checkRequest } from "../vcpu.ts";
import { beginHalt, endHalt, pollOnce } from "./halt-poll.ts";
import { srcuReadLock, srcuReadUnlock } from "./srcu.ts";
import { xferToGuestModeHandleWork, xferToGuestModeWorkPending } from "./work.ts";

/** preempt_notifier_register(): the scheduler tells when it switches the vCPU's thread. */
function registerPreemptNotifier(v: Vcpu): void {
	const task = v.kernel.current;
	if (task.preemptNotifier !== null) throw new HostInvariant("the preempt notifier is registered already");
	task.preemptNotifier = v.preemptNotifier;
}

/** fpu_swap_kvm_fpstate(): the task's registers become the guest's, or back. */
function swapFpstate(v: Vcpu, enterGuest: boolean): void {
	const { kernel, cpu } = v;
	const task = kernel.current;
	kernel.fpregsLock();
	const confidential = v.guestStateProtected;
	if (!task.needFpuLoad && !(confidential && !enterGuest)) saveFpregs(cpu, task.fpstate);
	task.fpstate = enterGuest ? v.guestFpu : task.userFpstate;
	// Firmware restores a confidential guest's registers; XFD goes with its image all the same.
	if (confidential && enterGuest) xfdUpdateState(cpu, kernel.fpu, task.fpstate);
	else restoreFpregs(cpu, kernel.fpu, task.fpstate);
	task.needFpuLoad = false;
	kernel.fpregsUnlock();
	v.tracer?.tracepoint?.(v, "kvm_fpu", { load: enterGuest });
}

/** kvm_vcpu_running(). */
function isRunning(v: Vcpu): boolean {
	return v.mpState === MP_STATE.RUNNABLE;
}

/** vcpu_block() up to where the thread sleeps. The preemption timer counts only in the guest. */
function vcpuBlock(v: Vcpu): void {
	v.blocks = !kvmArchVcpuRunnable(v);
	srcuReadUnlock(v);
	if (!v.blocks) return;
	v.apic?.timer.switchToSwTimer();
	if (v.mpState === MP_STATE.HALTED) beginHalt(v);
}

/** kvm_arch_vcpu_runnable() of a vCPU that is not running. */
const kvmArchVcpuRunnable = (v: Vcpu): boolean => kvmVcpuHasEvents(v);

/** kvm_vcpu_check_block(): a blocked vCPU has a reason to go on. */
function kvmVcpuCheckBlock(v: Vcpu): boolean {
	return (
		kvmArchVcpuRunnable(v) ||
		(v.requests & KVM_REQ.UNBLOCK) !== 0 ||
		v.apic?.timerPending === true ||
		xferToGuestModeWorkPending(v)
	);
}

/**
 * The rest of vcpu_block(). With nothing else to run, the CPU idles to its next timer. When no event can ever come,
 * KVM_RUN returns, as a signal would make it: runResult is 0 then, and 1 otherwise.
 */
const vcpuBlockEnd: Waiting = {
	isOver: (v) =>
		v.halt.pollUntilCycles > 0 ? pollOnce(v, kvmVcpuCheckBlock) : kvmVcpuCheckBlock(v) || !v.kernel.idle(),
	end: (v) => {
		if (v.halt.isOn) endHalt(v);
		if (v.blocks) v.apic?.timer.switchToHvTimer();
		srcuReadLock(v);
		v.runResult = 1;
		if (kvmArchVcpuRunnable(v)) {
			v.apic?.acceptEvents();
			if (v.mpState !== MP_STATE.HALTED) return;
			v.pvUnhalted = false;
			v.mpState = MP_STATE.RUNNABLE;
		} else if (!kvmVcpuCheckBlock(v)) {
			v.run.exitReason = KVM_EXIT.HLT;
			v.runResult = 0;
		}
	},
};

export const kvmArchVcpuIoctlRun = flow("kvm_arch_vcpu_ioctl_run", "x86.c", [
	step(
		"preempt_disable (vcpu_load)",
		(v) => {
			v.kernel.preemptDisable();
			v.loadingOn = v.cpu.number;
		},
		1,
	),
	step("preempt_notifier_register", registerPreemptNotifier, 8),
	call("kvm_arch_vcpu_load"),
	step("preempt_enable (vcpu_load)", (v) => v.kernel.preemptEnable(), 30),
	step("kvm_sigset_activate", nothing, 12),
	step("kvm_load_guest_fpu", (v) => swapFpstate(v, true), 12),
	step("srcu_read_lock", srcuReadLock, 2),
	when("complete_userspace_io", (v) => v.completeUserspaceIo !== null, [
		step(
			"complete the access",
			(v) => {
				const complete = v.completeUserspaceIo;
				if (complete === null) throw new HostInvariant("complete_userspace_io() is called and is NULL");
				v.completeUserspaceIo = null;
				v.completion = complete();
			},
			20,
		),
	]),
	step("vcpu_pre_run", nothing, 4),
	when(
		"complete_userspace_io is over",
		(v) => v.completion > 0,
		[
			call("vcpu_run", (v, result) => {
				v.runResult = result;
			}),
		],
		[
			step("r = 0", (v) => {
				v.completion = 1;
				v.runResult = 0;
			}),
		],
		2,
	),
	step("kvm_put_guest_fpu", (v) => swapFpstate(v, false), 12),
	step("srcu_read_unlock", srcuReadUnlock, 2),
	step("kvm_sigset_deactivate", nothing, 12),
	step(
		"preempt_disable (vcpu_put)",
		(v) => {
			v.kernel.preemptDisable();
			v.loadingOn = -1;
		},
		1,
	),
	call("kvm_arch_vcpu_put"),
	step(
		"preempt_notifier_unregister",
		({ kernel }) => {
			const { current } = kernel;
			if (current.preemptNotifier === null) throw new HostInvariant("no preempt notifier is registered");
			current.preemptNotifier = null;
		},
		8,
	),
	step("preempt_enable (vcpu_put)", (v) => v.kernel.preemptEnable(), 20),
	leave("r", (v) => v.runResult),
]);

export const vcpuRun = flow("vcpu_run", "x86.c", [
	step(
		"run->exit_reason = KVM_EXIT_UNKNOWN",
		(v) => {
			v.run.exitReason = KVM_EXIT.UNKNOWN;
		},
		3,
	),
	loop("run", [
		step(
			"at_instruction_boundary = false",
			(v) => {
				v.atInstructionBoundary = false;
			},
			1,
		),
		when(
			"kvm_vcpu_running",
			isRunning,
			[
				call("vcpu_enter_guest", (v, result) => {
					v.runResult = result;
				}),
			],
			[waitingStep("vcpu_block", vcpuBlock, vcpuBlockEnd, 40)],
			3,
		),
		when("r <= 0", (v) => v.runResult <= 0, [breakFrom("run")], [], 2),
		step(
			"clear KVM_REQ_UNBLOCK",
			(v) => {
				checkRequest(v, KVM_REQ.UNBLOCK);
			},
			2,
		),
		when("kvm_cpu_has_pending_timer", (v) => v.apic?.timerPending === true, [
			step("kvm_inject_pending_timer_irqs", (v) => v.apic?.injectPendingTimerIrqs(), 12),
		]),
		when(
			"xfer_to_guest_mode_work",
			xferToGuestModeWorkPending,
			[
				step("srcu_read_unlock (work)", srcuReadUnlock, 2),
				step(
					"kvm_xfer_to_guest_mode_handle_work",
					(v) => {
						v.runResult = xferToGuestModeHandleWork(v);
					},
					10,
				),
				step("srcu_read_lock (work)", srcuReadLock, 2),
				when("r != 0", (v) => v.runResult !== 0, [leave("r", (v) => v.runResult)]),
			],
			[],
			3,
		),
	]),
	leave("r", (v) => v.runResult),
]);
