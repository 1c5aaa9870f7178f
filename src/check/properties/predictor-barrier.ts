/**
 * User space does not run on branch predictions that a guest has left: an indirect branch prediction barrier is between
 * them (VMSCAPE, commit 2f8f173413f1).
 *
 * KVM does no barrier itself. It marks the CPU, and whatever task goes to user space from there does it. So the mark must
 * be set while the CPU cannot change and nobody else can run on it: before preemption is enabled.
 *
 * Not covered: CPUs that are not affected; kernels with the #MC handler of before 2020, which had no such barrier and
 * sleep where the mark is not set yet; barriers that a context switch does for tasks which asked for them.
 */
import type { Property } from "./property.ts";

export const predictorBarrier: Property = {
	name: "predictor-barrier",
	title: "a branch prediction barrier is between a guest and user space",
	degree: "violation",
	ops: ["user_transition"],
	onOp({ machine: { cpu, kernel } }) {
		if (!cpu.guestBranches || !cpu.model.features.ibpbExitToUser) return null;
		if (kernel.mceHandler === "schedule") return null;
		return `task "${kernel.current.name}" goes to user space on the guest's branch predictions`;
	},
};
