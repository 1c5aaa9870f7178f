/**
 * The interrupt shadow in the guest's state is the guest's own.
 *
 * On AMD a VMRUN right behind the STI that set RFLAGS.IF runs in that STI's shadow. If the injection of an event exits
 * before VMRUN is complete, the shadow is left in the VMCB as the guest's (commit be45bc4eff33). The guest then takes its next
 * interrupt one instruction late.
 *
 * Not covered: VMX, whose entry checks refuse a shadow that does not fit; what emulation does to the guest's own shadow.
 */
import type { Property } from "./property.ts";

export const interruptShadow: Property = {
	name: "interrupt-shadow",
	title: "the guest's interrupt shadow is its own",
	degree: "violation",
	ops: ["#vmexit"],
	onOp({ machine: { vcpu } }) {
		if (vcpu.svm === null || !vcpu.svm.vmcb.shadowOfHost) return null;
		return "the shadow of the host's STI before VMRUN is in the guest's int_state";
	},
};
