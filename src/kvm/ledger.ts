/**
 * NON-KVM: what the guest is owed, as far as hardware cannot tell. A register that the guest changes by itself is owed
 * what it held when the guest exited. When KVM emulates an instruction that writes one, or user space sets one, the new
 * value is told here, at the place that emulates the instruction and not where KVM keeps the value, so that KVM's own
 * copy can be judged by it.
 */

/** Registers of a guest that KVM swaps, or keeps for it. */
export type GuestRegister =
	| "XCR0"
	| "IA32_XSS"
	| "PKRU"
	| "IA32_XFD"
	| "IA32_XFD_ERR"
	| "CR2"
	| "DR0"
	| "DR1"
	| "DR2"
	| "DR3"
	| "DR6"
	| "DR7"
	| "IA32_DEBUGCTL"
	| "IA32_SPEC_CTRL"
	| "IA32_STAR"
	| "IA32_LSTAR"
	| "IA32_FMASK"
	| "IA32_TSC_AUX"
	| "IA32_KERNEL_GS_BASE"
	/** The local APIC's: the vector that it ends, -1 if none is in service. */
	| "EOI"
	/** Its task priority as CR8 has it, 0 to 15. */
	| "CR8";

/** Implemented by whoever judges. */
export interface GuestLedger {
	wrote(register: GuestRegister, value: number | bigint): void;
	/** KVM has had the guest's translations on the vCPU's CPU dropped. */
	flushedTlb(): void;
}
