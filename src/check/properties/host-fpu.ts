/**
 * User space finds the x87, SSE and AVX registers that it has left: its own, not the guest's and not another task's.
 *
 * KVM_RUN exchanges the task's image for the guest's and back. The scheduler and interrupts that use the FPU save what the
 * registers hold into the image that the task has at that time: exchanged once too often, or not at all, user space computes
 * with the guest's numbers, and the guest reads user space's.
 *
 * Not covered: other registers than XMM1, which stands for all of the image; XMM1's upper half.
 */
import { XFEATURE } from "../../silicon/cpu/control.ts";
import * as L from "../../silicon/cpu/layout.ts";
import type { Property } from "./property.ts";

const XMM1 = L.XSTATE + 176;

export const hostFpu: Property = {
	name: "host-fpu",
	title: "user space has its own FPU registers",
	degree: "violation",
	ops: ["user_transition"],
	onOp({ machine: { cpu, kernel } }) {
		const { name, userXmm1 } = kernel.current;
		const inUse = (cpu.read32(L.XINUSE) & XFEATURE.sse) !== 0;
		if (inUse && cpu.read32(XMM1) === userXmm1) return null;
		return `task "${name}" goes to user space with XMM1 0x${(inUse ? cpu.read32(XMM1) : 0).toString(16)}, its own is 0x${userXmm1.toString(16)}`;
	},
};
