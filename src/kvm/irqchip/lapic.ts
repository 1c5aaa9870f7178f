/**
 * The in-kernel local APIC (`struct kvm_lapic`, arch/x86/kvm/lapic.c): registers through the xAPIC page or the
 * x2APIC MSRs, priorities, interprocessor interrupts, and the timer (apic-timer.ts).
 */

import { symbol } from "../../silicon/cpu/symbols.ts";
import { kvmVcpuReset, vcpuDeliverSipiVector } from "../emulate/reset.ts";
import { kvmFindCpuidEntry } from "../emulate/cpuid.ts";
import { KVM_REQ, MP_STATE } from "../requests.ts";
import type { Vcpu } from "../vcpu.ts";
import { guestWrote, makeRequest } from "../vcpu.ts";
import { requestAndKick } from "../x86/kick.ts";
import {
	APIC,
	APIC_BASE,
	APIC_DEFAULT_PHYS_BASE,
	APIC_DM,
	APIC_DM_MASK,
	APIC_INT_LEVELTRIG,
	APIC_LVT_MASKED,
	APIC_SHORTHAND,
	APIC_SPIV_ENABLED,
	APIC_TIMER,
	APIC_TIMER_MODE_MASK,
	APIC_VERSION,
	LVT_OFFSETS,
	divideCount,
} from "./apic-registers.ts";
import { ApicTimer } from "./apic-timer.ts";
import type { ApicMessage } from "./delivery.ts";
import { kernelIrqchip } from "./irqchip.ts";

/** KVM_APIC_REG_SIZE. */
const APIC_PAGE_BYTES = 1024;
const APIC_HAS_INTERRUPT = symbol("kvm_apic_has_interrupt");
const VMX_SYNC_PIR_TO_IRR = symbol("vmx_sync_pir_to_irr");
/** Plain instructions of kvm_apic_has_interrupt(), and of the search of eight words of the IRR. Assumed. */
const HAS_INTERRUPT_INSTRUCTIONS = 24;
const IRR_INSTRUCTIONS = 32;

/** CPUID.1:ECX.x2APIC. */
const CPUID_X2APIC = 1 << 21;

/** A message from the local APIC to its own processor. */
const LOCAL: ApicMessage = {
	vector: 0,
	deliveryMode: APIC_DM.FIXED,
	logical: false,
	destination: 0,
	shorthand: APIC_SHORTHAND.self,
	levelTriggered: false,
	asserted: true,
};

/** Words of the registers: offsets 0 to 3FFH. */
const PAGE_WORDS = 256;

export class Lapic {
	readonly vcpu: Vcpu;
	readonly timer: ApicTimer;
	/** The register page, in words: with APICv the one that the processor uses. */
	readonly regs: Uint32Array;
	private baseValue = 0;
	/** x2APIC ICR's upper half: the destination of the last write. */
	icrHigh = 0;
	private initPending = false;
	private sipiVector = -1;

	constructor(vcpu: Vcpu) {
		this.vcpu = vcpu;
		const page = vcpu.vmx?.apicv?.pageHpa;
		const { u32, ramBase } = vcpu.cpu.memory;
		const first = page === undefined ? 0 : (ramBase + page) >> 2;
		this.regs = page === undefined ? new Uint32Array(PAGE_WORDS) : u32.subarray(first, first + PAGE_WORDS);
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
		const id = regs[APIC.ID >> 2]!;
		const ldr = regs[APIC.LDR >> 2]!;
		regs.fill(0);
		if (initEvent) regs[APIC.ID >> 2] = id;
		else {
			this.baseValue = APIC_DEFAULT_PHYS_BASE + APIC_BASE.ENABLE + (vcpu.id === 0 ? APIC_BASE.BSP : 0);
			regs[APIC.ID >> 2] = vcpu.id << 24;
		}
		regs[APIC.LVR >> 2] = APIC_VERSION;
		for (const offset of LVT_OFFSETS) regs[offset >> 2] = APIC_LVT_MASKED;
		// A BSP starts in virtual wire mode: LINT0 takes the PIC (KVM_X86_QUIRK_LINT0_REENABLED).
		if (vcpu.id === 0 && !initEvent) regs[APIC.LVT0 >> 2] = APIC_DM.EXTINT;
		regs[APIC.DFR >> 2] = this.isX2apic ? 0 : 0xffff_ffff;
		if (initEvent && this.isX2apic) regs[APIC.LDR >> 2] = ldr;
		regs[APIC.SPIV >> 2] = 0xff;
		this.initPending = false;
		this.sipiVector = -1;
		vcpu.vm.ops.refreshApicv?.(vcpu);
	}

