/**
 * The in-kernel local APIC (`struct kvm_lapic`, arch/x86/kvm/lapic.c): registers through the xAPIC page or the
 * x2APIC MSRs, priorities, interprocessor interrupts, and the timer (apic-timer.ts).
 */

import { kvmVcpuReset, vcpuDeliverSipiVector } from "../emulate/reset.ts";
import { KVM_REQ, MP_STATE } from "../requests.ts";
import type { Vcpu } from "../vcpu.ts";
import { makeRequest } from "../vcpu.ts";
import {
	APIC,
	APIC_BASE,
	APIC_BASE_MSR,
	APIC_DEFAULT_PHYS_BASE,
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
	APIC_VERSION,
	LVT_MASK,
	X2APIC_BROADCAST,
	XAPIC_BROADCAST,
	x2apicReadable,
} from "./apic-registers.ts";
import { requestAndKick } from "../x86/kick.ts";
import { ApicTimer } from "./apic-timer.ts";

const LVT_OFFSETS = [APIC.LVTT, APIC.LVTTHMR, APIC.LVTPC, APIC.LVT0, APIC.LVT1, APIC.LVTERR] as const;

/** ICR bits that must be 0 in x2APIC mode: 63:32 are the destination. */
const X2APIC_ICR_RESERVED = 0xfff3_2000;

const LOW_32 = 0xffff_ffffn;

export class Lapic {
	readonly vcpu: Vcpu;
	readonly timer: ApicTimer;
	/** Registers by offset / 16. */
	private readonly regs = new Uint32Array(64);
	private baseValue = 0;
	/** x2APIC ICR's upper half: the destination of the last write. */
	private icrHigh = 0;
	private initPending = false;
	private sipiVector = -1;

	constructor(vcpu: Vcpu) {
		this.vcpu = vcpu;
		this.timer = new ApicTimer(vcpu);
		this.reset(false);
	}

	/**
	 * kvm_lapic_reset().
	 * @param initEvent by INIT, which keeps the APIC base and the id; otherwise by power-on
	 */
	reset(initEvent: boolean): void {
		this.timer.cancel();
		this.timer.mode = APIC_TIMER.ONESHOT;
		this.timer.tscDeadline = 0;
		this.timer.targetExpiration = 0;
		this.timer.divideCount = 2;
		const { regs, vcpu } = this;
		const id = regs[APIC.ID >> 4]!;
		const ldr = regs[APIC.LDR >> 4]!;
		regs.fill(0);
		if (initEvent) regs[APIC.ID >> 4] = id;
		else {
			this.baseValue = APIC_DEFAULT_PHYS_BASE + APIC_BASE.ENABLE + (vcpu.id === 0 ? APIC_BASE.BSP : 0);
			regs[APIC.ID >> 4] = vcpu.id << 24;
		}
		regs[APIC.LVR >> 4] = APIC_VERSION;
		for (const offset of LVT_OFFSETS) regs[offset >> 4] = APIC_LVT_MASKED;
		// A BSP starts in virtual wire mode: LINT0 takes the PIC (KVM_X86_QUIRK_LINT0_REENABLED).
		if (vcpu.id === 0 && !initEvent) regs[APIC.LVT0 >> 4] = APIC_DM.EXTINT;
		regs[APIC.DFR >> 4] = this.isX2apic ? 0 : 0xffff_ffff;
		if (initEvent && this.isX2apic) regs[APIC.LDR >> 4] = ldr;
		regs[APIC.SPIV >> 4] = 0xff;
		this.initPending = false;
		this.sipiVector = -1;
	}

	// ---- mode ----------------------------------------------------------------------------------------

	/** IA32_APIC_BASE. */
	get baseMsr(): number {
		return this.baseValue;
	}
	/** Globally enabled: kvm_apic_hw_enabled(). */
	get isEnabled(): boolean {
		return (this.baseValue & APIC_BASE.ENABLE) !== 0;
	}
	get isX2apic(): boolean {
		return (this.baseValue & (APIC_BASE.ENABLE | APIC_BASE.EXTD)) === (APIC_BASE.ENABLE | APIC_BASE.EXTD);
	}
	/** Enabled in the spurious vector register too: kvm_apic_sw_enabled(). */
	get isSoftwareEnabled(): boolean {
		return (this.regs[APIC.SPIV >> 4]! & APIC_SPIV_ENABLED) !== 0;
	}

