/**
 * The guest is told by steal time that its vCPU was preempted only where that was between two of its instructions.
 *
 * kvm_steal_time_set_preempted() goes by vcpu->arch.at_instruction_boundary. A guest that reads that another vCPU is preempted
 * leaves it out of TLB shootdowns. But a vCPU that is preempted while KVM emulates an instruction for it holds
 * translations of its own, which would then be stale (commit 6cd88243c7e0).
 *
 * Not covered: steal time itself, which is not there: the mark is looked at, at a switch.
 */
import { EXIT_CODE } from "../../silicon/svm/exit-codes.ts";
import { EXIT_REASON } from "../../silicon/vmx/controls.ts";
import type { Vcpu } from "../../kvm/vcpu.ts";
import type { Property } from "./property.ts";

const endedByInterrupt = ({ svm, vt }: Vcpu): boolean =>
	svm === null ? vt.exitReason === EXIT_REASON.externalInterrupt : svm.vmcb.exitCode === EXIT_CODE.intr;

export const preemptionReported: Property = {
	name: "preemption-reported",
	title: "a vCPU is reported as preempted between two of its instructions alone",
	degree: "violation",
	ops: ["switch_to"],
	onOp({ machine: { kernel, vcpu } }) {
		if (!vcpu.atInstructionBoundary) return null;
		if (kernel.current !== kernel.vcpuTask || kernel.current.preemptNotifier === null) return null;
		return endedByInterrupt(vcpu)
			? null
			: "the vCPU is reported as preempted, and KVM executes an instruction in its place";
	},
};
