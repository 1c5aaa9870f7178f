/** What the fastpath does for WRMSR (arch/x86/kvm/x86.c, arch/x86/kvm/lapic.c). Interrupts are off here. */
import { APIC_DEST_LOGICAL, APIC_DM_MASK, APIC_SHORT_MASK } from "../irqchip/apic-registers.ts";
import { x2apicIcrWrite } from "../irqchip/lapic-access.ts";
import type { Vcpu } from "../vcpu.ts";

/**
 * handle_fastpath_set_x2apic_icr_irqoff(): a fixed IPI with a physical destination and no shorthand.
 * @param data the MSR's 64 bits; at 2^53 and above a broadcast, which the fastpath leaves alone
 * @returns whether it was handled; if not, the exit goes the slow way
 */
export function handleFastpathSetX2apicIcrIrqoff(v: Vcpu, data: number): boolean {
	const { apic } = v;
	v.cpu.code(14);
	if (apic === null || !apic.isX2apic || data >= 2 ** 53) return false;
	const low = data % 2 ** 32;
	if ((low & (APIC_SHORT_MASK | APIC_DEST_LOGICAL | APIC_DM_MASK)) !== 0) return false;
	v.cpu.code(60);
	return x2apicIcrWrite(apic, low, Math.floor(data / 2 ** 32));
}

/**
 * handle_fastpath_set_tscdeadline(): arms the local APIC's timer.
 * @param data guest TSC cycles
 * @returns whether it was handled
 */
export function handleFastpathSetTscdeadline(v: Vcpu, data: number | bigint): boolean {
	const { apic } = v;
	v.cpu.code(60);
	if (apic === null) return false;
	apic.setTscDeadline(Number(data));
	return true;
}
