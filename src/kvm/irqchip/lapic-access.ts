/**
 * The registers of the local APIC as the guest reaches them: kvm_lapic_reg_read(), kvm_lapic_reg_write() and the
 * x2APIC MSRs (arch/x86/kvm/lapic.c, v6.18).
 */
import {
	APIC,
	APIC_BASE_MSR,
	APIC_DEST_LOGICAL,
	APIC_DM,
	APIC_DM_MASK,
	APIC_ICR_BUSY,
	APIC_INT_ASSERT,
	APIC_INT_LEVELTRIG,
	APIC_LVT_MASKED,
	APIC_SHORT_MASK,
	APIC_SHORTHAND,
	APIC_SPIV_ENABLED,
	APIC_TIMER,
	APIC_TIMER_MODE_MASK,
	LVT_MASK,
	divideCount,
	LVT_OFFSETS,
	x2apicReadable,
} from "./apic-registers.ts";
import { guestWrote } from "../vcpu.ts";
import { deliverToApics } from "./delivery.ts";
import type { Lapic } from "./lapic.ts";

/** ICR bits that must be 0 in x2APIC mode: 63:32 are the destination. */
const X2APIC_ICR_RESERVED = 0xfff3_2000;
const LOW_32 = 0xffff_ffffn;

/** kvm_apic_send_ipi(): an ICR write. @param low bits 31:0 @param destination the destination field */
function sendIpi(apic: Lapic, low: number, destination: number): void {
	const deliveryMode = low & APIC_DM_MASK;
	const levelTriggered = (low & APIC_INT_LEVELTRIG) !== 0;
	const asserted = (low & APIC_INT_ASSERT) !== 0;
	// INIT level de-assert has no effect.
	if (deliveryMode === APIC_DM.INIT && levelTriggered && !asserted) return;
	const { vcpu } = apic;
	vcpu.tracer?.tracepoint?.(vcpu, "kvm_apic_ipi", { icrLow: low, destination });
	deliverToApics(apic.vcpu.vm, apic, {
		vector: low & 0xff,
		deliveryMode,
		logical: (low & APIC_DEST_LOGICAL) !== 0,
		destination,
		shorthand: low & APIC_SHORT_MASK,
		levelTriggered,
		asserted,
	});
}

/** kvm_lapic_reg_read(). @param offset in the page, a multiple of 16 @returns 32 bits, unsigned */
export function readApicRegister(apic: Lapic, offset: number): number {
	const value = registerValue(apic, offset);
	const { vcpu } = apic;
	vcpu.tracer?.tracepoint?.(vcpu, "kvm_apic", {
		write: false,
		register: offset,
		value: BigInt(value >>> 0),
	});
	return value;
}

function registerValue(apic: Lapic, offset: number): number {
	switch (offset) {
		case APIC.TMCCT:
			return apic.timer.currentCount();
		case APIC.PROCPRI:
			return apic.updatePpr();
		case APIC.ARBPRI:
		case APIC.EOI:
			return 0;
		default:
			return apic.regs[(offset >> 2) & 255]!;
	}
}

/**
 * kvm_lapic_reg_write(): what xAPIC and x2APIC writes have in common.
 * @param offset in the page, a multiple of 16
 * @param value 32 bits
 * @returns false where x2APIC mode answers with #GP
 */
