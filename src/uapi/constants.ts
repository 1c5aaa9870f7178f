/** Numbers of linux/kvm.h and asm/kvm.h (Linux v6.18) that are no ioctls. */

/** The only API version there is since 2007. */
export const KVM_API_VERSION = 12;

// biome-ignore format: one row a reason
export const KVM_EXIT = {
	UNKNOWN: 0, EXCEPTION: 1, IO: 2, HYPERCALL: 3, DEBUG: 4, HLT: 5, MMIO: 6, IRQ_WINDOW_OPEN: 7, SHUTDOWN: 8,
	FAIL_ENTRY: 9, INTR: 10, SET_TPR: 11, TPR_ACCESS: 12, NMI: 16, INTERNAL_ERROR: 17, SYSTEM_EVENT: 24,
	IOAPIC_EOI: 26, HYPERV: 27, X86_RDMSR: 29, X86_WRMSR: 30, DIRTY_RING_FULL: 31, X86_BUS_LOCK: 33, XEN: 34,
	NOTIFY: 37, MEMORY_FAULT: 39,
} as const;

/** Capabilities that this project asks for, by number (KVM_CAP_*). */
// biome-ignore format: one row a capability
export const KVM_CAP = {
	IRQCHIP: 0, HLT: 1, USER_MEMORY: 3, SET_TSS_ADDR: 4, EXT_CPUID: 7, NR_VCPUS: 9, NR_MEMSLOTS: 10, PIT: 11,
	MP_STATE: 14, COALESCED_MMIO: 15, SYNC_MMU: 16, USER_NMI: 22, SET_GUEST_DEBUG: 23, IRQFD: 32, PIT2: 33,
	SET_BOOT_CPU_ID: 34, IOEVENTFD: 36, SET_IDENTITY_MAP_ADDR: 37, ADJUST_CLOCK: 39, INTERNAL_ERROR_DATA: 40,
	VCPU_EVENTS: 41, DEBUGREGS: 50, ENABLE_CAP: 54, XSAVE: 55, XCRS: 56, TSC_CONTROL: 60, GET_TSC_KHZ: 61,
	MAX_VCPUS: 66, ONE_REG: 70, TSC_DEADLINE_TIMER: 72, SIGNAL_MSI: 77, READONLY_MEM: 81, X86_SMM: 117, IMMEDIATE_EXIT: 136,
	GET_MSR_FEATURES: 153, NESTED_STATE: 157, COALESCED_PIO: 162, X86_DISABLE_EXITS: 143, XSAVE2: 208,
	VM_TSC_CONTROL: 214,
} as const;
export type KvmCapName = keyof typeof KVM_CAP;

/** struct kvm_mp_state. */
export const KVM_MP_STATE = {
	RUNNABLE: 0,
	UNINITIALIZED: 1,
	INIT_RECEIVED: 2,
	HALTED: 3,
	SIPI_RECEIVED: 4,
} as const;

/** Registers of KVM_GET_ONE_REG on x86: architecture, size of 64 bits and type above an index of 32 bits. */
const REG_X86_U64 = 0x2030n << 48n;
/** KVM_X86_REG_MSR(). @param index of the MSR @returns the register's id */
export const kvmX86RegMsr = (index: number): bigint => REG_X86_U64 | (2n << 32n) | BigInt(index);
/** KVM_X86_REG_KVM(KVM_REG_GUEST_SSP): the shadow-stack pointer, which no MSR holds. */
export const KVM_X86_REG_GUEST_SSP: bigint = REG_X86_U64 | (3n << 32n);

/** Flags of a memory region. */
export const KVM_MEM = { LOG_DIRTY_PAGES: 1, READONLY: 2 } as const;

/** Flags of KVM_IOEVENTFD. */
export const KVM_IOEVENTFD_FLAG = { DATAMATCH: 1, PIO: 2, DEASSIGN: 4 } as const;

/** Page of the vCPU mapping that holds port I/O data, and that of the coalesced MMIO ring (asm/kvm.h). */
export const KVM_PIO_PAGE_OFFSET = 1;
export const KVM_COALESCED_MMIO_PAGE_OFFSET = 2;
