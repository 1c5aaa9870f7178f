/** Which MSRs KVM emulates for a TD (arch/x86/kvm/vmx/tdx.c, v6.18): those that the TDX module leaves to it. */
import { MSR } from "../../silicon/cpu/msr.ts";

const EMULATED = new Set<number>([
	MSR.IA32_FEATURE_CONTROL,
	MSR.IA32_BIOS_SIGN_ID,
	MSR.MSR_PLATFORM_INFO,
	MSR.IA32_MTRRCAP,
	MSR.IA32_MCG_CAP,
	MSR.IA32_MCG_STATUS,
	MSR.IA32_MISC_ENABLE,
	MSR.IA32_PAT,
	MSR.IA32_MTRR_DEF_TYPE,
	MSR.IA32_TSC_DEADLINE,
	MSR.IA32_APIC_BASE,
	MSR.IA32_EFER,
]);
const READ_ONLY = new Set<number>([MSR.IA32_APIC_BASE, MSR.IA32_EFER, MSR.IA32_FEATURE_CONTROL]);

/** Banks 0 to 31: CTL, STATUS, ADDR and MISC. */
const MACHINE_CHECK = { first: MSR.IA32_MC0_CTL, last: MSR.IA32_MC0_CTL + 4 * 32 - 1 } as const;

const X2APIC = 0x800;
const X2APIC_LAST = 0x8ff;
/** x2APIC registers that the processor virtualizes in a page KVM cannot see: TPR, PPR, EOI; ISR, TMR and IRR; self IPI. */
function isVirtualizedX2apic(index: number): boolean {
	const register = index - X2APIC;
	return [0x08, 0x0a, 0x0b, 0x3f].includes(register) || (register >= 0x10 && register < 0x28);
}

/** tdx_has_emulated_msr(). */
export function tdxHasEmulatedMsr(index: number): boolean {
	if (index >= X2APIC && index <= X2APIC_LAST) return !isVirtualizedX2apic(index);
	if (index >= MACHINE_CHECK.first && index <= MACHINE_CHECK.last) return true;
	return EMULATED.has(index);
}

/** tdx_is_read_only_msr(). */
export function isReadOnlyMsr(index: number): boolean {
	return READ_ONLY.has(index);
}
