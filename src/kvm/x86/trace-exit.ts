/** The tracepoint kvm_exit, which perf kvm stat counts: every VM exit passes it, fastpath or not. */
import type { Vcpu } from "../vcpu.ts";

/** Counts an exit by its vendor's reason. */
export function traceKvmExit(v: Vcpu, reason: number): void {
	const { byReason } = v.stat;
	byReason.set(reason, (byReason.get(reason) ?? 0) + 1);
}
