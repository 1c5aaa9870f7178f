/** `struct kvm_run` of the software KVM as a typed value. */
import { KVM_EXIT } from "../kvm/requests.ts";
import type { Vcpu } from "../kvm/vcpu.ts";
import type { VcpuExit } from "../uapi/exit.ts";

/** What KVM_RUN left. Views in it are KVM's own: what is written into them answers a read at the next one. */
export function readExit(v: Vcpu): VcpuExit {
	const { run } = v;
	switch (run.exitReason) {
		case KVM_EXIT.IO: {
			const { write, port, bytes, count, data } = run.io;
			return { reason: "io", write, port, size: bytes, count, data: data.subarray(0, bytes * count) };
		}
		case KVM_EXIT.MMIO: {
			const { write, gpa, bytes, data } = run.mmio;
			return { reason: "mmio", write, gpa: BigInt(gpa), data: data.subarray(0, bytes) };
		}
		case KVM_EXIT.HYPERCALL: {
			const { nr, args } = run.hypercall;
			return { reason: "hypercall", nr: BigInt(nr), args, longmode: true };
		}
		case KVM_EXIT.HLT:
			// With the local APIC in the kernel a vCPU that nothing can wake stays in KVM_RUN until a signal comes.
			return v.apic === null ? { reason: "hlt" } : { reason: "intr" };
		case KVM_EXIT.IRQ_WINDOW_OPEN:
			return { reason: "irq-window-open" };
		case KVM_EXIT.SHUTDOWN:
			return { reason: "shutdown" };
		case KVM_EXIT.FAIL_ENTRY:
			return { reason: "fail-entry", hardwareReason: BigInt(run.code), cpu: v.cpu.index };
		case KVM_EXIT.INTR:
			return { reason: "intr" };
		case KVM_EXIT.INTERNAL_ERROR:
			return { reason: "internal-error", suberror: run.code, data: [], message: run.message };
		case KVM_EXIT.DEBUG:
			return {
				reason: "debug",
				exception: run.debug.exception,
				pc: run.debug.pc,
				dr6: BigInt(run.debug.dr6),
				dr7: BigInt(run.debug.dr7),
			};
		case KVM_EXIT.UNKNOWN:
			return { reason: "unknown", hardwareReason: 0n };
		default:
			return { reason: "other", number: run.exitReason };
	}
}
