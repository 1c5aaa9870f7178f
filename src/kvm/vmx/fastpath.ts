/** VMX exits that are handled without leaving the fastpath loop (vmx_exit_handlers_fastpath, vmx.c v6.18). */
import { EXIT_REASON } from "../../silicon/vmx/controls.ts";
import { F } from "../../silicon/vmx/fields.ts";
import { advanceGuestRip, vmread32, vmwrite32 } from "../../silicon/vmx/vmcs.ts";
import { type Flow, type Node, call, flow, leave, nothing, step, when } from "../flow/flow.ts";
import { FASTPATH } from "../requests.ts";
import { type Vcpu, keepFastpath } from "../vcpu.ts";

/** Blocking by STI and by MOV SS in the interruptibility state. */
const BLOCKING_SHADOW = 3;

/** skip_emulated_instruction(): RIP moves past the instruction that exited. */
export function vmxSkipEmulatedInstruction(v: Vcpu): void {
	const { vmcs } = v.vmx!;
	const length = vmread32(v.cpu, vmcs, F.VM_EXIT_INSTRUCTION_LEN);
	advanceGuestRip(v.cpu, vmcs, length);
	// vmx_set_interrupt_shadow(0): the shadow of STI or MOV SS covers the instruction that is skipped, no more.
	const blocking = vmread32(v.cpu, vmcs, F.GUEST_INTERRUPTIBILITY_INFO);
	if ((blocking & BLOCKING_SHADOW) !== 0) {
		vmwrite32(v.cpu, vmcs, F.GUEST_INTERRUPTIBILITY_INFO, blocking & ~BLOCKING_SHADOW);
	}
	v.cpu.code(14);
}

/** kvm_lapic_expired_hv_timer(). */
function expireHvTimer(v: Vcpu): void {
	v.apic?.kvmLapicExpiredHvTimer();
}

const exitIs = (reason: number) => (v: Vcpu) => v.vt.exitReason === reason;

/** A case of the switch over the exit reason, which is one jump: the step before the cases charges it. */
const onExit = (name: string, reason: number, flowName: string): Node =>
	when(
		name,
		exitIs(reason),
		[call(flowName, keepFastpath), leave("its result", (v) => v.exitFastpath)],
		[],
		0,
	);

export const vmxFastpathFlows: readonly Flow[] = [
	flow("handle_fastpath_preemption_timer", "vmx/vmx.c", [
		when("hv_timer_soft_disabled", (v) => v.vmx!.hvTimerSoftDisabled, [
			leave("EXIT_FASTPATH_REENTER_GUEST (spurious)", () => FASTPATH.REENTER_GUEST),
		]),
		when("force_immediate_exit", (v) => v.reqImmediateExit, [
			leave("EXIT_FASTPATH_EXIT_HANDLED", () => FASTPATH.EXIT_HANDLED),
		]),
		step("kvm_lapic_expired_hv_timer", expireHvTimer),
		leave("EXIT_FASTPATH_REENTER_GUEST", () => FASTPATH.REENTER_GUEST),
	]),
	flow("vmx_exit_handlers_fastpath", "vmx/vmx.c", [
		step("switch (exit reason)", nothing, 8),
		onExit("EXIT_REASON_MSR_WRITE", EXIT_REASON.wrmsr, "handle_fastpath_wrmsr"),
		onExit("EXIT_REASON_PREEMPTION_TIMER", EXIT_REASON.preemptionTimer, "handle_fastpath_preemption_timer"),
		onExit("EXIT_REASON_HLT", EXIT_REASON.hlt, "handle_fastpath_hlt"),
		onExit("EXIT_REASON_INVD", EXIT_REASON.invd, "handle_fastpath_invd"),
		leave("EXIT_FASTPATH_NONE", () => FASTPATH.NONE),
	]),
];
