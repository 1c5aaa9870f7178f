/** KVM_GET_VCPU_EVENTS and KVM_SET_VCPU_EVENTS (arch/x86/kvm/x86.c, v6.18). SMM is not modelled. */
import { KVM_REQ } from "../requests.ts";
import { type Vcpu, makeRequest } from "../vcpu.ts";
import { processNmi } from "../x86/events.ts";
import { KvmError } from "../../uapi/api.ts";
import type { KvmVcpuEvents } from "../../uapi/structs.ts";

/** KVM_VCPUEVENT_VALID_*. */
const VALID = { nmiPending: 1, sipiVector: 2, shadow: 4, smm: 8 } as const;
const KNOWN = VALID.nmiPending | VALID.sipiVector | VALID.shadow | VALID.smm;
const VECTORS_OF_EXCEPTIONS = 32;

/** INT3 and INTO are executed again instead: kvm_exception_is_soft(). */
const isSoft = (vector: number) => vector === 3 || vector === 4;

/** KVM_GET_VCPU_EVENTS. */
export function getVcpuEvents(v: Vcpu): KvmVcpuEvents {
	if ((v.requests & KVM_REQ.NMI) !== 0) {
		v.requests &= ~KVM_REQ.NMI;
		processNmi(v);
	}
	const { exception, interrupt } = v;
	const { ops } = v.vm;
	const soft = isSoft(exception.vector);
	return {
		exception: {
			// Without KVM_CAP_EXCEPTION_PAYLOAD what is pending shows as injected.
			injected: !soft && (exception.injected || exception.pending) ? 1 : 0,
			nr: exception.vector,
			has_error_code: exception.hasErrorCode ? 1 : 0,
			pending: !soft && exception.pending ? 1 : 0,
			error_code: exception.errorCode,
		},
		interrupt: {
			injected: interrupt.injected && !interrupt.soft ? 1 : 0,
			nr: interrupt.vector,
			soft: 0,
			shadow: ops.getInterruptShadow(v),
		},
		nmi: {
			injected: v.nmiInjected ? 1 : 0,
			pending: v.nmiPending + (ops.vnmiPending(v) ? 1 : 0),
			masked: ops.nmiMasked(v) ? 1 : 0,
			pad: 0,
		},
		sipi_vector: 0,
		flags: VALID.nmiPending | VALID.shadow | VALID.smm,
		smi: { smm: 0, pending: 0, smm_inside_nmi: 0, latched_init: 0 },
		triple_fault: { pending: 0 },
		reserved: new Uint8Array(26),
		exception_has_payload: 0,
		exception_payload: 0n,
	};
}

/** KVM_SET_VCPU_EVENTS. @throws KvmError EINVAL for flags and vectors that there are not */
export function setVcpuEvents(v: Vcpu, events: KvmVcpuEvents): void {
	const refuse = (detail: string) => new KvmError("KVM_SET_VCPU_EVENTS", "EINVAL", detail);
	const { flags } = events;
	if ((flags & ~KNOWN) !== 0) throw refuse(`flags 0x${flags.toString(16)}`);
	const { injected, pending, nr, has_error_code, error_code } = events.exception;
	if ((injected !== 0 || pending !== 0) && nr >= VECTORS_OF_EXCEPTIONS) throw refuse(`exception ${nr}`);
	if ((flags & VALID.smm) !== 0 && (events.smi.smm !== 0 || events.smi.pending !== 0)) {
		throw refuse("SMM is not modelled");
	}
	const { ops } = v.vm;
	const { exception, interrupt } = v;
	exception.injected = injected !== 0;
	exception.pending = false;
	exception.vector = nr;
	exception.hasErrorCode = has_error_code !== 0;
	exception.errorCode = error_code;
	interrupt.injected = events.interrupt.injected !== 0;
	interrupt.vector = events.interrupt.nr;
	interrupt.soft = events.interrupt.soft !== 0;
	if ((flags & VALID.shadow) !== 0) ops.setInterruptShadow(v, events.interrupt.shadow);
	v.nmiInjected = events.nmi.injected !== 0;
	if ((flags & VALID.nmiPending) !== 0) {
		v.nmiPending = 0;
		v.nmiQueued = events.nmi.pending;
		if (v.nmiQueued > 0) makeRequest(v, KVM_REQ.NMI);
	}
	ops.setNmiMask(v, events.nmi.masked !== 0);
	makeRequest(v, KVM_REQ.EVENT);
}
