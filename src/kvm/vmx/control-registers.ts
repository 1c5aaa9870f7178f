/** CR0, CR3 and CR4 bits that a VMX guest changes without an exit (arch/x86/kvm/vmx/vmx.c: vmx_cache_reg(), v6.18). */
import { F } from "../../silicon/vmx/fields.ts";
import { vmread } from "../../silicon/vmx/vmcs.ts";
import type { Vcpu } from "../vcpu.ts";

/** vmx_l1_guest_owned_cr0_bits() with EPT: CR0.TS, and CR0.WP since fb509f76acc8 (v6.4). */
export const CR0_GUEST_BITS = 0x10008n;
/** KVM_POSSIBLE_CR4_GUEST_BITS. */
export const CR4_GUEST_BITS = 0x1078en;

/** vmx_cache_reg(): KVM's copies of the registers, as the guest has them now. */
export function cacheControlRegisters(v: Vcpu): void {
	const { vmcs } = v.vmx!;
	v.cr3 = vmread(v.cpu, vmcs, F.GUEST_CR3);
	v.cr0 = (v.cr0 & ~CR0_GUEST_BITS) | (vmread(v.cpu, vmcs, F.GUEST_CR0) & CR0_GUEST_BITS);
	v.cr4 = (v.cr4 & ~CR4_GUEST_BITS) | (vmread(v.cpu, vmcs, F.GUEST_CR4) & CR4_GUEST_BITS);
}
