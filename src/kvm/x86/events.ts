/** Injection of exceptions, NMIs and interrupts into the guest (arch/x86/kvm/x86.c, v6.18). */
import { KVM_REQ } from "../requests.ts";
import { type Vcpu, makeRequest } from "../vcpu.ts";

/** The vector that the local APIC would deliver now, or -1: kvm_cpu_has_injectable_intr(). */
function injectableInterrupt(v: Vcpu): number {
	return v.apic === null ? -1 : v.apic.kvmApicHasInterrupt();
}

/**
 * kvm_check_and_inject_events(): what was being injected when an exit interrupted it goes first, then a
 * new exception, then NMIs, then interrupts; what may not be delivered yet asks for a window.
 */
export function checkAndInjectEvents(v: Vcpu): void {
	const { ops } = v.vm;
	let canInject = true;
	if (v.exception.injected) {
		ops.injectException(v);
		canInject = false;
	} else if (v.exception.pending) {
		v.exception.pending = false;
		v.exception.injected = true;
		ops.injectException(v);
		canInject = false;
	} else if (v.nmiInjected) {
		ops.injectNmi(v);
		canInject = false;
	} else if (v.interrupt.injected) {
		ops.injectIrq(v);
		canInject = false;
	}
	if (v.nmiPending > 0) {
		if (canInject && ops.nmiAllowed(v)) {
			v.nmiPending--;
			v.nmiInjected = true;
			ops.injectNmi(v);
			canInject = false;
		}
		if (v.nmiPending > 0) ops.enableNmiWindow(v);
	}
	if (injectableInterrupt(v) >= 0) {
		if (canInject && ops.interruptAllowed(v)) {
			v.interrupt.vector = v.apic!.kvmGetApicInterrupt();
			v.interrupt.soft = false;
			v.interrupt.injected = true;
			ops.injectIrq(v);
		}
		if (injectableInterrupt(v) >= 0) ops.enableIrqWindow(v);
	}
}

/** kvm_x86_ops.cancel_injection(): entry did not take place; injection is tried anew. */
export function cancelInjection(v: Vcpu): void {
	v.vm.ops.cancelInjection(v);
	if (v.exception.injected || v.nmiInjected || v.interrupt.injected) makeRequest(v, KVM_REQ.EVENT);
}
