/**
 * What the kernel must know of a CPU that runs a guest: that the time is the guest's (include/linux/vtime.h), and that
 * RCU need not wait for it (include/linux/context_tracking.h, include/linux/kvm_host.h in v6.18).
 *
 * The two are apart since 2022: guest time spans the interrupts behind an exit, context tracking the entry alone.
 */
import type { Cpu } from "../silicon/cpu/cpu.ts";
import { OP } from "../silicon/ops.ts";
import { rcuNoteContextSwitch } from "./functions.ts";
import type { RemoteLines } from "./remote-lines.ts";

export class GuestContext {
	private readonly cpu: Cpu;
	private readonly rcuData: RemoteLines;
	/** PF_VCPU of the current task: a tick now is the guest's time. */
	pfVcpu = false;
	/** Context tracking says guest: RCU does not watch this CPU, and lockdep takes interrupts for enabled. */
	inGuest = false;
	/** kvm_before_interrupt(): an event that came in the guest is being handled; perf charges its samples to the guest. */
	handlingEvent = false;
	/** Samples that perf charged to guests. */
	guestSamples = 0;
	/** Ticks charged to guests, and to the kernel: account_guest_time(), account_system_time(). */
	guestTicks = 0;
	systemTicks = 0;

	/** @param rcuData the CPU's */
	constructor(cpu: Cpu, rcuData: RemoteLines) {
		this.cpu = cpu;
		this.rcuData = rcuData;
	}

	/** guest_timing_enter_irqoff(): vtime_account_guest_enter(). */
	timingEnter(): void {
		this.cpu.op(OP.guest_timing_enter);
		this.pfVcpu = true;
	}

	/** guest_timing_exit_irqoff(): vtime_account_guest_exit(). */
	timingExit(): void {
		this.cpu.op(OP.guest_timing_exit);
		this.pfVcpu = false;
	}

	/**
	 * guest_state_enter_irqoff(): lockdep, then context_tracking_guest_enter(). Nothing may be instrumented behind it. On a
	 * CPU that keeps its tick RCU is told by rcu_virt_note_context_switch() instead: each entry is a quiescent state.
	 */
	stateEnter(): void {
		this.cpu.op(OP.context_tracking_enter);
		rcuNoteContextSwitch(this.cpu, this.rcuData);
		this.inGuest = true;
	}

	/** guest_state_exit_irqoff(). */
	stateExit(): void {
		this.cpu.op(OP.context_tracking_exit);
		this.inGuest = false;
	}

	/**
	 * account_process_tick(): a tick that did not interrupt another handler is the guest's while PF_VCPU is set.
	 * @param handlers depth of handlers, the timer interrupt's own included
	 */
	tick(handlers: number): void {
		if (this.pfVcpu && handlers === 1) this.guestTicks++;
		else this.systemTicks++;
	}
}
