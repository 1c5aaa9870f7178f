/**
 * An instruction that KVM executes in the guest's place counts once for the guest's counter of instructions, and nothing else
 * counts.
 *
 * A VM exit comes before the instruction has retired, so that the processor does not count it. KVM moves RIP on when it has
 * done what the instruction does, and counts it then; one that the guest is to begin anew it leaves.
 *
 * Not covered: what the counter of a guest says: there is none in hardware here, and KVM's count is looked at.
 */
import type { Vcpu } from "../../kvm/vcpu.ts";
import * as L from "../../silicon/cpu/layout.ts";
import { O } from "../../silicon/vmx/fields.ts";
import type { Property } from "./property.ts";

/** The property's words: an exit is noted, and RIP and KVM's count were these at it. */
const NOTED = 0;
const RIP = 1;
const COUNT = 2;

/** RIP as the VM exit has saved it and the next entry loads it: the low half, all that these guests have. */
function savedRip({ vmx, svm }: Vcpu): number {
	return vmx === null ? Number(svm!.vmcb.rip) : vmx.vmcs.u32[O.GUEST_RIP >> 2]!;
}

export const guestCounter: Property = {
	name: "guest-counter",
	title: "an instruction that KVM executes for the guest counts once",
	degree: "violation",
	words: 3,
	onGuestExit({ machine: { cpu, vcpu } }, memory) {
		if (!vcpu.pmu.countsInstructions) return;
		memory[NOTED] = 1;
		memory[RIP] = cpu.readNumber(L.RIP);
		memory[COUNT] = vcpu.pmu.instructionsRetired;
	},
	onGuestEntry({ machine: { vcpu } }, memory) {
		if (memory[NOTED] === 0) return null;
		const counted = vcpu.pmu.instructionsRetired - memory[COUNT]!;
		const executed = savedRip(vcpu) === memory[RIP] ? 0 : 1;
		return counted === executed
			? null
			: `KVM counted ${counted} instructions for the guest, and executed ${executed}`;
	},
};
