/** What makes a vCPU on another CPU look at its requests (virt/kvm/kvm_main.c, v6.18). */
import { VCPU_MODE } from "../requests.ts";
import { makeRequest, type Vcpu } from "../vcpu.ts";
import type { Vm } from "../vm.ts";

/** kvm_vcpu_kick(): wakes its thread if it sleeps, else sends its CPU an interrupt if the guest runs there. */
export function kvmVcpuKick(v: Vcpu): void {
	const { smp } = v.kernel;
	if (smp === null || v.thread === null || smp.wake(v.thread)) return;
	if (smp.running === v.kernel || v.mode !== VCPU_MODE.IN_GUEST_MODE) return;
	v.mode = VCPU_MODE.EXITING_GUEST_MODE;
	smp.sendReschedule(v.kernel);
}

/** kvm_make_request() and the kick that it needs when the vCPU may be on another CPU. @param request a KVM_REQ bit */
export function requestAndKick(v: Vcpu, request: number): void {
	makeRequest(v, request);
	kvmVcpuKick(v);
}

/** kvm_make_all_cpus_request(): every vCPU of the VM has seen the request before it enters its guest again. */
export function kvmMakeAllCpusRequest(vm: Vm, request: number): void {
	for (const vcpu of vm.vcpus) requestAndKick(vcpu, request);
}
