/** ACPI's S3, suspend to RAM, as far as it is the VMM's: the machine stands still, then firmware hands over to the guest. */
import type { Kernel } from "../../host/kernel.ts";
import * as L from "../../silicon/cpu/layout.ts";
import { WAKING_VECTOR_GPA } from "../devices/acpi.ts";
import { readGuestPhysical } from "../emulate/guest-memory.ts";
import { kvmVcpuReset } from "../emulate/reset.ts";
import { MP_STATE } from "../requests.ts";
import { loadHere, type Vcpu } from "../vcpu.ts";

/** The vCPU's thread sleeps in user space. @param cycles of its CPU until when */
export function sleepUntil(kernel: Kernel, cycles: number): void {
	while (kernel.hrtimers.nextCycles < cycles && kernel.idleToTimer());
	kernel.cpu.idleUntil(cycles);
}

/**
 * The firmware's part of waking up: the processor was reset, and goes to the waking vector of the FACS in real mode, with
 * CS:IP made of the address's upper and lower four bits (ACPI Specification 6.4, table 5.12). Memory is as it was left; so
 * are the interrupt controllers, which firmware would have initialized.
 */
export function goToWakingVector(v: Vcpu): void {
	const { ops, tree } = v.vm;
	const bytes = new Uint8Array(4);
	readGuestPhysical(v.vm, WAKING_VECTOR_GPA, bytes);
	const address = new DataView(bytes.buffer).getUint32(0, true);
	loadHere(v);
	kvmVcpuReset(v, false);
	v.mpState = MP_STATE.RUNNABLE;
	const selector = (address >>> 4) & 0xffff;
	ops.setSegment(v, L.CS, { base: BigInt(selector << 4), limit: 0xffff, attributes: 0x9b, selector });
	ops.setRip(v, BigInt(address & 0xf));
	tree.helpers.kvm_arch_vcpu_put(v);
}
