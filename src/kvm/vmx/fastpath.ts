/** VMX exits that are handled without leaving the fastpath loop (vmx_exit_handlers_fastpath, vmx.c v6.18). */
import { EXIT_REASON } from "../../silicon/vmx/controls.ts";
import { F } from "../../silicon/vmx/fields.ts";
import { advanceGuestRip, vmread32, vmwrite32 } from "../../silicon/vmx/vmcs.ts";
import { handleFastpathHlt, handleFastpathInvd, handleFastpathWrmsr } from "../x86/fastpath.ts";
import { FASTPATH } from "../requests.ts";
import type { Vcpu } from "../vcpu.ts";

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

/** handle_fastpath_preemption_timer(). */
function handlePreemptionTimer(v: Vcpu): number {
	const vmx = v.vmx!;
	if (vmx.hvTimerSoftDisabled) return FASTPATH.REENTER_GUEST;
	if (v.reqImmediateExit) return FASTPATH.EXIT_HANDLED;
	v.apic?.kvmLapicExpiredHvTimer();
	return FASTPATH.REENTER_GUEST;
}

/**
 * vmx_exit_handlers_fastpath().
 * @returns one of FASTPATH
 */
export function vmxExitHandlersFastpath(v: Vcpu): number {
	v.cpu.code(8);
	switch (v.vt.exitReason) {
		case EXIT_REASON.wrmsr:
			return handleFastpathWrmsr(v);
		case EXIT_REASON.preemptionTimer:
			return handlePreemptionTimer(v);
		case EXIT_REASON.hlt:
			return handleFastpathHlt(v);
		case EXIT_REASON.invd:
			return handleFastpathInvd(v);
		default:
			return FASTPATH.NONE;
	}
}
