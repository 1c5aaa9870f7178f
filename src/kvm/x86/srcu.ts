/** kvm->srcu, held by a vCPU outside the guest (kvm_vcpu_srcu_read_lock, include/linux/kvm_host.h). */
import { HostInvariant } from "../../host/errors.ts";
import { OP } from "../../silicon/ops.ts";
import type { Vcpu } from "../vcpu.ts";

/** kvm_vcpu_srcu_read_lock(). */
export function srcuReadLock(v: Vcpu): void {
	v.cpu.op(OP.srcu_read_lock);
	if (v.srcuDepth !== 0) throw new HostInvariant("kvm->srcu is locked by this vCPU already");
	v.srcuDepth = 1;
}

/** kvm_vcpu_srcu_read_unlock(). */
export function srcuReadUnlock(v: Vcpu): void {
	v.cpu.op(OP.srcu_read_unlock);
	if (v.srcuDepth !== 1) throw new HostInvariant("kvm->srcu is not locked by this vCPU");
	v.srcuDepth = 0;
}
