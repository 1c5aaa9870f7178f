/** What follows an exit, back in common code. */
import { FASTPATH } from "../requests.ts";
import type { Vcpu } from "../vcpu.ts";

/**
 * kvm_x86_ops.handle_exit().
 * @returns >0 to go on in the guest, 0 or a negative errno to leave KVM_RUN
 */
export function handleExit(v: Vcpu): number {
	v.cpu.code(6);
	// What the fastpath handled needs nothing but bookkeeping.
	if (v.exitFastpath !== FASTPATH.NONE) return 1;
	return v.vm.ops.handleExit(v);
}
