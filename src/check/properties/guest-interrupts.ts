/**
 * The guest's interrupts: none is lost, and none is injected twice.
 *
 * KVM takes a vector from IRR into ISR when it injects it. If the exit comes before the guest has taken it, KVM must inject
 * it again: forgotten, it stays in service, and the local APIC holds back all of its class and below. Injected again
 * although the guest has taken it, its handler ends a second time an interrupt that is not in service. And whatever IRR
 * holds that may not be delivered yet needs a window, or the guest does not exit when it may.
 *
 * Not covered: a guest that writes EOI without an interrupt, which no guest of the check does; APICv, where the processor
 * delivers, see posted-interrupts.
 */
import { EXIT_CODE } from "../../silicon/svm/exit-codes.ts";
import { CPU_BASED } from "../../silicon/vmx/controls.ts";
import { O } from "../../silicon/vmx/fields.ts";
import type { Lapic } from "../../kvm/irqchip/lapic.ts";
import { APIC } from "../../kvm/irqchip/apic-registers.ts";
import type { Vcpu } from "../../kvm/vcpu.ts";
import { endedFromOutside } from "../end-of-run.ts";
import { leavesAtOnce } from "./guest-entry.ts";
import type { Property } from "./property.ts";

/** The property's word: the guest has ended an interrupt that was not in service. */
const SPURIOUS_EOI = 0;

/** The vector that could be delivered now if the guest lets it, or -1. */
function deliverable(apic: Lapic): number {
	const vector = apic.highestRequested;
	const priority = Math.max(apic.regs[APIC.TASKPRI >> 2]! >> 4, apic.highestInService >> 4);
	return vector >> 4 > priority ? vector : -1;
}

/** The guest exits as soon as it can take an interrupt. */
function hasWindow({ vmx, svm }: Vcpu): boolean {
	if (vmx !== null)
		return (vmx.vmcs.u32[O.CPU_BASED_VM_EXEC_CONTROL >> 2]! & CPU_BASED.interruptWindowExiting) !== 0;
	return svm?.vmcb.intercepted(EXIT_CODE.vintr) === true;
}

export const guestInterrupts: Property = {
	name: "guest-interrupts",
	title: "no interrupt for the guest is lost or injected twice",
	degree: "violation",
	words: 1,
	onGuestWrite(_context, register, vector, memory) {
		if (register === "EOI" && Number(vector) < 0) memory[SPURIOUS_EOI] = 1;
	},
	onOp(_context, _op, memory) {
		if (memory[SPURIOUS_EOI] === 0) return null;
		memory[SPURIOUS_EOI] = 0;
		return "the guest ended an interrupt that was not in service: it was injected twice";
	},
	onGuestEntry(context) {
		const { vcpu, vm } = context.machine;
		const { apic } = vcpu;
		if (apic === null || vcpu.guestStateProtected || vm.ops.apicvActive?.(vcpu) === true) return null;
		const vector = deliverable(apic);
		if (vector < 0 || leavesAtOnce(context) || vcpu.requests !== 0 || hasWindow(vcpu)) return null;
		return `vector 0x${vector.toString(16)} waits in IRR, and nothing will make the guest exit for it`;
	},
	onEnd({ machine }) {
		const { vcpu } = machine;
		if (vcpu.guestStateProtected || vcpu.interrupt.injected || endedFromOutside(machine)) return null;
		const vector = vcpu.apic?.highestInService ?? -1;
		if (vector < 0) return null;
		return `vector 0x${vector.toString(16)} is in service, and the guest never got it`;
	},
};
