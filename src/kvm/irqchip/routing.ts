/**
 * From a global system interrupt to the pins of PIC and I/O APIC (virt/kvm/irqchip.c), with the routes that QEMU
 * sets up: ISA interrupt n is input n of the PICs and pin n of the I/O APIC, but for the timer, which is pin 2.
 */
import type { Vm } from "../vm.ts";
import { kernelIrqchip } from "./irqchip.ts";

const ISA_INTERRUPTS = 16;
const TIMER_GSI = 0;
const TIMER_PIN = 2;

/**
 * KVM_IRQ_LINE: sets the level of an interrupt line.
 * @param gsi 0-23
 */
export function kvmSetIrq(vm: Vm, gsi: number, level: boolean): void {
	const chip = kernelIrqchip(vm);
	if (chip === null) return;
	if (gsi < ISA_INTERRUPTS) chip.pic.setIrq(gsi, level);
	if (gsi === TIMER_PIN) return;
	chip.ioapic.setIrq(gsi === TIMER_GSI ? TIMER_PIN : gsi, level);
}

/** A line that rises and falls at once: what edge-triggered devices do. */
export function pulseIrq(vm: Vm, gsi: number): void {
	kvmSetIrq(vm, gsi, true);
	kvmSetIrq(vm, gsi, false);
}
