/** A vCPU comes onto a CPU and leaves it (arch/x86/kvm/x86.c: kvm_arch_vcpu_load(), kvm_arch_vcpu_put(), v6.18). */
import { readPkru } from "../../host/access.ts";
import { callOp, flow, step, when } from "../flow/flow.ts";
import { KVM_REQ } from "../requests.ts";
import { loadingCpu, makeRequest } from "../vcpu.ts";

/** At the start of KVM_RUN, and whenever the scheduler switches the vCPU's thread in again. Interrupts may be on. */
export const kvmArchVcpuLoad = flow("kvm_arch_vcpu_load", "x86.c", [
	when("X86_FEATURE_PKU", (v) => v.cpu.model.features.pku, [
		step(
			"host_pkru = RDPKRU",
			(v) => {
				v.hostPkru = readPkru(v.cpu);
			},
			3,
		),
	]),
	callOp("vcpu_load"),
	when(
		"vcpu->cpu != cpu",
		(v) => v.cpuNumber !== loadingCpu(v),
		[
			step("KVM_REQ_MIGRATE_TIMER", (v) => {
				if (v.cpuNumber >= 0) makeRequest(v, KVM_REQ.MIGRATE_TIMER);
			}),
			step("vcpu->cpu = cpu", (v) => {
				v.cpuNumber = loadingCpu(v);
				v.loadedOn = v.cpu;
			}),
		],
		[],
		2,
	),
]);

/** At the end of KVM_RUN, and whenever the scheduler switches the vCPU's thread out. */
export const kvmArchVcpuPut = flow("kvm_arch_vcpu_put", "x86.c", [callOp("vcpu_put")]);
