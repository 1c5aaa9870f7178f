/** What makes a vCPU on another CPU look at its requests (virt/kvm/kvm_main.c, v6.18). */
import type { Cpu } from "../../silicon/cpu/cpu.ts";
import { OP } from "../../silicon/ops.ts";
import { flow, step } from "../flow/flow.ts";
import { VCPU_MODE } from "../requests.ts";
import { makeRequest, type Vcpu } from "../vcpu.ts";
import type { Vm } from "../vm.ts";

/** The CPU that makes a request of a vCPU; null where there is one CPU, on which nobody sees the order. */
function senderOf(v: Vcpu): Cpu | null {
	return v.kernel.smp?.running?.cpu ?? null;
}

/** kvm_vcpu_kick(): wakes its thread if it sleeps, else sends its CPU an interrupt if the guest runs there. */
export function kvmVcpuKick(v: Vcpu): void {
	const { smp } = v.kernel;
	senderOf(v)?.op(OP.kvm_vcpu_kick);
	if (smp === null || v.thread === null || smp.wake(v.thread)) return;
	// The interrupt goes to vcpu->cpu, wherever the guest runs.
	if (v.cpuNumber !== v.cpu.number) return;
	if (smp.running === v.kernel || v.mode !== VCPU_MODE.IN_GUEST_MODE) return;
	v.mode = VCPU_MODE.EXITING_GUEST_MODE;
	smp.sendReschedule(v.kernel);
}

/**
 * kvm_make_request() of the request in `argument` of the vCPU in `argumentVcpu`, and then the kick: NON-KVM, a pair that
 * its callers write out. The vCPU that it is called for is the one that asks.
 */
export const kvmRequestAndKick = flow("kvm_request_and_kick", "kvm_main.c", [
	step("kvm_make_request", ({ argument, argumentVcpu }) => {
		senderOf(argumentVcpu!)?.op(OP.kvm_make_request);
		makeRequest(argumentVcpu!, argument);
	}),
	step("kvm_vcpu_kick", ({ argumentVcpu }) => kvmVcpuKick(argumentVcpu!)),
]);

/** The vCPU whose thread runs now; the one that is asked where no other one does, as in a timer's handler. */
function askingVcpu(v: Vcpu): Vcpu {
	const running = v.kernel.smp?.running ?? null;
	if (running === null || running === v.kernel) return v;
	return v.vm.vcpus.find(({ kernel, thread }) => kernel === running && kernel.current === thread?.task) ?? v;
}

/** kvm_make_request() and the kick that it needs when the vCPU may be on another CPU. @param request a KVM_REQ bit */
export function requestAndKick(v: Vcpu, request: number): void {
	const asking = askingVcpu(v);
	asking.argument = request;
	asking.argumentVcpu = v;
	v.vm.tree.helpers.kvm_request_and_kick(asking);
}

/** kvm_make_all_cpus_request(): every vCPU of the VM has seen the request before it enters its guest again. */
export function kvmMakeAllCpusRequest(vm: Vm, request: number): void {
	for (const vcpu of vm.vcpus) requestAndKick(vcpu, request);
}
