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

/** Asks the devices in the kernel. @returns the value, or -1 */
export function kernelIn(v: Vcpu, port: number, bytes: number): number {
	const low = kernelPioRead(v.vm, port, v.cpu.cycles);
	return low < 0 || bytes === 1 ? low : (low | 0xffff_ff00) & (bytes === 2 ? 0xffff : 0x7fff_ffff);
}

/** @returns whether a device in the kernel took it */
export function kernelOut(v: Vcpu, port: number, value: number): boolean {
	return kernelPioWrite(v.vm, port, value & 0xff, v.cpu.cycles);
}
