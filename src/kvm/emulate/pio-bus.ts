/** Ports as KVM sees them: devices in the kernel, or vcpu->run for user space. */
import { kernelPioRead, kernelPioWrite } from "../irqchip/irqchip.ts";
import { KVM_EXIT } from "../requests.ts";
import type { Vcpu } from "../vcpu.ts";

/** emulator_pio_in_out(): fills vcpu->run for user space. */
export function exitToUserForIo(v: Vcpu, write: boolean, port: number, bytes: number, count: number): void {
	const { run } = v;
	run.exitReason = KVM_EXIT.IO;
	run.io.write = write;
	run.io.port = port;
	run.io.bytes = bytes;
	run.io.count = count;
}

/** An element of port data. @param bytes 1, 2 or 4 @returns unsigned */
export function littleEndian(data: Uint8Array, at: number, bytes: number): number {
	if (bytes === 1) return data[at]!;
	const low = data[at]! | (data[at + 1]! << 8);
	return bytes === 2 ? low : (low | (data[at + 2]! << 16) | (data[at + 3]! << 24)) >>> 0;
}

/** Asks the devices in the kernel. @returns the value, or -1 */
export function kernelIn(v: Vcpu, port: number, bytes: number): number {
	const low = kernelPioRead(v.vm, port, v.cpu.cycles);
	return low < 0 || bytes === 1 ? low : (low | 0xffff_ff00) & (bytes === 2 ? 0xffff : 0x7fff_ffff);
}

/**
 * kvm_io_bus_write(KVM_PIO_BUS).
 * @param bytes 1, 2 or 4
 * @returns whether a device in the kernel, or an eventfd, took it
 */
export function kernelOut(v: Vcpu, port: number, bytes: number, value: number): boolean {
	const { vm } = v;
	return (
		kernelPioWrite(vm, port, value & 0xff, v.cpu.cycles) ||
		(vm.ioBus.inUse && vm.ioBus.write(true, port, bytes, BigInt(value >>> 0)))
	);
}