	/**
	 * kvm_apic_set_base(): a guest's write to IA32_APIC_BASE.
	 * @returns false for #GP: reserved bits, x2APIC without the enable bit, and steps that SDM figure 12-27 lacks
	 */
	setBase(value: number): boolean {
		const extd = (value & APIC_BASE.EXTD) !== 0;
		const enable = (value & APIC_BASE.ENABLE) !== 0;
		if ((value & 0x2ff) !== 0 || (extd && !enable)) return false;
		const wasEnabled = this.isEnabled;
		if (extd && !wasEnabled) return false;
		if (this.isX2apic && enable && !extd) return false;
		const wasX2apic = this.isX2apic;
		this.baseValue = value;
		if (extd && !wasX2apic) {
			const id = this.vcpu.id;
			this.regs[APIC.ID >> 4] = id;
			this.regs[APIC.LDR >> 4] = ((id >> 4) << 16) | (1 << (id & 0xf));
		} else if (enable && !extd && !wasEnabled) this.regs[APIC.ID >> 4] = this.vcpu.id << 24;
		return true;
	}

	/** Physical id as ICR destinations name it. */
	get id(): number {
		const value = this.regs[APIC.ID >> 4]!;
		return this.isX2apic ? value : value >>> 24;
	}

	// ---- interrupts ----------------------------------------------------------------------------------

	/** apic_find_highest_*(): the highest vector set in a 256-bit register, or -1. */
	private highest(offset: number): number {
		const { regs } = this;
		for (let word = 7; word >= 0; word--) {
			const bits = regs[(offset >> 4) + word]!;
			if (bits !== 0) return word * 32 + 31 - Math.clz32(bits);
		}
		return -1;
	}
	private setBit(offset: number, vector: number, on: boolean): void {
		const at = (offset >> 4) + (vector >> 5);
		const bit = 1 << (vector & 31);
		this.regs[at] = on ? this.regs[at]! | bit : this.regs[at]! & ~bit;
	}

	/** __apic_update_ppr(): processor priority, of the task's and the highest vector in service. */
	private updatePpr(): number {
		const tpr = this.regs[APIC.TASKPRI >> 4]!;
		const inService = Math.max(this.highest(APIC.ISR), 0);
		const ppr = (tpr & 0xf0) >= (inService & 0xf0) ? tpr & 0xff : inService & 0xf0;
		this.regs[APIC.PROCPRI >> 4] = ppr;
		return ppr;
	}

	/** apic_update_ppr(): a lower priority may let something through. */
	private priorityChanged(): void {
		const old = this.regs[APIC.PROCPRI >> 4]!;
		if (this.updatePpr() < old) makeRequest(this.vcpu, KVM_REQ.EVENT);
	}

	/** kvm_apic_has_interrupt(). @returns the vector that may be delivered now, or -1 */
	kvmApicHasInterrupt(): number {
		if (!this.isEnabled) return -1;
		const vector = this.highest(APIC.IRR);
		if (vector < 0) return -1;
		return (vector & 0xf0) > (this.updatePpr() & 0xf0) ? vector : -1;
	}

	/** kvm_get_apic_interrupt(): moves that vector from IRR to ISR. @returns it, or -1 */
	kvmGetApicInterrupt(): number {
		const vector = this.kvmApicHasInterrupt();
		if (vector < 0) return -1;
		this.setBit(APIC.IRR, vector, false);
		this.setBit(APIC.ISR, vector, true);
		this.updatePpr();
		return vector;
	}

	/**
	 * __apic_accept_irq() for a fixed interrupt.
	 * @param levelTriggered sets its TMR bit, so that EOI is passed on
	 */
	apicSetIrq(vector: number, levelTriggered = false): void {
		this.acceptIrq(APIC_DM.FIXED, vector, levelTriggered);
	}

