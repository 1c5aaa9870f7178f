/** VM entries: which ops enter a guest, and whether it stays there. */
import { KVM_RUN } from "../../kvm/requests.ts";
import { PENDING } from "../../silicon/cpu/cpu.ts";
import { OP, type OpName } from "../../silicon/ops.ts";
import type { PropertyContext } from "./property.ts";

/** The ops that enter a guest. */
export const GUEST_ENTRIES: readonly OpName[] = ["vmlaunch", "vmresume", "vmrun", "seamcall"];

/** VMLAUNCH, VMRESUME, VMRUN, SEAMCALL: by that one a TD is entered, and the TDX module for everything else. */
export function isGuestEntry(op: number): boolean {
	return op === OP.vmresume || op === OP.vmlaunch || op === OP.vmrun || op === OP.seamcall;
}

/** Whether something ends the guest's run before its first instruction, or is about to: whatever waits is looked at again. */
export function leavesAtOnce({ machine: { cpu, vcpu }, isBeingKicked }: PropertyContext): boolean {
	return (
		isBeingKicked ||
		(cpu.pending & (PENDING.interrupt | PENDING.nmi | PENDING.machineCheck)) !== 0 ||
		(vcpu.runFlags & KVM_RUN.FORCE_IMMEDIATE_EXIT) !== 0
	);
}