	// ---- user space ----------------------------------------------------------------------------------

	/** kvm_apic_get_state(): the register page; its words lie 16 bytes apart. */
	getState(): Uint8Array {
		const page = new Uint8Array(APIC_PAGE_BYTES);
		const view = new DataView(page.buffer);
		for (const [at, value] of this.regs.entries()) view.setUint32(at * 4, value, true);
		view.setUint32(APIC.TMCCT, this.timer.currentCount(), true);
		if (this.isX2apic) view.setUint32(APIC.ICR2, this.icrHigh, true);
		return page;
	}

	/** kvm_apic_set_state(): the timer starts anew with what is left of its count. */
	setState(page: Uint8Array): void {
		const view = new DataView(page.buffer, page.byteOffset, APIC_PAGE_BYTES);
		const { regs, timer, vcpu } = this;
		timer.cancel();
		for (const at of regs.keys()) regs[at] = view.getUint32(at * 4, true);
		regs[APIC.LVR >> 2] = APIC_VERSION;
		if (this.isX2apic) this.icrHigh = regs[APIC.ICR2 >> 2]!;
		timer.mode = regs[APIC.LVTT >> 2]! & APIC_TIMER_MODE_MASK;
		timer.setDivide(divideCount(regs[APIC.TDCR >> 2]!));
		timer.start(view.getUint32(APIC.TMCCT, true));
		this.updatePpr();
		vcpu.vm.ops.refreshApicv?.(vcpu);
		makeRequest(vcpu, KVM_REQ.EVENT);
	}

	/** KVM_SET_SREGS of the APIC base: steps that guests may not make are allowed, reserved bits are not. */
	setBaseForHost(value: number): boolean {
		const before = this.baseValue;
		this.baseValue = 0;
		const enabled = (value & APIC_BASE.ENABLE) !== 0;
		if (enabled && !this.setBase(value - (value & APIC_BASE.EXTD))) {
			this.baseValue = before;
			return false;
		}
		if (this.setBase(value)) return true;
		this.baseValue = before;
		return false;
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
		return (this.regs[APIC.SPIV >> 2]! & APIC_SPIV_ENABLED) !== 0;
	}

	/**
	 * kvm_apic_set_base(): a guest's write to IA32_APIC_BASE.
	 * @returns false for #GP: reserved bits, x2APIC without the enable bit, and steps that SDM figure 12-27 lacks
	 */
	setBase(value: number): boolean {
		// The base lies above 2^32 for those who want it there: only the low word takes part in bit operations.
		const extd = (value & APIC_BASE.EXTD) !== 0;
		const enable = (value & APIC_BASE.ENABLE) !== 0;
		const { cpu } = this.vcpu;
		if (value >= cpu.physicalEnd || (value & 0x2ff) !== 0 || (extd && !enable)) return false;
		if (extd && !this.hasX2apic) return false;
		const wasEnabled = this.isEnabled;
		if (extd && !wasEnabled) return false;
		if (this.isX2apic && enable && !extd) return false;
		const wasX2apic = this.isX2apic;
		this.baseValue = value;
		if (extd && !wasX2apic) {
			const id = this.vcpu.id;
			this.regs[APIC.ID >> 2] = id;
			this.regs[APIC.LDR >> 2] = ((id >> 4) << 16) | (1 << (id & 0xf));
		} else if (enable && !extd && !wasEnabled) this.regs[APIC.ID >> 2] = this.vcpu.id << 24;
		if (this.isX2apic !== wasX2apic) this.vcpu.vm.ops.refreshApicv?.(this.vcpu);
		return true;
	}

	/** Whether the guest's CPUID offers x2APIC. */
	private get hasX2apic(): boolean {
		const leaf = kvmFindCpuidEntry(this.vcpu, 1, 0);
		return leaf === null || (leaf.ecx & CPUID_X2APIC) !== 0;
	}

	/** Where the xAPIC page lies, a guest physical address. */
	get pageGpa(): number {
		return this.baseValue - (this.baseValue % 4096);
	}
	/** Logical destination and destination format. */
	get ldr(): number {
		return this.regs[APIC.LDR >> 2]!;
	}
	get dfr(): number {
		return this.regs[APIC.DFR >> 2]!;
	}

