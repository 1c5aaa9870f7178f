/**
 * vcpu->cpu is the CPU that the guest runs on.
 *
 * Whoever kicks a vCPU sends the IPI to vcpu->cpu, and clears a VMCS or flushes a TD's vCPU there. A thread that goes on on
 * another CPU is loaded there by the scheduler's notifier; what vcpu_load() noted of the CPU before may not be stored behind it,
 * so preemption is off from where the number is read to where it is stored. An IPI to the wrong CPU makes no guest exit.
 *
 * Not covered: who reads vcpu->cpu while the vCPU is outside of its guest.
 */
import type { Property } from "./property.ts";

export const vcpuCpu: Property = {
	name: "vcpu-cpu",
	title: "vcpu->cpu is the CPU that the guest runs on",
	degree: "violation",
	onGuestEntry({ machine: { vcpu, cpu } }) {
		if (vcpu.cpuNumber === cpu.number) return null;
		return `the guest runs on CPU ${cpu.number}, and vcpu->cpu is ${vcpu.cpuNumber}: a kick goes there`;
	},
};
