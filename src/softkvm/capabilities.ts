/** KVM_CHECK_EXTENSION of the software machine. What is not in the table is not there. */
import type { KvmCapName } from "../uapi/constants.ts";

/** KVM_USER_MEM_SLOTS, KVM_MAX_VCPUS. */
export const MEMSLOTS_MAX = 32764;
export const VCPUS_MAX = 1024;

// biome-ignore format: one row a group
const CAPABILITIES: Readonly<Partial<Record<KvmCapName, number>>> = {
	IRQCHIP: 1, HLT: 1, USER_MEMORY: 1, EXT_CPUID: 1, NR_VCPUS: 1, NR_MEMSLOTS: MEMSLOTS_MAX, PIT: 1, PIT2: 1,
	MP_STATE: 1, COALESCED_MMIO: 2, SYNC_MMU: 1, USER_NMI: 1, SET_GUEST_DEBUG: 1, IRQFD: 1, IOEVENTFD: 1, ADJUST_CLOCK: 1,
	VCPU_EVENTS: 1, DEBUGREGS: 1, XSAVE: 1, XCRS: 1, GET_TSC_KHZ: 1, MAX_VCPUS: VCPUS_MAX, ONE_REG: 1, TSC_DEADLINE_TIMER: 1,
	SIGNAL_MSI: 1, READONLY_MEM: 1, IMMEDIATE_EXIT: 1, GET_MSR_FEATURES: 1,
};

/** @returns 0 for what there is not */
export function checkExtension(cap: KvmCapName, xsaveBytes: number): number {
	return cap === "XSAVE2" ? xsaveBytes : (CAPABILITIES[cap] ?? 0);
}
