/**
 * KVM's tracepoints besides kvm_entry and kvm_exit (trace-exit.ts): what each tells (arch/x86/kvm/trace.h and
 * include/trace/events/kvm.h, v6.18). Whoever passes one writes
 *
 *     v.tracer?.tracepoint?.(v, "kvm_fpu", { load: true });
 *
 * of which nothing is evaluated while nobody listens. How the lines read is the listener's.
 */

/** Fields by tracepoint. */
export interface KvmTracepoints {
	readonly kvm_hypercall: { readonly nr: bigint; readonly args: readonly bigint[] };
	readonly kvm_pio: {
		readonly write: boolean;
		readonly port: number;
		readonly bytes: number;
		/** Elements. */
		readonly count: number;
		/** The first. */
		readonly value: number;
	};
	readonly kvm_mmio: {
		/** Unsatisfied: user space will answer. */
		readonly kind: "unsatisfied-read" | "read" | "write";
		readonly bytes: number;
		readonly gpa: number;
		readonly value: bigint;
	};
	readonly kvm_cpuid: {
		readonly leaf: number;
		readonly subleaf: number;
		/** RAX, RBX, RCX, RDX: 32 bits each, unsigned. */
		readonly registers: readonly [number, number, number, number];
		readonly found: boolean;
		/** The leaf is beyond the last, and the last basic one answers. */
		readonly usedMaxBasic: boolean;
	};
	/** `gp`: it faults. */
	readonly kvm_msr: {
		readonly write: boolean;
		readonly index: number;
		readonly value: bigint;
		readonly gp: boolean;
	};
	readonly kvm_cr: { readonly write: boolean; readonly cr: number; readonly value: bigint };
	/** `register`: offset in the local APIC's page. */
	readonly kvm_apic: { readonly write: boolean; readonly register: number; readonly value: bigint };
	/** An ICR write: its low half, and the destination. */
	readonly kvm_apic_ipi: { readonly icrLow: number; readonly destination: number };
	/** `deliveryMode`: APIC_DM. */
	readonly kvm_apic_accept_irq: {
		readonly apicId: number;
		readonly deliveryMode: number;
		readonly levelTriggered: boolean;
		readonly vector: number;
	};
	readonly kvm_eoi: { readonly apicId: number; readonly vector: number };
	readonly kvm_inj_virq: { readonly vector: number; readonly soft: boolean; readonly reinjected: boolean };
	readonly kvm_inj_exception: {
		readonly vector: number;
		readonly errorCode: number | null;
		readonly reinjected: boolean;
	};
	/** A second-level fault: exit qualification on VMX, EXITINFO1 on SVM. */
	readonly kvm_page_fault: { readonly gpa: number; readonly errorCode: number };
	/** `reason`: KVM_EXIT; `result`: what KVM_RUN returns, 0 or a negative errno. */
	readonly kvm_userspace_exit: { readonly reason: number; readonly result: number };
	readonly kvm_fpu: { readonly load: boolean };
	readonly kvm_halt_poll_ns: { readonly grow: boolean; readonly before: number; readonly after: number };
	/** `waited`: the thread slept; else it only polled. */
	readonly kvm_vcpu_wakeup: { readonly ns: number; readonly waited: boolean };
	readonly kvm_pvclock_update: {
		readonly version: number;
		readonly tscTimestamp: bigint;
		readonly systemTimeNs: bigint;
		readonly multiplier: number;
		readonly shift: number;
		readonly flags: number;
	};
}

/** Name of a tracepoint. */
export type KvmTracepoint = keyof KvmTracepoints;
