/**
 * No posted interrupt is left behind at a VM entry: what lies in PIR is about to be moved, and RVI is the highest of IRR.
 *
 * Another CPU, or a device, puts a vector into PIR and sends the notification only to a vCPU that is in the guest. So KVM
 * moves PIR to IRR behind `mode = IN_GUEST_MODE`, before it enters, and before it looks for requests: for a vCPU whose
 * APICv is off the moving itself makes one. The processor delivers what RVI names and looks no further. A TD's virtual APIC
 * KVM cannot see: it sends itself the notification before it enters the TD, and the entry moves what was posted.
 *
 * Not covered: notifications while the vCPU is not in the guest, for which no CPU is asked (POSTED_INTR_WAKEUP_VECTOR).
 */
import { HOST_VECTOR } from "../../host/idt.ts";
import { PENDING } from "../../silicon/cpu/cpu.ts";
import { O } from "../../silicon/vmx/fields.ts";
import { KVM_RUN } from "../../kvm/requests.ts";
import { piDesc } from "../../kvm/vmx/posted-intr.ts";
import type { Property } from "./property.ts";

const hex = (vector: number) => `0x${Math.max(vector, 0).toString(16)}`;

export const postedInterrupts: Property = {
	name: "posted-interrupts",
	title: "posted interrupts are synchronised at VM entry, and RVI is the highest of IRR",
	degree: "violation",
	onGuestEntry({ machine: { apic, cpu, vcpu }, isBeingKicked }) {
		const posted = piDesc(vcpu);
		if (posted === null) return null;
		const leavesAtOnce =
			(cpu.pending & (PENDING.nmi | PENDING.machineCheck)) !== 0 ||
			(vcpu.runFlags & KVM_RUN.FORCE_IMMEDIATE_EXIT) !== 0;
		const notified = apic.requested(HOST_VECTOR.postedInterrupt) || (cpu.pending & PENDING.interrupt) !== 0;
		if (posted.hasRequests && !notified && !leavesAtOnce && !isBeingKicked)
			return "the guest runs while PIR holds an interrupt, and no notification is on its way";
		const { vmx } = vcpu;
		if (vmx?.apicv?.active !== true) return null;
		const rvi = vmx.vmcs.u32[O.GUEST_INTR_STATUS >> 2]! & 0xff;
		const highest = vcpu.apic!.highestRequested;
		if (rvi >= highest) return null;
		return `RVI is ${hex(rvi)}, the highest vector in IRR is ${hex(highest)}: it is not delivered`;
	},
};
