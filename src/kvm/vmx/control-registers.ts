/** CR0, CR3 and CR4 bits that a VMX guest changes without an exit (arch/x86/kvm/vmx/vmx.c: vmx_cache_reg(), v6.18). */
import { F } from "../../silicon/vmx/fields.ts";
import { vmread } from "../../silicon/vmx/vmcs.ts";
import type { Vcpu } from "../vcpu.ts";

/** KVM_POSSIBLE_CR0_GUEST_BITS without WP: CR0.TS. */
export const CR0_GUEST_BITS = 8n;
/** KVM_POSSIBLE_CR4_GUEST_BITS. */
export const CR4_GUEST_BITS = 0x1078en;

/** vmx_cache_reg(): KVM's copies of the registers, as the guest has them now. */
export function cacheControlRegisters(v: Vcpu): void {
	const { vmcs } = v.vmx!;
	v.cr3 = vmread(v.cpu, vmcs, F.GUEST_CR3);
	v.cr0 = (v.cr0 & ~CR0_GUEST_BITS) | (vmread(v.cpu, vmcs, F.GUEST_CR0) & CR0_GUEST_BITS);
	v.cr4 = (v.cr4 & ~CR4_GUEST_BITS) | (vmread(v.cpu, vmcs, F.GUEST_CR4) & CR4_GUEST_BITS);
}
