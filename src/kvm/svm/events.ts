/** Event injection by the VMCB, and what an exit interrupted (arch/x86/kvm/svm/svm.c, v6.18). */
import { VECTOR } from "../../silicon/cpu/fault.ts";
import { KVM_REQ } from "../requests.ts";
import { type Vcpu, makeRequest } from "../vcpu.ts";

/** EVENTINJ and EXITINTINFO (APM Vol. 2, 15.20): type in bits 10:8, error code valid 11, valid 31. */
const TYPE = { intr: 0, nmi: 2, exception: 3, soft: 4 } as const;
const ERROR_CODE_VALID = 1 << 11;
const VALID = 0x8000_0000;

/** svm_complete_interrupts(): what was being delivered when the exit came is queued again. */
export function completeInterrupts(v: Vcpu): void {
	const info = v.svm!.vmcb.exitIntInfo;
	v.nmiInjected = false;
	v.exception.injected = false;
	v.interrupt.injected = false;
	if ((info & VALID) === 0) return;
	makeRequest(v, KVM_REQ.EVENT);
	const vector = info & 0xff;
	switch ((info >>> 8) & 7) {
		case TYPE.nmi:
			v.nmiInjected = true;
			break;
		case TYPE.exception:
			// INT3 and INTO are executed again: RIP still names them, and injection would push it.
			if (vector === VECTOR.BP || vector === VECTOR.OF) break;
			v.exception.injected = true;
			v.exception.vector = vector;
			v.exception.hasErrorCode = (info & ERROR_CODE_VALID) !== 0;
			v.exception.errorCode = v.svm!.vmcb.exitIntInfoErr;
			break;
		case TYPE.intr:
			v.interrupt.injected = true;
			v.interrupt.soft = false;
			v.interrupt.vector = vector;
			break;
		default:
			// A software interrupt is executed again: RIP still names the instruction.
			break;
	}
}

/** svm_inject_exception(). */
export function injectException(v: Vcpu): void {
	const { vmcb } = v.svm!;
	const { vector, hasErrorCode, errorCode } = v.exception;
	vmcb.eventInj = (vector | (TYPE.exception << 8) | (hasErrorCode ? ERROR_CODE_VALID : 0) | VALID) >>> 0;
	vmcb.eventInjErr = hasErrorCode ? errorCode : 0;
}

/** svm_inject_irq(). */
export function injectIrq(v: Vcpu): void {
	const type = v.interrupt.soft ? TYPE.soft : TYPE.intr;
	v.svm!.vmcb.eventInj = (v.interrupt.vector | (type << 8) | VALID) >>> 0;
}

/** svm_inject_nmi(). */
export function injectNmi(v: Vcpu): void {
	v.svm!.vmcb.eventInj = (2 | (TYPE.nmi << 8) | VALID) >>> 0;
	if (!v.svm!.vmcb.vNmiEnable) v.svm!.nmiMasked = true;
}

/** svm_cancel_injection(): entry did not happen, so the event is queued again. */
export function cancelInjection(v: Vcpu): void {
	const { vmcb } = v.svm!;
	vmcb.exitIntInfo = vmcb.eventInj;
	vmcb.exitIntInfoErr = vmcb.eventInjErr;
	vmcb.eventInj = 0;
	completeInterrupts(v);
}