	/** __apic_accept_irq(). @param deliveryMode APIC_DM */
	private acceptIrq(deliveryMode: number, vector: number, levelTriggered: boolean): void {
		const { vcpu } = this;
		switch (deliveryMode) {
			case APIC_DM.FIXED:
			case APIC_DM.LOWEST:
				if (!this.isEnabled || !this.isSoftwareEnabled) return;
				this.setBit(APIC.TMR, vector, levelTriggered);
				this.setBit(APIC.IRR, vector, true);
				requestAndKick(vcpu, KVM_REQ.EVENT);
				return;
			case APIC_DM.NMI:
				requestAndKick(vcpu, KVM_REQ.NMI);
				return;
			case APIC_DM.SMI:
				requestAndKick(vcpu, KVM_REQ.SMI);
				return;
			case APIC_DM.INIT:
				this.initPending = true;
				this.sipiVector = -1;
				requestAndKick(vcpu, KVM_REQ.EVENT);
				return;
			case APIC_DM.STARTUP:
				this.sipiVector = vector;
				requestAndKick(vcpu, KVM_REQ.EVENT);
				return;
			default:
				// EXTINT comes from the PIC by a wire of its own; REMRD is obsolete.
				return;
		}
	}

	/** apic_set_eoi(). */
	private setEoi(): void {
		const vector = this.highest(APIC.ISR);
		if (vector < 0) return;
		this.setBit(APIC.ISR, vector, false);
		this.priorityChanged();
		makeRequest(this.vcpu, KVM_REQ.EVENT);
	}

	/** kvm_apic_send_ipi(): an ICR write. @param low bits 31:0 @param destination the destination field */
	private sendIpi(low: number, destination: number): void {
		const mode = low & APIC_DM_MASK;
		const level = (low & APIC_INT_LEVELTRIG) !== 0;
		// INIT level de-assert has no effect.
		if (mode === APIC_DM.INIT && level && (low & APIC_INT_ASSERT) === 0) return;
		for (const target of this.vcpu.vm.vcpus) {
			const apic = target.apic;
			if (apic?.matchesDest(this, low, destination)) apic.acceptIrq(mode, low & 0xff, level);
		}
	}

	/** kvm_apic_match_dest(). */
	private matchesDest(source: Lapic, low: number, destination: number): boolean {
		switch (low & APIC_SHORT_MASK) {
			case APIC_SHORTHAND.self:
				return this === source;
			case APIC_SHORTHAND.all:
				return true;
			case APIC_SHORTHAND.allButSelf:
				return this !== source;
			default:
				return (low & APIC_DEST_LOGICAL) !== 0
					? this.matchesLogical(destination)
					: destination === (source.isX2apic ? X2APIC_BROADCAST : XAPIC_BROADCAST) || destination === this.id;
		}
	}

	/** kvm_apic_match_logical_addr(). */
	private matchesLogical(destination: number): boolean {
		const ldr = this.regs[APIC.LDR >> 4]!;
		if (this.isX2apic) {
			return ldr >>> 16 === destination >>> 16 && (ldr & destination & 0xffff) !== 0;
		}
		const logical = ldr >>> 24;
		const flat = this.regs[APIC.DFR >> 4]! === 0xffff_ffff;
		if (flat) return (logical & destination) !== 0;
		return logical >> 4 === destination >> 4 && (logical & destination & 0xf) !== 0;
	}

	/** kvm_apic_local_deliver(): an LVT entry fires. @param offset APIC.LVT… */
	localDeliver(offset: number): void {
		const entry = this.regs[offset >> 4]!;
		if (!this.isEnabled || (entry & APIC_LVT_MASKED) !== 0) return;
		this.acceptIrq(entry & APIC_DM_MASK, entry & 0xff, (entry & APIC_INT_LEVELTRIG) !== 0);
	}

	/** kvm_apic_has_pending_init_or_sipi(). */
	get hasPendingInitOrSipi(): boolean {
		return this.initPending || this.sipiVector >= 0;
	}

