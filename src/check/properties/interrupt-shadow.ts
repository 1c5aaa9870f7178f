/**
 * The interrupt shadow in the guest's state is the guest's own.
 *
 * STI and MOV SS hold interrupts back for one instruction, which a guest relies on: STI; HLT sleeps with nothing lost between the two.
 * A guest that exits in a shadow, and does not come past the instruction by KVM's doing, enters in it again. And it has none that was
 * not its own: on AMD a VMRUN right behind the STI that set RFLAGS.IF runs in that STI's shadow, and if the injection of an event
 * exits before VMRUN is complete, the shadow is left in the VMCB as the guest's (commit be45bc4eff33).
 *
 * Not covered: a guest that a debugger in user space steps through, where VMX has to clear it; what emulation does to it.
 */
import { GUESTDBG } from "../../kvm/requests.ts";
import * as L from "../../silicon/cpu/layout.ts";
import { inShadow } from "../../silicon/cpu/modes.ts";
import type { Property } from "./property.ts";

/** The property's words: whether the guest exited in a shadow, and the low half of its RIP then. */
const SHADOWED = 0;
const RIP = 1;

export const interruptShadow: Property = {
	name: "interrupt-shadow",
	title: "the guest's interrupt shadow is its own",
	degree: "violation",
	words: 2,
	ops: ["#vmexit"],
	onOp({ machine: { vcpu } }) {
		if (vcpu.svm === null || !vcpu.svm.vmcb.shadowOfHost) return null;
		return "the shadow of the host's STI before VMRUN is in the guest's int_state";
	},
	onGuestExit({ machine: { cpu } }, memory) {
		memory[SHADOWED] = inShadow(cpu) ? 1 : 0;
		memory[RIP] = memory[SHADOWED] === 0 ? 0 : cpu.read32(L.RIP);
	},
	onGuestEntry({ machine: { cpu, vcpu } }, memory) {
		if (memory[SHADOWED] === 0 || (cpu.read32(L.RIP) | 0) !== memory[RIP] || inShadow(cpu)) return null;
		if ((vcpu.guestDebug & GUESTDBG.SINGLESTEP) !== 0) return null;
		return "the guest enters without the interrupt shadow that it exited in";
	},
};
