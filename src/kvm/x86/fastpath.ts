/** Fastpath handling that both vendors share (arch/x86/kvm/x86.c, v6.18). */
import { handleFastpathSetTscdeadline, handleFastpathSetX2apicIcrIrqoff } from "../emulate/fastpath.ts";
import { kvmSkipEmulatedInstruction } from "../emulate/inject.ts";
import { kvmEmulateHalt, kvmEmulateInvd } from "../emulate/simple.ts";
import { FASTPATH, MP_STATE } from "../requests.ts";
import * as L from "../../silicon/cpu/layout.ts";
import type { Vcpu } from "../vcpu.ts";

const MSR_X2APIC_ICR = 0x830;
const MSR_IA32_TSC_DEADLINE = 0x6e0;

/**
 * handle_fastpath_wrmsr(): x2APIC ICR and the TSC deadline only.
 * @returns one of FASTPATH
 */
export function handleFastpathWrmsr(v: Vcpu): number {
	const index = v.regs32[2 * L.RCX]!;
	v.cpu.code(12);
	if (index !== MSR_X2APIC_ICR && index !== MSR_IA32_TSC_DEADLINE) return FASTPATH.NONE;
	const data = v.regs32[2 * L.RDX]! * 2 ** 32 + v.regs32[2 * L.RAX]!;
	const handled =
		index === MSR_X2APIC_ICR
			? handleFastpathSetX2apicIcrIrqoff(v, data)
			: handleFastpathSetTscdeadline(v, data);
	if (!handled) return FASTPATH.NONE;
	return kvmSkipEmulatedInstruction(v) === 0 ? FASTPATH.EXIT_USERSPACE : FASTPATH.REENTER_GUEST;
}

/** handle_fastpath_hlt(): back into the guest when an event is waiting already. @returns one of FASTPATH */
export function handleFastpathHlt(v: Vcpu): number {
	if (kvmEmulateHalt(v) === 0) return FASTPATH.EXIT_USERSPACE;
	return v.mpState === MP_STATE.RUNNABLE ? FASTPATH.REENTER_GUEST : FASTPATH.EXIT_HANDLED;
}

/** handle_fastpath_invd(): a no-op but for RIP. @returns one of FASTPATH */
export function handleFastpathInvd(v: Vcpu): number {
	return kvmEmulateInvd(v) === 0 ? FASTPATH.EXIT_USERSPACE : FASTPATH.REENTER_GUEST;
}