	/** kvm_apic_accept_events(): INIT and SIPI. */
	acceptEvents(): void {
		if (!this.hasPendingInitOrSipi) return;
		const { vcpu } = this;
		if (this.initPending) {
			this.initPending = false;
			const sipi = this.sipiVector;
			kvmVcpuReset(vcpu, true);
			this.sipiVector = sipi;
			vcpu.mpState = vcpu.id === 0 ? MP_STATE.RUNNABLE : MP_STATE.INIT_RECEIVED;
		}
		if (this.sipiVector < 0) return;
		const vector = this.sipiVector;
		this.sipiVector = -1;
		if (vcpu.mpState !== MP_STATE.INIT_RECEIVED) return;
		vcpuDeliverSipiVector(vcpu, vector);
		vcpu.mpState = MP_STATE.RUNNABLE;
	}

	// ---- timer ---------------------------------------------------------------------------------------

	/** kvm_cpu_has_pending_timer(). */
	get timerPending(): boolean {
		return this.timer.pending > 0 && this.isEnabled && (this.regs[APIC.LVTT >> 4]! & APIC_LVT_MASKED) === 0;
	}

	/** kvm_inject_apic_timer_irqs(). */
	injectPendingTimerIrqs(): void {
		if (this.timer.pending === 0) return;
		this.timer.pending = 0;
		this.localDeliver(APIC.LVTT);
		this.timer.consumed();
	}

	/** kvm_lapic_expired_hv_timer(): the VMX preemption timer fired. */
	kvmLapicExpiredHvTimer(): void {
		this.timer.expiredHvTimer();
	}

	/** kvm_get_lapic_tscdeadline_msr(), in guest TSC cycles. */
	get tscDeadline(): number {
		return this.isEnabled && this.timer.isTscDeadline ? this.timer.tscDeadline : 0;
	}

	/** kvm_set_lapic_tscdeadline_msr(). @param value guest TSC cycles; 0 disarms */
	setTscDeadline(value: number): void {
		if (!this.isEnabled || !this.timer.isTscDeadline) return;
		this.timer.cancel();
		this.timer.tscDeadline = value;
		this.timer.start(0);
	}

	// ---- CR8 -----------------------------------------------------------------------------------------

	/** kvm_lapic_get_cr8(). */
	get cr8(): number {
		return (this.regs[APIC.TASKPRI >> 4]! & 0xf0) >> 4;
	}
	/** kvm_lapic_set_tpr(). */
	set cr8(value: number) {
		this.setTpr((value & 0xf) << 4);
	}
	private setTpr(value: number): void {
		this.regs[APIC.TASKPRI >> 4] = value;
		this.priorityChanged();
	}

	// ---- registers -----------------------------------------------------------------------------------

	/** kvm_lapic_reg_read(). @param offset in the page, a multiple of 16 @returns 32 bits, unsigned */
	readRegister(offset: number): number {
		switch (offset) {
			case APIC.TMCCT:
				return this.timer.currentCount();
			case APIC.PROCPRI:
				return this.updatePpr();
			case APIC.ARBPRI:
			case APIC.EOI:
				return 0;
			default:
				return this.regs[(offset >> 4) & 63]!;
		}
	}

