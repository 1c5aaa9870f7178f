/** Injection of exceptions, NMIs and interrupts into the guest (arch/x86/kvm/x86.c, v6.18). */
import { kernelIrqchip } from "../irqchip/irqchip.ts";
import { symbol } from "../../silicon/cpu/symbols.ts";
import { GUESTDBG, KVM_EXIT, KVM_REQ } from "../requests.ts";
import { type Vcpu, makeRequest } from "../vcpu.ts";

const CHECK_AND_INJECT_EVENTS = symbol("kvm_check_and_inject_events");

/** kvm_cpu_has_extint(): the PIC has an interrupt, and LINT0 takes it. */
function hasExtint(v: Vcpu): boolean {
	return v.apic?.acceptsPic === true && kernelIrqchip(v.vm)?.pic.output === true;
}

/** kvm_cpu_has_interrupt(): the PIC or the local APIC has one that may be delivered now. */
export function kvmCpuHasInterrupt(v: Vcpu): boolean {
	if (v.apic === null) return false;
	if (v.guestStateProtected) return v.vm.ops.protectedApicHasInterrupt?.(v) === true;
	return v.apic.kvmApicHasInterrupt() >= 0 || hasExtint(v);
}

/** kvm_cpu_has_injectable_intr(): with APICv the processor delivers the local APIC's. */
function hasInjectable(v: Vcpu): boolean {
	return v.vm.ops.apicvActive?.(v) === true ? hasExtint(v) : kvmCpuHasInterrupt(v);
}

/** kvm_cpu_get_interrupt(): acknowledges it. @returns the vector */
function kvmCpuGetInterrupt(v: Vcpu): number {
	return hasExtint(v) ? kernelIrqchip(v.vm)!.pic.acknowledge() : v.apic!.kvmGetApicInterrupt();
}

/** process_nmi(): one that is handled and one that waits are all that a processor can remember. */
export function processNmi(v: Vcpu): void {
	const { ops } = v.vm;
	let limit = ops.nmiMasked(v) || v.nmiInjected ? 1 : 2;
	if (ops.vnmiPending(v)) limit--;
	v.nmiPending = Math.min(v.nmiPending + v.nmiQueued, limit);
	v.nmiQueued = 0;
	if (v.nmiPending > 0 && ops.setVnmiPending(v)) v.nmiPending--;
	if (v.nmiPending > 0) makeRequest(v, KVM_REQ.EVENT);
}

/** kvm_inject_exception(): exceptions of real mode have no error codes, and VM entry refuses one. */
function injectException(v: Vcpu, reinjected: boolean): void {
	const { exception } = v;
	v.exception.hasErrorCode &&= (v.cr0 & 1n) !== 0n;
	v.tracer?.tracepoint?.(v, "kvm_inj_exception", {
		vector: exception.vector,
		errorCode: exception.hasErrorCode ? exception.errorCode : null,
		reinjected,
	});
	v.vm.ops.injectException(v);
}

/** kvm_x86_ops.inject_irq(). */
function injectIrq(v: Vcpu, reinjected: boolean): void {
	const { vector, soft } = v.interrupt;
	v.tracer?.tracepoint?.(v, "kvm_inj_virq", { vector, soft, reinjected });
	v.vm.ops.injectIrq(v);
}

/**
 * kvm_check_and_inject_events(): what was being injected when an exit interrupted it goes first, then a
 * new exception, then NMIs, then interrupts; what may not be delivered yet asks for a window. What waits behind another event
 * (-EBUSY) asks for an exit as soon as that one is delivered.
 */
export function checkAndInjectEvents(v: Vcpu): void {
	v.cpu.enter(CHECK_AND_INJECT_EVENTS);
	injectEvents(v);
	v.cpu.leave();
}

function injectEvents(v: Vcpu): void {
	const { ops } = v.vm;
	let canInject = true;
	if (v.exception.injected) {
		injectException(v, true);
		canInject = false;
	} else if (v.exception.pending) {
		v.exception.pending = false;
		v.exception.injected = true;
		injectException(v, false);
		canInject = false;
	} else if (v.nmiInjected) {
		ops.injectNmi(v);
		canInject = false;
	} else if (v.interrupt.injected) {
		injectIrq(v, true);
		canInject = false;
	}
	// The debugger that steps has asked for none.
	if ((v.guestDebug & GUESTDBG.BLOCKIRQ) !== 0) return;
	if (v.nmiPending > 0) {
		if (!canInject) {
			v.reqImmediateExit = true;
			return;
		}
		if (ops.nmiAllowed(v)) {
			v.nmiPending--;
			v.nmiInjected = true;
			ops.injectNmi(v);
			canInject = false;
		}
		if (v.nmiPending > 0) ops.enableNmiWindow(v);
	}
	if (userWantsWindow(v) && !v.interrupt.injected) ops.enableIrqWindow(v);
	if (hasInjectable(v)) {
		if (!canInject) {
			v.reqImmediateExit = true;
			return;
		}
		if (ops.interruptAllowed(v)) {
			v.interrupt.vector = kvmCpuGetInterrupt(v);
			v.interrupt.soft = false;
			v.interrupt.injected = true;
			injectIrq(v, false);
		}
		if (hasInjectable(v)) ops.enableIrqWindow(v);
	}
}

/** dm_request_for_irq_injection(): user space, which has the interrupt controller, waits until it may inject. */
const userWantsWindow = (v: Vcpu) => v.apic === null && v.run.requestInterruptWindow;

/** The guest can take interrupts again. @returns 0 for KVM_EXIT_IRQ_WINDOW_OPEN, else 1 */
export function interruptWindowOpened(v: Vcpu): number {
	if (!userWantsWindow(v)) return 1;
	v.run.exitReason = KVM_EXIT.IRQ_WINDOW_OPEN;
	return 0;
}

/** kvm_x86_ops.cancel_injection(): entry did not take place; injection is tried anew. */
export function cancelInjection(v: Vcpu): void {
	v.vm.ops.cancelInjection(v);
	if (v.exception.injected || v.nmiInjected || v.interrupt.injected) makeRequest(v, KVM_REQ.EVENT);
}