export function writeApicRegister(apic: Lapic, offset: number, value: number): boolean {
	const { regs, isX2apic: x2apic, vcpu } = apic;
	vcpu.tracer?.tracepoint?.(vcpu, "kvm_apic", {
		write: true,
		register: offset,
		value: BigInt(value >>> 0),
	});
	switch (offset) {
		case APIC.ID:
			if (x2apic) return false;
			regs[offset >> 2] = value & 0xff00_0000;
			return true;
		case APIC.TASKPRI:
			guestWrote(apic.vcpu, "CR8", (value & 0xff) >> 4);
			apic.setTpr(value & 0xff);
			return true;
		case APIC.EOI:
			apic.setEoi();
			return true;
		case APIC.LDR:
			if (x2apic) return false;
			regs[offset >> 2] = value & 0xff00_0000;
			return true;
		case APIC.DFR:
			if (x2apic) return false;
			regs[offset >> 2] = value | 0x0fff_ffff;
			return true;
		case APIC.SPIV:
			setSpiv(apic, value & 0x3ff);
			return true;
		case APIC.ESR:
			return !x2apic || value === 0;
		case APIC.ICR:
			regs[offset >> 2] = value & ~APIC_ICR_BUSY;
			sendIpi(apic, value & ~APIC_ICR_BUSY, regs[APIC.ICR2 >> 2]! >>> 24);
			return true;
		case APIC.ICR2:
			if (x2apic) return false;
			regs[offset >> 2] = value & 0xff00_0000;
			return true;
		case APIC.LVTT:
		case APIC.LVTTHMR:
		case APIC.LVTPC:
		case APIC.LVT0:
		case APIC.LVT1:
		case APIC.LVTERR:
			setLvt(apic, offset, value);
			return true;
		case APIC.TMICT:
			if (apic.timer.isTscDeadline) return true;
			apic.timer.cancel();
			regs[offset >> 2] = value;
			apic.timer.start(value >>> 0);
			return true;
		case APIC.TDCR: {
			regs[offset >> 2] = value & 0xb;
			apic.timer.setDivide(divideCount(value));
			return true;
		}
		case APIC.SELF_IPI:
			if (!x2apic || (value & ~0xff) !== 0) return false;
			sendIpi(apic, APIC_SHORTHAND.self | value, 0);
			return true;
		default:
			return false;
	}
}

function setSpiv(apic: Lapic, value: number): void {
	const { regs } = apic;
	regs[APIC.SPIV >> 2] = value;
	if ((value & APIC_SPIV_ENABLED) !== 0) return;
	for (const offset of LVT_OFFSETS) regs[offset >> 2] = regs[offset >> 2]! | APIC_LVT_MASKED;
	apic.timer.pending = 0;
}

function setLvt(apic: Lapic, offset: number, value: number): void {
	const masked = apic.isSoftwareEnabled ? 0 : APIC_LVT_MASKED;
	apic.regs[offset >> 2] = (value | masked) & LVT_MASK[offset]!;
	if (offset !== APIC.LVTT) return;
	const { timer } = apic;
	const mode = value & APIC_TIMER_MODE_MASK;
	if (mode === timer.mode) return;
	// apic_update_lvtt(): a change to or from TSC-deadline mode disarms the timer.
	if (mode === APIC_TIMER.TSCDEADLINE || timer.isTscDeadline) {
		timer.disarm();
		apic.regs[APIC.TMICT >> 2] = 0;
	}
	timer.mode = mode;
	timer.limitPeriod();
}

/** kvm_x2apic_msr_read(). @param msr 0x800 … 0x8ff @returns undefined for #GP */
export function x2apicRead(apic: Lapic, msr: number): bigint | undefined {
	if (!apic.isX2apic) return undefined;
	const offset = (msr - APIC_BASE_MSR) << 4;
	if (!x2apicReadable(offset)) return undefined;
	const low = BigInt(readApicRegister(apic, offset) >>> 0);
	return offset === APIC.ICR ? (BigInt(apic.icrHigh) << 32n) | low : low;
}

/** kvm_x2apic_msr_write(). @param msr 0x800 … 0x8ff @returns false for #GP */
export function x2apicWrite(apic: Lapic, msr: number, value: bigint): boolean {
	if (!apic.isX2apic) return false;
	const offset = (msr - APIC_BASE_MSR) << 4;
	const low = Number(value & LOW_32);
	if (offset === APIC.ICR) return x2apicIcrWrite(apic, low, Number(value >> 32n));
	if (value >> 32n !== 0n) return false;
	// EOI takes 0 only.
	if (offset === APIC.EOI && low !== 0) return false;
	return writeApicRegister(apic, offset, low | 0);
}

/** kvm_x2apic_icr_write(). @param low bits 31:0, unsigned @param destination bits 63:32 @returns false for #GP */
export function x2apicIcrWrite(apic: Lapic, low: number, destination: number): boolean {
	if ((low & X2APIC_ICR_RESERVED) !== 0) return false;
	apic.regs[APIC.ICR >> 2] = low;
	apic.icrHigh = destination;
	const { vcpu } = apic;
	vcpu.tracer?.tracepoint?.(vcpu, "kvm_apic", {
		write: true,
		register: APIC.ICR,
		value: (BigInt(destination) << 32n) | BigInt(low >>> 0),
	});
	sendIpi(apic, low, destination);
	return true;
}