	/**
	 * kvm_lapic_reg_write(): what xAPIC and x2APIC writes have in common.
	 * @param offset in the page, a multiple of 16
	 * @param value 32 bits
	 * @returns false where x2APIC mode answers with #GP
	 */
	writeRegister(offset: number, value: number): boolean {
		const { regs } = this;
		const x2apic = this.isX2apic;
		switch (offset) {
			case APIC.ID:
				if (x2apic) return false;
				regs[offset >> 4] = value & 0xff00_0000;
				return true;
			case APIC.TASKPRI:
				this.setTpr(value & 0xff);
				return true;
			case APIC.EOI:
				this.setEoi();
				return true;
			case APIC.LDR:
				if (x2apic) return false;
				regs[offset >> 4] = value & 0xff00_0000;
				return true;
			case APIC.DFR:
				if (x2apic) return false;
				regs[offset >> 4] = value | 0x0fff_ffff;
				return true;
			case APIC.SPIV:
				this.setSpiv(value & 0x3ff);
				return true;
			case APIC.ESR:
				return !x2apic || value === 0;
			case APIC.ICR:
				regs[offset >> 4] = value & ~APIC_ICR_BUSY;
				this.sendIpi(value, regs[APIC.ICR2 >> 4]! >>> 24);
				return true;
			case APIC.ICR2:
				if (x2apic) return false;
				regs[offset >> 4] = value & 0xff00_0000;
				return true;
			case APIC.LVTT:
			case APIC.LVTTHMR:
			case APIC.LVTPC:
			case APIC.LVT0:
			case APIC.LVT1:
			case APIC.LVTERR:
				this.setLvt(offset, value);
				return true;
			case APIC.TMICT:
				if (this.timer.isTscDeadline) return true;
				this.timer.cancel();
				regs[offset >> 4] = value;
				this.timer.start(value >>> 0);
				return true;
			case APIC.TDCR: {
				regs[offset >> 4] = value & 0xb;
				const code = (value & 3) | ((value & 8) >> 1);
				this.timer.setDivide(1 << ((code + 1) & 7));
				return true;
			}
			case APIC.SELF_IPI:
				if (!x2apic || (value & ~0xff) !== 0) return false;
				this.sendIpi(APIC_SHORTHAND.self | value, 0);
				return true;
			default:
				return false;
		}
	}

	private setSpiv(value: number): void {
		const { regs } = this;
		regs[APIC.SPIV >> 4] = value;
		if ((value & APIC_SPIV_ENABLED) !== 0) return;
		for (const offset of LVT_OFFSETS) regs[offset >> 4] = regs[offset >> 4]! | APIC_LVT_MASKED;
		this.timer.pending = 0;
	}

	private setLvt(offset: number, value: number): void {
		const masked = this.isSoftwareEnabled ? 0 : APIC_LVT_MASKED;
		this.regs[offset >> 4] = (value | masked) & LVT_MASK[offset]!;
		if (offset !== APIC.LVTT) return;
		const mode = value & APIC_TIMER_MODE_MASK;
		if (mode === this.timer.mode) return;
		// apic_update_lvtt(): a change to or from TSC-deadline mode disarms the timer.
		if (mode === APIC_TIMER.TSCDEADLINE || this.timer.isTscDeadline) {
			this.timer.cancel();
			this.timer.tscDeadline = 0;
			this.timer.targetExpiration = 0;
			this.regs[APIC.TMICT >> 4] = 0;
		}
		this.timer.mode = mode;
	}

	/** kvm_x2apic_msr_read(). @param msr 0x800 … 0x8ff @returns undefined for #GP */
	x2apicRead(msr: number): bigint | undefined {
		if (!this.isX2apic) return undefined;
		const offset = (msr - APIC_BASE_MSR) << 4;
		if (!x2apicReadable(offset)) return undefined;
		const low = BigInt(this.readRegister(offset) >>> 0);
		return offset === APIC.ICR ? (BigInt(this.icrHigh) << 32n) | low : low;
	}

	/** kvm_x2apic_msr_write(). @param msr 0x800 … 0x8ff @returns false for #GP */
	x2apicWrite(msr: number, value: bigint): boolean {
		if (!this.isX2apic) return false;
		const offset = (msr - APIC_BASE_MSR) << 4;
		const low = Number(value & LOW_32);
		if (offset === APIC.ICR) return this.x2apicIcrWrite(low, Number(value >> 32n));
		if (value >> 32n !== 0n) return false;
		// EOI takes 0 only.
		if (offset === APIC.EOI && low !== 0) return false;
		return this.writeRegister(offset, low | 0);
	}

	/** kvm_x2apic_icr_write(). @param low bits 31:0, unsigned @param destination bits 63:32 @returns false for #GP */
	x2apicIcrWrite(low: number, destination: number): boolean {
		if ((low & X2APIC_ICR_RESERVED) !== 0) return false;
		this.regs[APIC.ICR >> 4] = low;
		this.icrHigh = destination;
		this.sendIpi(low, destination);
		return true;
	}
}