	/** Physical id as ICR destinations name it. */
	get id(): number {
		const value = this.regs[APIC.ID >> 2]!;
		return this.isX2apic ? value : value >>> 24;
	}

	// ---- interrupts ----------------------------------------------------------------------------------

	/** apic_find_highest_*(): the highest vector set in a 256-bit register, or -1. */
	private highest(offset: number): number {
		const { regs } = this;
		for (let word = 7; word >= 0; word--) {
			const bits = regs[(offset >> 2) + 4 * word]!;
			if (bits !== 0) return word * 32 + 31 - Math.clz32(bits);
		}
		return -1;
	}
	private testBit(offset: number, vector: number): boolean {
		return (this.regs[(offset >> 2) + 4 * (vector >> 5)]! & (1 << (vector & 31))) !== 0;
	}
	private setBit(offset: number, vector: number, on: boolean): void {
		const at = (offset >> 2) + 4 * (vector >> 5);
		const bit = 1 << (vector & 31);
		this.regs[at] = on ? this.regs[at]! | bit : this.regs[at]! & ~bit;
	}

	/** __apic_update_ppr(): processor priority, of the task's and the highest vector in service. */
	updatePpr(): number {
		const ppr = this.processorPriority;
		this.regs[APIC.PROCPRI >> 2] = ppr;
		return ppr;
	}

	private get processorPriority(): number {
		const tpr = this.regs[APIC.TASKPRI >> 2]!;
		const inService = Math.max(this.highest(APIC.ISR), 0);
		return (tpr & 0xf0) >= (inService & 0xf0) ? tpr & 0xff : inService & 0xf0;
	}

	/** Whether IRR has something above the processor's priority; for whoever watches. */
	get hasDeliverable(): boolean {
		const vector = this.highest(APIC.IRR);
		return this.isEnabled && vector >= 0 && (vector & 0xf0) > (this.processorPriority & 0xf0);
	}

	/** apic_update_ppr(): a lower priority may let something through. */
	private priorityChanged(): void {
		const old = this.regs[APIC.PROCPRI >> 2]!;
		if (this.updatePpr() < old) makeRequest(this.vcpu, KVM_REQ.EVENT);
	}

	/** kvm_apic_has_interrupt(). @returns the vector that may be delivered now, or -1 */
	kvmApicHasInterrupt(): number {
		const { cpu } = this.vcpu;
		cpu.enter(APIC_HAS_INTERRUPT);
		const vector = this.findDeliverable();
		cpu.code(HAS_INTERRUPT_INSTRUCTIONS);
		cpu.leave();
		return vector;
	}

