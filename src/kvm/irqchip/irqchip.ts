/** What KVM_CREATE_IRQCHIP and KVM_CREATE_PIT2 give a VM beside the local APICs. */
import { KVM_REQ } from "../requests.ts";
import type { Vm } from "../vm.ts";
import { requestAndKick } from "../x86/kick.ts";
import { IoApic } from "./ioapic.ts";
import { PicPair } from "./pic.ts";
import { Pit } from "./pit.ts";

export interface KernelIrqchip {
	readonly pic: PicPair;
	/** null: KVM_CREATE_PIT2 was not called. */
	readonly pit: Pit | null;
	readonly ioapic: IoApic;
}

const irqchips = new WeakMap<Vm, KernelIrqchip>();

/** pic_unlock(): whoever takes the PIC's interrupts looks at it. */
function picOutput(vm: Vm): void {
	for (const vcpu of vm.vcpus) if (vcpu.apic?.acceptsPic === true) requestAndKick(vcpu, KVM_REQ.EVENT);
}

/** The VM's in-kernel interrupt controllers, made at first use; null for a VM without. */
export function kernelIrqchip(vm: Vm): KernelIrqchip | null {
	if (!vm.irqchip) return null;
	let chip = irqchips.get(vm);
	if (chip === undefined) {
		const pic = new PicPair(() => picOutput(vm));
		chip = { pic, pit: vm.pit ? new Pit(vm) : null, ioapic: new IoApic(vm) };
		irqchips.set(vm, chip);
	}
	return chip;
}

/** Whether a port can be one of the in-kernel devices': a cheap test before the search. */
function isKernelPort(port: number): boolean {
	return (port >= 0x20 && port <= 0xa1) || port === 0x4d0 || port === 0x4d1;
}

/** kvm_io_bus_read(KVM_PIO_BUS). @param cycles the time @returns the byte, or -1 when user space must answer */
export function kernelPioRead(vm: Vm, port: number, cycles: number): number {
	if (!isKernelPort(port)) return -1;
	const chip = kernelIrqchip(vm);
	if (chip === null) return -1;
	const value = chip.pic.read(port);
	return value >= 0 ? value : (chip.pit?.read(port, cycles) ?? -1);
}

/** kvm_io_bus_write(KVM_PIO_BUS). @returns whether a device in the kernel took it */
export function kernelPioWrite(vm: Vm, port: number, value: number, cycles: number): boolean {
	if (!isKernelPort(port)) return false;
	const chip = kernelIrqchip(vm);
	if (chip === null) return false;
	return chip.pic.write(port, value) || (chip.pit?.write(port, value, cycles) ?? false);
}
