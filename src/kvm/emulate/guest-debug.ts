/**
 * A debugger in user space (arch/x86/kvm/x86.c, v6.18: kvm_arch_vcpu_ioctl_set_guest_debug() and what goes by vcpu->guest_debug).
 *
 * For single steps KVM keeps RFLAGS.TF set under the guest. The guest is not shown it, but where the processor pushes RFLAGS: there
 * KVM does not hide it either.
 */
import * as L from "../../silicon/cpu/layout.ts";
import { DR6 } from "../../silicon/cpu/debug.ts";
import { VECTOR } from "../../silicon/cpu/fault.ts";
import { FLAG } from "../../silicon/cpu/rflags.ts";
import { DR6_RESERVED } from "../../host/hw-breakpoint.ts";
import { GUESTDBG, KVM_EXIT, KVM_REQ } from "../requests.ts";
import { type Vcpu, makeRequest } from "../vcpu.ts";
import { kvmQueueDebug, kvmUpdateDr0123, kvmUpdateDr7 } from "./debug.ts";

/** kvm_get_linear_rip(). */
export function kvmLinearRip(v: Vcpu): bigint {
	const { attributes, base } = v.vm.ops.getSegment(v, L.CS);
	const rip = v.vm.ops.getRip(v);
	return (attributes & CS_L) !== 0 ? rip : BigInt.asUintN(32, base + rip);
}

/** CS.L in the VMCS's format. */
const CS_L = 1 << 13;

/** kvm_get_rflags(): TF is the debugger's while it steps. */
export function kvmGetRflags(v: Vcpu): number {
	const rflags = v.vm.ops.getRflags(v);
	return (v.guestDebug & GUESTDBG.SINGLESTEP) === 0 ? rflags : rflags & ~FLAG.TF;
}

/** __kvm_set_rflags(): TF stays set where the debugger wants the step. */
export function kvmSetRflags(v: Vcpu, rflags: number): void {
	const steps = (v.guestDebug & GUESTDBG.SINGLESTEP) !== 0 && kvmLinearRip(v) === v.singlestepRip;
	v.vm.ops.setRflags(v, steps ? rflags | FLAG.TF : rflags);
}

/**
 * KVM_SET_GUEST_DEBUG, without KVM_GUESTDBG_INJECT_*.
 * @param control KVM_GUESTDBG bits
 * @param debugreg DR0 to DR7 for breakpoints of the debugger's
 */
export function kvmSetGuestDebug(v: Vcpu, control: number, debugreg: readonly bigint[]): void {
	const rflags = kvmGetRflags(v);
	v.guestDebug = (control & GUESTDBG.ENABLE) === 0 ? 0 : control;
	if ((v.guestDebug & GUESTDBG.USE_HW_BP) !== 0) {
		for (let n = 0; n < 4; n++) v.effDb[n] = debugreg[n] ?? 0n;
		v.guestDebugDr7 = Number(BigInt.asUintN(32, debugreg[7] ?? 0n));
	} else kvmUpdateDr0123(v);
	kvmUpdateDr7(v);
	if ((v.guestDebug & GUESTDBG.SINGLESTEP) !== 0) v.singlestepRip = kvmLinearRip(v);
	kvmSetRflags(v, rflags);
	makeRequest(v, KVM_REQ.EVENT);
	v.vm.ops.interceptBp(v, (v.guestDebug & GUESTDBG.USE_SW_BP) !== 0);
}

/** Whether #DB is the debugger's. */
export function debuggerTakesDb(v: Vcpu): boolean {
	return (v.guestDebug & (GUESTDBG.SINGLESTEP | GUESTDBG.USE_HW_BP)) !== 0;
}

/**
 * KVM_EXIT_DEBUG.
 * @param exception vector
 * @param dr6 what happened, as DR6 would have it
 * @param dr7 in force; absent where KVM has executed the instruction, which leaves what was there
 * @returns 0: to user space
 */
export function kvmExitDebug(v: Vcpu, exception: number, dr6: number, dr7?: number): number {
	const { run } = v;
	run.exitReason = KVM_EXIT.DEBUG;
	run.debug.exception = exception;
	run.debug.pc = kvmLinearRip(v);
	run.debug.dr6 = dr6 >>> 0;
	if (dr7 !== undefined) run.debug.dr7 = dr7 >>> 0;
	return 0;
}

/**
 * kvm_vcpu_do_singlestep(): an instruction that KVM has executed was stepped over, by the guest or by the debugger.
 * @returns 0 for KVM_EXIT_DEBUG, or 1
 */
export function kvmVcpuDoSinglestep(v: Vcpu): number {
	if ((v.guestDebug & GUESTDBG.SINGLESTEP) !== 0) return kvmExitDebug(v, VECTOR.DB, DR6.BS | DR6_RESERVED);
	kvmQueueDebug(v, DR6.BS);
	return 1;
}
