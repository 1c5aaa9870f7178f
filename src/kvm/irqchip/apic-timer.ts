/**
 * The local APIC's timer (`struct kvm_timer`, arch/x86/kvm/lapic.c): a count or a TSC deadline, on the VMX
 * preemption timer where the vendor has one, on an hrtimer of the host otherwise.
 */
import type { Hrtimer, HrtimerQueue } from "../../host/hrtimer.ts";
import { FN, lockedIrqsave } from "../../host/functions.ts";
import { OP } from "../../silicon/ops.ts";
import { KVM_REQ } from "../requests.ts";
import type { Vcpu } from "../vcpu.ts";
import { requestAndKick } from "../x86/kick.ts";
import { APIC_TIMER } from "./apic-registers.ts";

/** Nanoseconds of one APIC bus cycle: APIC_BUS_CYCLE_NS_DEFAULT. */
const BUS_CYCLE_NS = 1;
/** Periods below this would keep the host busy: min_timer_period_us. */
const LEAST_PERIOD_NS = 200_000;

export class ApicTimer implements Hrtimer {
	/** APIC_TIMER mode. */
	mode: number = APIC_TIMER.ONESHOT;
	/** IA32_TSC_DEADLINE in guest TSC cycles; 0 when disarmed. */
	tscDeadline = 0;
	/** Guest TSC at which a one-shot or periodic count ends; 0 when stopped. */
	targetExpiration = 0;
	/** Divide configuration: 1, 2, 4 … 128. */
	divideCount = 2;
	/** Timer interrupts that wait to be put into the LVTT's vector. */
	pending = 0;
	hvTimerInUse = false;
	expiresCycles = 0;
	/** The queue that its hrtimer is in: that of the CPU on which it was started. */
	private queue: HrtimerQueue | null = null;
	private periodCycles = 0;
	private readonly vcpu: Vcpu;

	constructor(vcpu: Vcpu) {
		this.vcpu = vcpu;
	}

	/** kvm_read_l1_tsc(): the guest's TSC now, in cycles. */
	get guestTsc(): number {
		return this.vcpu.cpu.cycles + this.vcpu.tscOffset;
	}

	get isTscDeadline(): boolean {
		return this.mode === APIC_TIMER.TSCDEADLINE;
	}

	/** __start_apic_timer(): arms from a count of APIC bus cycles, or from the TSC deadline. */
	start(initialCount: number): void {
		this.pending = 0;
		if (!this.isTscDeadline) {
			this.periodCycles = this.countToCycles(initialCount);
			if (initialCount === 0) {
				this.targetExpiration = 0;
				return;
			}
			this.limitPeriod();
			this.targetExpiration = this.guestTsc + this.periodCycles;
		}
		this.restart();
	}

	/** limit_periodic_timer_frequency(). */
	limitPeriod(): void {
		if (this.mode !== APIC_TIMER.PERIODIC || this.periodCycles === 0) return;
		const least = Math.ceil((LEAST_PERIOD_NS * this.vcpu.cpu.model.tscHz) / 1e9);
		this.periodCycles = Math.max(this.periodCycles, least);
	}

	/** restart_apic_timer(): the hardware timer if the vendor takes it, else an hrtimer. */
	restart(): void {
		if (this.mode !== APIC_TIMER.PERIODIC && this.pending > 0) return;
		if (!this.startHvTimer()) this.startSwTimer();
	}

	/** Guest TSC at which the armed timer fires; 0 when there is none. */
	get deadline(): number {
		return this.isTscDeadline ? this.tscDeadline : this.targetExpiration;
	}

	private startHvTimer(): boolean {
		const { deadline, vcpu } = this;
		if (deadline === 0 || !vcpu.vm.ops.setHvTimer(vcpu, deadline)) return false;
		this.hvTimerInUse = true;
		this.cancelSwTimer();
		// A deadline that has passed fires now; arming the preemption timer with 0 would cost an exit.
		if (this.mode !== APIC_TIMER.PERIODIC && deadline <= this.guestTsc) {
			this.expired();
			this.cancelHvTimer();
		}
		return true;
	}