	private findDeliverable(): number {
		if (!this.isEnabled) return -1;
		const { cpu, vm } = this.vcpu;
		// On VMX posted interrupts are looked for first; SVM's AVIC writes the IRR itself.
		if (vm.vendor !== "svm") cpu.enter(VMX_SYNC_PIR_TO_IRR);
		this.vcpu.vm.ops.syncPirToIrr?.(this.vcpu);
		const vector = this.highest(APIC.IRR);
		cpu.code(IRR_INSTRUCTIONS);
		if (vm.vendor !== "svm") cpu.leave();
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
	 * A fixed interrupt for this local APIC alone.
	 * @param levelTriggered sets its TMR bit, so that EOI is passed on
	 */
	apicSetIrq(vector: number, levelTriggered = false): void {
		this.acceptIrq({ ...LOCAL, vector, levelTriggered });
	}

	/** __apic_accept_irq(). @returns whether it was accepted */
	acceptIrq({ deliveryMode, vector, levelTriggered, asserted }: ApicMessage): boolean {
		const { vcpu } = this;
		vcpu.tracer?.tracepoint?.(vcpu, "kvm_apic_accept_irq", {
			apicId: vcpu.id,
			deliveryMode,
			levelTriggered,
			vector,
		});
		switch (deliveryMode) {
			case APIC_DM.FIXED:
			case APIC_DM.LOWEST:
				if (!this.isEnabled || !this.isSoftwareEnabled) return false;
				this.setBit(APIC.TMR, vector, levelTriggered);
				vcpu.vm.ops.setEoiExit?.(vcpu, vector, levelTriggered);
				if (vcpu.vm.ops.deliverInterrupt?.(vcpu, vector) === true) return true;
				this.setBit(APIC.IRR, vector, true);
				requestAndKick(vcpu, KVM_REQ.EVENT);
				return true;
			case APIC_DM.NMI:
				vcpu.nmiQueued++;
				requestAndKick(vcpu, KVM_REQ.NMI);
				return true;
			case APIC_DM.SMI:
				requestAndKick(vcpu, KVM_REQ.SMI);
				return true;
			case APIC_DM.INIT:
				if (levelTriggered && !asserted) return false;
				this.noteInit();
				requestAndKick(vcpu, KVM_REQ.EVENT);
				return true;
			case APIC_DM.STARTUP:
				this.sipiVector = vector;
				requestAndKick(vcpu, KVM_REQ.EVENT);
				return true;
			default:
				// EXTINT comes from the PIC by a wire of its own; REMRD is obsolete.
				return false;
		}
	}

	/** apic_set_eoi(): also the I/O APIC's, for a vector that was level triggered. */
	setEoi(): void {
		const { vcpu } = this;
		const vector = this.highest(APIC.ISR);
		vcpu.tracer?.tracepoint?.(vcpu, "kvm_eoi", { apicId: vcpu.id, vector });
		guestWrote(this.vcpu, "EOI", vector);
		if (vector < 0) return;
		this.setBit(APIC.ISR, vector, false);
		this.priorityChanged();
		if (this.testBit(APIC.TMR, vector)) kernelIrqchip(this.vcpu.vm)?.ioapic.eoi(vector);
		makeRequest(this.vcpu, KVM_REQ.EVENT);
	}

	/** kvm_apic_set_eoi_accelerated(): the processor has done the EOI, and exited for the I/O APIC's. */
	setEoiAccelerated(vector: number): void {
		if (this.testBit(APIC.TMR, vector)) kernelIrqchip(this.vcpu.vm)?.ioapic.eoi(vector);
		makeRequest(this.vcpu, KVM_REQ.EVENT);
	}

	/** The highest vector in IRR, or -1. */
	get highestRequested(): number {
		return this.highest(APIC.IRR);
	}

	/** Whether a vector waits in IRR. */
	isRequested(vector: number): boolean {
		return this.testBit(APIC.IRR, vector);
	}

	/** The highest vector in service, or -1. */
	get highestInService(): number {
		return this.highest(APIC.ISR);
	}

	/** Puts 32 vectors into IRR. @param word their number / 32 */
	mergeIrr(word: number, bits: number): void {
		const at = (APIC.IRR >> 2) + 4 * word;
		this.regs[at] = this.regs[at]! | bits;
	}

	/** kvm_apic_accept_pic_intr(): LINT0 takes the PIC's interrupts, or there is no local APIC to ask. */
	get acceptsPic(): boolean {
		if (!this.isEnabled) return true;
		const entry = this.regs[APIC.LVT0 >> 2]!;
		return (entry & APIC_LVT_MASKED) === 0 && (entry & APIC_DM_MASK) === APIC_DM.EXTINT;
	}

	/** kvm_apic_local_deliver(): an LVT entry fires. @param offset APIC.LVT… */
	localDeliver(offset: number): void {
		const entry = this.regs[offset >> 2]!;
		if (!this.isEnabled || (entry & APIC_LVT_MASKED) !== 0) return;
		this.acceptIrq({
			...LOCAL,
			deliveryMode: entry & APIC_DM_MASK,
			vector: entry & 0xff,
			levelTriggered: (entry & APIC_INT_LEVELTRIG) !== 0,
		});
	}

	/** KVM_APIC_INIT of pending_events, without the request that tells the vCPU. */
	noteInit(): void {
		this.initPending = true;
		this.sipiVector = -1;
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
		return this.timer.pending > 0 && this.isEnabled && (this.regs[APIC.LVTT >> 2]! & APIC_LVT_MASKED) === 0;
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
		return (this.regs[APIC.TASKPRI >> 2]! & 0xf0) >> 4;
	}
	/** kvm_lapic_set_tpr(). */
	set cr8(value: number) {
		this.setTpr((value & 0xf) << 4);
	}
	/** apic_set_tpr(). @param value 8 bits */
	setTpr(value: number): void {
		this.regs[APIC.TASKPRI >> 2] = value;
		this.priorityChanged();
	}
}
