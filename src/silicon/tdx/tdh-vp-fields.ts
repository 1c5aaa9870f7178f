/**
 * TDH.VP.WR and TDH.VP.RD of the fields that a VMM needs for a TD's interrupts (TDX Module ABI Specification, "TDVPS": TD VMCS
 * and VCPU_STATE_DETAILS). The TD's local APIC is virtualized by the processor, in a page that the VMM cannot see: it posts
 * interrupts, and asks whether one waits.
 */
import { PIN } from "../vmx/controls.ts";
import { O } from "../vmx/fields.ts";
import type { TdVcpu } from "./td.ts";

/** Offset of the processor priority in the virtual-APIC page. */
const VPPR = 0xa0;

/**
 * TDH.VP.WR of POSTED_INTR_DESC_ADDR, POSTED_INTR_NV and "process posted interrupts": from now on the notification vector is
 * the processor's while the TD runs.
 * @param descriptorHpa the descriptor's address, a multiple of 64
 * @param vector of notifications
 */
export function tdhVpWrPostedInterrupts(vcpu: TdVcpu, descriptorHpa: number, vector: number): void {
	const { vmcs } = vcpu;
	vmcs.set("POSTED_INTR_DESC_ADDR", BigInt(descriptorHpa));
	vmcs.set("POSTED_INTR_NV", vector);
	const pin = vmcs.u32[O.PIN_BASED_VM_EXEC_CONTROL >> 2]!;
	vmcs.set("PIN_BASED_VM_EXEC_CONTROL", pin | PIN.postedInterrupts);
}

/**
 * TDH.VP.RD of VCPU_STATE_DETAILS: VMXIP, a virtual interrupt that the vCPU takes as soon as RFLAGS.IF lets it.
 * @returns whether RVI is of a higher priority class than VPPR
 */
export function tdhVpRdVmxip({ td, vmcs, virtualApicHpa }: TdVcpu): boolean {
	const rvi = vmcs.u32[O.GUEST_INTR_STATUS >> 2]! & 0xff;
	const { memory } = td;
	const vppr = memory.u32[(memory.ramBase + virtualApicHpa + VPPR) >> 2]! & 0xff;
	return rvi >> 4 > vppr >> 4;
}
