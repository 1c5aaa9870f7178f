/**
 * Halt polling (kvm_vcpu_halt() in virt/kvm/kvm_main.c, v6.18): before the thread of a halted vCPU sleeps, it looks for a
 * while whether an event comes, which saves the wake-up. How long follows from how long the last halts were.
 */
import { FN, ktimeGet, runFunction } from "../../host/functions.ts";
import { symbol } from "../../silicon/cpu/symbols.ts";
import { OP } from "../../silicon/ops.ts";
import type { Vcpu } from "../vcpu.ts";
import { srcuReadLockNested, srcuReadUnlockNested } from "./srcu.ts";

/** kvm.halt_poll_ns_grow, kvm.halt_poll_ns_grow_start, kvm.halt_poll_ns_shrink: their defaults. */
const GROW = 2;
const GROW_START_NS = 10_000;
const SHRINK = 2;

const KVM_VCPU_HALT = symbol("kvm_vcpu_halt");
/** Plain instructions of a turn of the loop besides what it calls. Assumed. */
const TURN_INSTRUCTIONS = 20;

/**
 * What kvm_vcpu_check_block() calls before kvm_apic_has_interrupt(), which has code of its own, and behind it: each is small,
 * and global, so that a profile shows it.
 */
const BEFORE_APIC = {
	vmx: [
		FN.kvm_arch_vcpu_runnable,
		FN.kvm_arch_interrupt_allowed,
		FN.vt_interrupt_allowed,
		FN.vmx_interrupt_allowed,
		FN.vmx_interrupt_blocked,
		FN.vmx_get_rflags,
		FN.kvm_cpu_has_interrupt,
		FN.kvm_cpu_has_extint,
		FN.kvm_apic_accept_pic_intr,
	],
	svm: [
		FN.kvm_arch_vcpu_runnable,
		FN.kvm_arch_interrupt_allowed,
		FN.svm_interrupt_allowed,
		FN.svm_interrupt_blocked,
		FN.kvm_cpu_has_interrupt,
		FN.kvm_cpu_has_extint,
		FN.kvm_apic_accept_pic_intr,
	],
	tdx: [FN.kvm_arch_vcpu_runnable, FN.kvm_arch_interrupt_allowed, FN.vt_interrupt_allowed],
} as const;
const BEHIND_APIC = [FN.kvm_cpu_has_pending_timer, FN.apic_has_pending_timer] as const;

const toCycles = (v: Vcpu, ns: number) => (ns * v.cpu.model.tscHz) / 1e9;

/** kvm_vcpu_halt() up to its loop. */
export function beginHalt(v: Vcpu): void {
	const { cpu, halt } = v;
	halt.isOn = true;
	cpu.enter(KVM_VCPU_HALT);
	// Without polling nobody pays for a look at the clock; a tracepoint may want to know.
	halt.startCycles = cpu.cycles;
	if (v.kernel.kvm.haltPollNs === 0) return;
	halt.startCycles = ktimeGet(cpu);
	halt.pollUntilCycles = v.haltPollNs === 0 ? 0 : halt.startCycles + toCycles(v, v.haltPollNs);
}

/**
 * One turn of the loop: kvm_vcpu_check_block(), cpu_relax(), ktime_get().
 * @param isRunnable kvm_vcpu_check_block()'s question
 * @returns whether an event has come; when time is up, polling is over and the thread will sleep
 */
export function pollOnce(v: Vcpu, isRunnable: (v: Vcpu) => boolean): boolean {
	const { cpu, halt } = v;
	srcuReadLockNested(v);
	for (const fn of BEFORE_APIC[v.vm.vendor]) runFunction(cpu, fn);
	const found = isRunnable(v);
	if (!found) for (const fn of BEHIND_APIC) runFunction(cpu, fn);
	srcuReadUnlockNested(v);
	cpu.code(TURN_INSTRUCTIONS);
	if (found) return true;
	cpu.op(OP.pause);
	if (ktimeGet(cpu) >= halt.pollUntilCycles) halt.pollUntilCycles = 0;
	return false;
}

/** What follows the wait: the next halt polls for longer if this one was a little too long for polling, and shorter if it was far too long. */
export function endHalt(v: Vcpu): void {
	const { cpu, halt } = v;
	const max = v.kernel.kvm.haltPollNs;
	const waited = halt.pollUntilCycles === 0;
	halt.isOn = false;
	halt.pollUntilCycles = 0;
	if (max > 0) {
		const haltNs = ((ktimeGet(cpu) - halt.startCycles) * 1e9) / cpu.model.tscHz;
		if (haltNs > v.haltPollNs) {
			if (v.haltPollNs > 0 && haltNs > max) setHaltPollNs(v, shrink(v.haltPollNs), false);
			else if (v.haltPollNs < max && haltNs < max) setHaltPollNs(v, grow(v.haltPollNs, max), true);
		}
	}
	v.tracer?.tracepoint?.(v, "kvm_vcpu_wakeup", {
		ns: Math.floor(((cpu.cycles - halt.startCycles) * 1e9) / cpu.model.tscHz),
		waited,
	});
	cpu.leave();
}

function setHaltPollNs(v: Vcpu, after: number, grows: boolean): void {
	v.tracer?.tracepoint?.(v, "kvm_halt_poll_ns", { grow: grows, before: v.haltPollNs, after });
	v.haltPollNs = after;
}

/** grow_halt_poll_ns(). */
function grow(ns: number, max: number): number {
	return Math.min(ns === 0 ? GROW_START_NS : ns * GROW, max);
}

/** shrink_halt_poll_ns(). */
function shrink(ns: number): number {
	const less = Math.floor(ns / SHRINK);
	return less < GROW_START_NS ? 0 : less;
}
