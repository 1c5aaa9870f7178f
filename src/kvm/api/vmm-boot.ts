/** Puts a boot state (guests/boot.ts) into a VM's memory and a vCPU's registers, as KVM's ioctls would. */
import { type BootState, type GuestParameters, tdMemory } from "../../guests/boot.ts";
import type { Image } from "../../guests/image.ts";
import { writeGuestPhysical } from "../emulate/guest-memory.ts";
import { kvmVcpuReset } from "../emulate/reset.ts";
import { MP_STATE } from "../requests.ts";
import { tdxFinalizeVm, tdxInitMemRegion } from "../tdx/memory.ts";
import type { Vcpu } from "../vcpu.ts";
import { setRegs, setSregs } from "./registers.ts";

/** Memory, then the registers of a vCPU that was reset. */
export function boot(v: Vcpu, state: BootState): void {
	for (const { gpa, bytes } of state.memory) writeGuestPhysical(v.vm, gpa, bytes);
	kvmVcpuReset(v, false);
	v.mpState = MP_STATE.RUNNABLE;
	setSregs(v, state.sregs);
	setRegs(v, state.regs);
}

/**
 * Adds a TD's image page by page; the TDX module has put the vCPU at the reset vector.
 * @throws ImageError if the image does not lie right below 4 GiB
 */
export function bootTd(v: Vcpu, image: Image, parameters: GuestParameters): void {
	const { gpa, bytes } = tdMemory(image, parameters);
	tdxInitMemRegion(v, gpa, bytes);
	tdxFinalizeVm(v);
	v.mpState = MP_STATE.RUNNABLE;
}
