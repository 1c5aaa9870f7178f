/**
 * A guest's extended state in the forms of KVM's user API: the XSAVE area in its standard format
 * (arch/x86/kernel/fpu/xstate.c: __copy_xstate_to_uabi_buf(), copy_uabi_to_xstate(), v6.18), and struct kvm_fpu.
 */
import { kvmFindCpuidEntry } from "../kvm/emulate/cpuid.ts";
import type { Vcpu } from "../kvm/vcpu.ts";
import { XFEATURE } from "../silicon/cpu/control.ts";
import {
	compactedOffset,
	STATE_COMPONENTS,
	type StateComponent,
	XSAVE_FIXED_BYTES,
	standardOffset,
	standardSize,
} from "../silicon/cpu/state-components.ts";
import { MXCSR_INIT, MXCSR_MASK } from "../silicon/xsave/save.ts";
import { KvmError } from "../uapi/api.ts";
import { type KvmFpu, kvmFpu, kvmXsave } from "../uapi/structs.ts";

const FCW_INIT = 0x37f;
const FPSSE = XFEATURE.x87 | XFEATURE.sse;
/** Places in the legacy region. */
const AT = {
	fop: 6,
	mxcsr: 24,
	mxcsrMask: 28,
	st: 32,
	xmm: 160,
	padding: 416,
	xstateBv: 512,
	xcompBv: 520,
} as const;
const HEADER_END = XSAVE_FIXED_BYTES;

/** User components that this guest may have: guest_fpu's user_xfeatures. */
function userFeatures(v: Vcpu): number {
	const offered = kvmFindCpuidEntry(v, 0xd, 0)?.eax ?? 0;
	return (offered & v.cpu.model.features.xcr0) | FPSSE;
}

/** KVM_CAP_XSAVE2: bytes of the area. */
export function xsaveAreaBytes(v: Pick<Vcpu, "cpu">): number {
	return Math.max(kvmXsave.bytes, standardSize(v.cpu.model, v.cpu.model.features.xcr0));
}

/** Components beyond the legacy region that have a place in the standard format. */
function* userComponents(bits: number): Generator<StateComponent> {
	for (const component of STATE_COMPONENTS) {
		if (!component.supervisor && (bits & (1 << component.index)) !== 0) yield component;
	}
}

/** KVM_GET_XSAVE2. */
export function getXsaveArea(v: Vcpu): Uint8Array {
	const { image } = v.guestFpu;
	const { model } = v.cpu;
	const features = userFeatures(v);
	const area = new Uint8Array(xsaveAreaBytes(v));
	const view = new DataView(area.buffer);
	let present = image.xstateBv & features & ~XFEATURE.pkru;
	const copy = (from: number, to: number) => area.set(image.bytes.subarray(from, to), from);
	if ((present & XFEATURE.x87) !== 0) {
		copy(0, AT.mxcsr);
		copy(AT.st, AT.xmm);
	} else view.setUint16(0, FCW_INIT, true);
	view.setUint32(AT.mxcsr, MXCSR_INIT, true);
	if ((present & XFEATURE.sse) !== 0) {
		copy(AT.mxcsr, AT.mxcsrMask);
		copy(AT.xmm, AT.padding);
	}
	view.setUint32(AT.mxcsrMask, MXCSR_MASK, true);
	for (const component of userComponents(present)) {
		const from = compactedOffset(image.xcompBv, component.index);
		area.set(image.bytes.subarray(from, from + component.bytes), standardOffset(model, component));
	}
	// PKRU is not kept in the image: KVM has the guest's.
	if ((features & XFEATURE.pkru) !== 0 && v.pkru !== 0) {
		present |= XFEATURE.pkru;
		view.setUint32(pkruOffset(v), v.pkru, true);
	}
	view.setUint32(AT.xstateBv, present, true);
	return area;
}

function pkruOffset(v: Vcpu): number {
	const pkru = STATE_COMPONENTS.find(({ index }) => 1 << index === XFEATURE.pkru)!;
	return standardOffset(v.cpu.model, pkru);
}