	/** start_sw_timer(). */
	startSwTimer(): void {
		const { deadline, vcpu } = this;
		if (this.hvTimerInUse) this.cancelHvTimer();
		this.cancelSwTimer();
		if (deadline === 0) return;
		if (deadline <= this.guestTsc && this.mode !== APIC_TIMER.PERIODIC) {
			this.expired();
			return;
		}
		const { cpu } = vcpu;
		cpu.enter(FN.hrtimer_start_range_ns.symbolId);
		lockedIrqsave(cpu, () => cpu.op(OP.hrtimer_start));
		cpu.leave();
		this.queue = vcpu.kernel.hrtimers;
		this.queue.start(this, deadline - vcpu.tscOffset);
	}

	/** apic_timer_fn(): the hrtimer fired. Interrupt context. */
	callback(): void {
		const { queue } = this;
		this.queue = null;
		this.expired();
		if (this.mode !== APIC_TIMER.PERIODIC) return;
		this.advance();
		this.queue = queue;
		queue?.start(this, this.targetExpiration - this.vcpu.tscOffset);
	}

	/** apic_timer_expired(): an interrupt is owed; whoever sleeps for it wakes. */
	private expired(): void {
		if (this.pending > 0) return;
		this.pending++;
		requestAndKick(this.vcpu, KVM_REQ.UNBLOCK);
	}

	/** kvm_lapic_expired_hv_timer(): the VMX preemption timer reached 0. */
	expiredHvTimer(): void {
		if (!this.hvTimerInUse) return;
		this.expired();
		this.cancelHvTimer();
		if (this.mode === APIC_TIMER.PERIODIC && this.targetExpiration !== 0) {
			this.advance();
			this.restart();
		}
	}

	private advance(): void {
		this.targetExpiration += Math.max(this.periodCycles, 1);
		if (this.targetExpiration <= this.guestTsc) this.targetExpiration = this.guestTsc + this.periodCycles;
	}

	private cancelHvTimer(): void {
		this.hvTimerInUse = false;
		this.vcpu.vm.ops.cancelHvTimer(this.vcpu);
	}

	private cancelSwTimer(): void {
		if (this.queue === null) return;
		this.vcpu.cpu.op(OP.hrtimer_cancel);
		this.queue.cancel(this);
		this.queue = null;
	}

	/** cancel_apic_timer(). */
	cancel(): void {
		this.cancelSwTimer();
		if (this.hvTimerInUse) this.cancelHvTimer();
		this.pending = 0;
	}

	/** The timer stops and forgets its deadline: apic_update_lvtt(). */
	disarm(): void {
		this.cancel();
		this.tscDeadline = 0;
		this.targetExpiration = 0;
	}

	/** Behind an injected timer interrupt: a one-shot timer and a deadline are used up. */
	consumed(): void {
		if (this.isTscDeadline) this.tscDeadline = 0;
		else if (this.mode === APIC_TIMER.ONESHOT) this.targetExpiration = 0;
	}

	/** kvm_lapic_switch_to_sw_timer(): before the vCPU blocks, because the preemption timer counts only in the guest. */
	switchToSwTimer(): void {
		if (this.hvTimerInUse) this.startSwTimer();
	}

	/** kvm_lapic_switch_to_hv_timer(): behind a block. */
	switchToHvTimer(): void {
		if (this.queue !== null) this.restart();
	}

	/** __kvm_migrate_apic_timer(): the vCPU is on another CPU, and its hrtimer follows. */
	migrate(): void {
		const { queue } = this;
		const here = this.vcpu.kernel.hrtimers;
		if (queue === null || queue === here || !queue.cancel(this)) return;
		this.queue = here;
		here.start(this, this.expiresCycles);
	}

	/** apic_get_tmcct(): what is left, in divided bus cycles. */
	currentCount(): number {
		if (this.targetExpiration === 0 || this.isTscDeadline) return 0;
		const left = Math.max(0, this.targetExpiration - this.guestTsc);
		return Math.floor((left * 1e9) / this.vcpu.cpu.model.tscHz / (BUS_CYCLE_NS * this.divideCount));
	}

	/** A new divider scales what is left: update_target_expiration(). */
	setDivide(divideCount: number): void {
		const old = this.divideCount;
		this.divideCount = divideCount;
		if (old === divideCount || this.targetExpiration === 0) return;
		const left = Math.max(0, this.targetExpiration - this.guestTsc);
		this.periodCycles = (this.periodCycles * divideCount) / old;
		this.limitPeriod();
		this.targetExpiration = this.guestTsc + Math.floor((left * divideCount) / old);
		this.restart();
	}

	private countToCycles(count: number): number {
		return Math.floor((count * BUS_CYCLE_NS * this.divideCount * this.vcpu.cpu.model.tscHz) / 1e9);
	}
}
