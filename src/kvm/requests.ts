/** KVM's request bits (arch/x86/include/asm/kvm_host.h, v6.18) that this model uses, and the vCPU's modes. */

/** Bits of `Vcpu.requests`. */
export const KVM_REQ = {
	TLB_FLUSH: 1 << 0,
	VM_DEAD: 1 << 1,
	UNBLOCK: 1 << 2,
	MIGRATE_TIMER: 1 << 3,
	TRIPLE_FAULT: 1 << 4,
	EVENT: 1 << 5,
	NMI: 1 << 6,
	SMI: 1 << 7,
	CLOCK_UPDATE: 1 << 8,
	LOAD_MMU_PGD: 1 << 9,
	OUTSIDE_GUEST_MODE: 1 << 10,
	PMU: 1 << 11,
	APICV_UPDATE: 1 << 12,
	LOAD_EOI_EXITMAP: 1 << 13,
} as const;

/** vcpu->mode (include/linux/kvm_host.h). */
export const VCPU_MODE = { OUTSIDE_GUEST_MODE: 0, IN_GUEST_MODE: 1, EXITING_GUEST_MODE: 2 } as const;

/** run_flags of the vendors' vcpu_run (arch/x86/include/asm/kvm_host.h). */
export const KVM_RUN = { FORCE_IMMEDIATE_EXIT: 1, LOAD_GUEST_DR6: 2, LOAD_DEBUGCTL: 4 } as const;

/** switch_db_regs (arch/x86/include/asm/kvm_host.h): KVM_DEBUGREG_*. */
export const DEBUGREG = {
	/** DR7 enables a breakpoint. */
	BP_ENABLED: 1,
	/** The guest uses the registers without exits until KVM has read them back. */
	WONT_EXIT: 2,
	/** Hardware or firmware switches them: TDs. */
	AUTO_SWITCH: 4,
} as const;

/** fastpath_t (arch/x86/include/asm/kvm_host.h). */
export const FASTPATH = { NONE: 0, REENTER_GUEST: 1, EXIT_HANDLED: 2, EXIT_USERSPACE: 3 } as const;

/** vcpu->guest_debug: KVM_GUESTDBG_* (include/uapi/linux/kvm.h, arch/x86/include/uapi/asm/kvm.h). */
export const GUESTDBG = {
	ENABLE: 1 << 0,
	SINGLESTEP: 1 << 1,
	USE_SW_BP: 1 << 16,
	USE_HW_BP: 1 << 17,
	INJECT_DB: 1 << 18,
	INJECT_BP: 1 << 19,
	BLOCKIRQ: 1 << 20,
} as const;

/** vcpu->arch.mp_state, as KVM_SET_MP_STATE numbers them. */
export const MP_STATE = {
	RUNNABLE: 0,
	UNINITIALIZED: 1,
	INIT_RECEIVED: 2,
	HALTED: 3,
	SIPI_RECEIVED: 4,
} as const;

/** KVM_X86_SHADOW_INT_MOV_SS and _STI (arch/x86/include/uapi/asm/kvm.h): what holds interrupts back for one instruction. */
export const INTERRUPT_SHADOW = { MOV_SS: 1, STI: 2 } as const;

/** KVM_INTERNAL_ERROR_* (include/uapi/linux/kvm.h). */
export const INTERNAL_ERROR = { EMULATION: 1, UNEXPECTED_EXIT_REASON: 4 } as const;

/** A hypercall that user space can ask to have by KVM_EXIT_HYPERCALL (include/uapi/linux/kvm_para.h), and its attributes. */
export const KVM_HC_MAP_GPA_RANGE = 12;
export const MAP_GPA_RANGE = { ENCRYPTED: 1 << 4, DECRYPTED: 0 } as const;

/** vcpu->run->exit_reason (include/uapi/linux/kvm.h). */
export const KVM_EXIT = {
	UNKNOWN: 0,
	EXCEPTION: 1,
	IO: 2,
	HYPERCALL: 3,
	DEBUG: 4,
	HLT: 5,
	MMIO: 6,
	IRQ_WINDOW_OPEN: 7,
	SHUTDOWN: 8,
	FAIL_ENTRY: 9,
	INTR: 10,
	INTERNAL_ERROR: 17,
	SYSTEM_EVENT: 24,
} as const;