/** validate_user_xstate_header(), and MXCSR's reserved bits. */
function checkArea(v: Vcpu, area: Uint8Array, view: DataView): number {
	const refuse = (detail: string) => new KvmError("KVM_SET_XSAVE", "EINVAL", detail);
	const present = view.getUint32(AT.xstateBv, true);
	if ((present & ~userFeatures(v)) !== 0 || view.getUint32(AT.xstateBv + 4, true) !== 0) {
		throw refuse("XSTATE_BV has components that this vCPU does not have");
	}
	for (let at: number = AT.xcompBv; at < HEADER_END; at++)
		if (area[at] !== 0) throw refuse("XCOMP_BV and the rest of the header must be 0");
	if ((view.getUint32(AT.mxcsr, true) & ~MXCSR_MASK) !== 0) throw refuse("MXCSR has reserved bits set");
	return present;
}

/** KVM_SET_XSAVE. PKRU stays where the header does not have it. @throws KvmError EINVAL */
export function setXsaveArea(v: Vcpu, given: Uint8Array): void {
	const area = new Uint8Array(xsaveAreaBytes(v));
	area.set(given.subarray(0, area.length));
	const view = new DataView(area.buffer);
	const present = checkArea(v, area, view);
	const { image } = v.guestFpu;
	image.bytes.set(area.subarray(0, AT.padding));
	for (const component of userComponents(present & ~XFEATURE.pkru)) {
		const from = standardOffset(v.cpu.model, component);
		image.bytes.set(
			area.subarray(from, from + component.bytes),
			compactedOffset(image.xcompBv, component.index),
		);
	}
	image.xstateBv = (image.xstateBv & ~v.cpu.model.features.xcr0) | (present & ~XFEATURE.pkru);
	// MXCSR goes with SSE in the compacted format: a value of its own needs the bit.
	if (view.getUint32(AT.mxcsr, true) !== MXCSR_INIT && (present & (XFEATURE.sse | XFEATURE.avx)) !== 0) {
		if ((present & XFEATURE.sse) === 0) image.bytes.fill(0, AT.xmm, AT.padding);
		image.xstateBv |= XFEATURE.sse;
	}
	if ((present & XFEATURE.pkru) !== 0) v.pkru = view.getUint32(pkruOffset(v), true);
}

/** Bytes of struct kvm_fpu before its XMM registers, in two pieces of the legacy region. */
const FPU_XMM = kvmFpu.offsets.xmm;

/** KVM_GET_FPU: x87 and XMM; MXCSR is left out, as the kernel leaves it. */
export function getFpu(v: Vcpu): KvmFpu {
	const area = getXsaveArea(v);
	const bytes = new Uint8Array(kvmFpu.bytes);
	const view = new DataView(bytes.buffer);
	bytes.set(area.subarray(AT.st, AT.xmm), 0);
	bytes.set(area.subarray(0, 5), kvmFpu.offsets.fcw);
	bytes.set(area.subarray(AT.fop, AT.fop + 2), kvmFpu.offsets.last_opcode);
	bytes.set(area.subarray(8, 24), kvmFpu.offsets.last_ip);
	bytes.set(area.subarray(AT.xmm, AT.padding), FPU_XMM);
	return kvmFpu.read(view, 0);
}

/** KVM_SET_FPU. */
export function setFpu(v: Vcpu, fpu: KvmFpu): void {
	const bytes = new Uint8Array(kvmFpu.bytes);
	kvmFpu.write(new DataView(bytes.buffer), 0, fpu);
	const area = getXsaveArea(v);
	area.set(bytes.subarray(0, AT.xmm - AT.st), AT.st);
	area.set(bytes.subarray(kvmFpu.offsets.fcw, kvmFpu.offsets.fcw + 5), 0);
	area.set(bytes.subarray(kvmFpu.offsets.last_opcode, kvmFpu.offsets.last_opcode + 2), AT.fop);
	area.set(bytes.subarray(kvmFpu.offsets.last_ip, kvmFpu.offsets.last_ip + 16), 8);
	area.set(bytes.subarray(FPU_XMM, FPU_XMM + 256), AT.xmm);
	new DataView(area.buffer).setUint8(AT.xstateBv, area[AT.xstateBv]! | FPSSE);
	setXsaveArea(v, area);
}
