/**
 * kvm->srcu, which protects what another thread's ioctl may replace: memory slots and the PMU's event filter
 * (include/linux/kvm_host.h, v6.18). A vCPU holds it outside the guest and not in the fastpath loop.
 */
import { HostInvariant } from "../../host/errors.ts";
import { symbol } from "../../silicon/cpu/symbols.ts";
import { OP } from "../../silicon/ops.ts";
import type { Vcpu } from "../vcpu.ts";

const SRCU_READ_LOCK = symbol("__srcu_read_lock");
const SRCU_READ_UNLOCK = symbol("__srcu_read_unlock");

function lock({ cpu }: Vcpu): void {
	cpu.enter(SRCU_READ_LOCK);
	cpu.op(OP.srcu_read_lock);
	cpu.leave();
}

function unlock({ cpu }: Vcpu): void {
	cpu.enter(SRCU_READ_UNLOCK);
	cpu.op(OP.srcu_read_unlock);
	cpu.leave();
}

/** kvm_vcpu_srcu_read_lock(): once a vCPU. */
export function srcuReadLock(v: Vcpu): void {
	lock(v);
	if (v.srcuDepth !== 0) throw new HostInvariant("kvm->srcu is locked by this vCPU already");
	v.srcuDepth = 1;
}

/** kvm_vcpu_srcu_read_unlock(). */
export function srcuReadUnlock(v: Vcpu): void {
	unlock(v);
	if (v.srcuDepth !== 1) throw new HostInvariant("kvm->srcu is not locked by this vCPU");
	v.srcuDepth = 0;
}

/** srcu_read_lock(&kvm->srcu): by whoever needs it for a moment; it nests. */
export function srcuReadLockNested(v: Vcpu): void {
	lock(v);
	v.srcuDepth++;
}

/** srcu_read_unlock(&kvm->srcu). */
export function srcuReadUnlockNested(v: Vcpu): void {
	unlock(v);
	if (v.srcuDepth === 0) throw new HostInvariant("kvm->srcu is not locked by this vCPU");
	v.srcuDepth--;
}

/** srcu_dereference(…, &kvm->srcu): without the lock the object may be freed meanwhile, and lockdep says so. */
export function srcuDereference(v: Vcpu): void {
	v.cpu.op(OP.srcu_dereference);
}
