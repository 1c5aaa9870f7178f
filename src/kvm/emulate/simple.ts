/** HLT, INVD, WBINVD and RDPMC (arch/x86/kvm/x86.c), and what a halted vCPU waits for. */
import { VECTOR } from "../../silicon/cpu/fault.ts";
import { KVM_EXIT, KVM_REQ, MP_STATE } from "../requests.ts";
import type { Vcpu } from "../vcpu.ts";
import { kvmCpuHasInterrupt } from "../x86/events.ts";
import { kvmInjectGp, kvmQueueException, kvmSkipEmulatedInstruction } from "./inject.ts";

/** kvm_vcpu_has_events(): a halted vCPU has something to run for. */
export function kvmVcpuHasEvents(v: Vcpu): boolean {
	if (v.pvUnhalted || v.exception.pending || v.apic?.hasPendingInitOrSipi === true) return true;
	const { ops } = v.vm;
	// Before it has begun, or between INIT and SIPI, a vCPU has nothing to take other events with.
	if (v.mpState !== MP_STATE.RUNNABLE && v.mpState !== MP_STATE.HALTED) return false;
	if (((v.requests & KVM_REQ.NMI) !== 0 || v.nmiPending > 0) && ops.nmiAllowed(v)) return true;
	if ((v.requests & KVM_REQ.SMI) !== 0) return true;
	return kvmCpuHasInterrupt(v) && ops.interruptAllowed(v);
}

/**
 * kvm_emulate_halt(): halts unless an event is there already.
 * @returns 1, or 0 for KVM_EXIT_HLT when user space has the local APIC
 */
export function kvmEmulateHalt(v: Vcpu): number {
	const skipped = kvmSkipEmulatedInstruction(v);
	v.cpu.code(60);
	v.stat.haltExits++;
	if (v.apic === null) {
		v.run.exitReason = KVM_EXIT.HLT;
		return 0;
	}
	if (kvmVcpuHasEvents(v)) v.pvUnhalted = false;
	else v.mpState = MP_STATE.HALTED;
	return skipped;
}

/** kvm_emulate_wbinvd(): a no-op without a device assigned that does not snoop. */
export function kvmEmulateWbinvd(v: Vcpu): number {
	v.cpu.code(12);
	return kvmSkipEmulatedInstruction(v);
}

/** kvm_emulate_invd(): a no-op; the guest must not discard the host's cache lines. */
export function kvmEmulateInvd(v: Vcpu): number {
	v.cpu.code(4);
	return kvmSkipEmulatedInstruction(v);
}

/** kvm_emulate_monitor(), kvm_emulate_mwait(): not offered by CPUID, no-ops by KVM_X86_QUIRK_MWAIT_NEVER_UD_FAULTS. */
export function kvmEmulateAsNop(v: Vcpu): number {
	v.cpu.code(8);
	return kvmSkipEmulatedInstruction(v);
}

/** kvm_emulate_rdpmc(): the guest has no PMU, so every counter index is invalid. */
export function kvmEmulateRdpmc(v: Vcpu): number {
	v.cpu.code(20);
	kvmInjectGp(v, 0);
	return 1;
}

/** handle_ud(): an instruction that the guest's CPUID does not offer. */
export function kvmHandleInvalidOp(v: Vcpu): number {
	kvmQueueException(v, VECTOR.UD, null);
	return 1;
}
