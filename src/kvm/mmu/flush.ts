/** kvm_x86_ops.flush_tlb_all (arch/x86/kvm/vmx/vmx.c, svm/svm.c, v6.18). */
import { flushTlb } from "../../silicon/paging/tlb.ts";
import type { Vcpu } from "../vcpu.ts";

/** vmx_flush_tlb_all(), svm_flush_tlb_all(): drops the guest's translations that the vCPU's CPU holds. */
export function kvmFlushTlb(v: Vcpu): void {
	flushTlb(v.cpu);
	v.ledger?.flushedTlb();
}
