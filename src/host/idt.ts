/** What the kernel's IDT leads to: interrupts and NMIs. Machine checks have a room of their own (mce.ts). Follows v6.18. */
import { symbol } from "../silicon/cpu/symbols.ts";
import * as L from "../silicon/cpu/layout.ts";
import { OP } from "../silicon/ops.ts";
import { moveFromDr, moveToDr } from "./access.ts";
import { FN, lockedIrqsave, runFunction, updateOffsetsNow } from "./functions.ts";
import { DR7_FIXED_1 } from "./hw-breakpoint.ts";
import type { Kernel } from "./kernel.ts";
import { runPart } from "./shares.ts";

/** Vectors of the kernel's own interrupts (arch/x86/include/asm/irq_vectors.h, v6.18). */
export const HOST_VECTOR = {
	/** A device's interrupt whose handler does nothing of note. */
	device: 0x30,
	/** A device's interrupt whose handler uses the FPU between kernel_fpu_begin() and kernel_fpu_end(). */
	deviceFpu: 0x31,
	/** Another device's whose handler does so. */
	otherDeviceFpu: 0x32,
	localTimer: 0xec,
	postedInterrupt: 0xf2,
	callFunction: 0xfb,
	reschedule: 0xfd,
} as const;

/** A handler, and the assembly by which it is entered and left. */
const handler = (name: string) => ({ symbolId: symbol(name), asmId: symbol(`asm_${name}`) });
const DEVICE_HANDLER = handler("common_interrupt");
/** Handlers of vectors that are no device's. */
const HANDLERS: ReadonlyMap<number, typeof DEVICE_HANDLER> = new Map([
	[HOST_VECTOR.localTimer, handler("sysvec_apic_timer_interrupt")],
	[HOST_VECTOR.postedInterrupt, handler("sysvec_kvm_posted_intr_ipi")],
	[HOST_VECTOR.callFunction, handler("sysvec_call_function")],
	[HOST_VECTOR.reschedule, handler("sysvec_reschedule_ipi")],
]);
const EXC_NMI = symbol("exc_nmi");
const HRTIMER_INTERRUPT = symbol("hrtimer_interrupt");

/** An external interrupt's handler, from the IDT or called by KVM for a vector acknowledged at VM exit. */
export function handleInterrupt(kernel: Kernel, vector: number): void {
	const { cpu } = kernel;
	const { symbolId, asmId } = HANDLERS.get(vector) ?? DEVICE_HANDLER;
	cpu.enter(asmId);
	kernel.handlerDepth++;
	cpu.op(OP.irq_handler);
	runPart(cpu, "irqentry_enter");
	runPart(cpu, "irq_enter_rcu");
	cpu.enter(symbolId);
	kernel.interruptCounts[vector] = kernel.interruptCounts[vector]! + 1;
	if (vector === HOST_VECTOR.localTimer) {
		cpu.enter(HRTIMER_INTERRUPT);
		hrtimerInterrupt(kernel);
		cpu.leave();
		kernel.guestContext.tick(kernel.handlerDepth);
		if (kernel.reschedOnTick) kernel.current.needResched = true;
		kernel.reschedOnTick = false;
	} else if (vector === HOST_VECTOR.deviceFpu || vector === HOST_VECTOR.otherDeviceFpu) kernel.useKernelFpu();
	else if (vector === HOST_VECTOR.postedInterrupt) kernel.onPostedInterrupt();
	else if (vector === HOST_VECTOR.callFunction) while (kernel.calls.length > 0) kernel.calls.shift()!();
	cpu.op(OP.apic_eoi);
	kernel.apic.eoi();
	cpu.leave();
	runPart(cpu, "irq_exit_rcu");
	runPart(cpu, "irqentry_exit");
	kernel.handlerDepth--;
	cpu.leave();
}

/** hrtimer_interrupt(): expired timers run, and the next deadline is programmed. */
function hrtimerInterrupt(kernel: Kernel): void {
	const { cpu } = kernel;
	lockedIrqsave(cpu, () => updateOffsetsNow(cpu, kernel.timekeeper));
	cpu.enter(FN.__hrtimer_run_queues.symbolId);
	cpu.code(FN.__hrtimer_run_queues.instructions);
	kernel.hrtimers.expire();
	cpu.leave();
	runFunction(cpu, FN.tick_program_event);
}

/** An NMI's handler. Breakpoints are off in it: local_db_save(), local_db_restore(). */
export function handleNmi(kernel: Kernel): void {
	const { cpu } = kernel;
	cpu.enter(EXC_NMI);
	kernel.handlerDepth++;
	const dr7 = Number(moveFromDr(cpu, L.DR7)) & ~DR7_FIXED_1;
	if (dr7 !== 0) moveToDr(cpu, L.DR7, DR7_FIXED_1);
	cpu.op(OP.nmi_handler);
	kernel.nmis++;
	if (kernel.perfNmi) samplePerf(kernel);
	if (dr7 !== 0) moveToDr(cpu, L.DR7, dr7 | DR7_FIXED_1);
	kernel.handlerDepth--;
	cpu.leave();
}

/**
 * perf's part of an NMI: a sample of the guest if KVM says that the NMI came in one (perf_guest_state()), otherwise
 * the kernel's call chain and that of the user space behind it (perf_callchain_user(), copy_from_user_nmi()). A page
 * whose key PKRU denies faults; the exception table has a fixup, and the chain ends there.
 */
function samplePerf(kernel: Kernel): void {
	kernel.perfNmi = false;
	kernel.perfSamples++;
	if (kernel.guestContext.handlingEvent) {
		kernel.guestContext.guestSamples++;
		return;
	}
	kernel.cpu.op(OP.copy_from_user_nmi);
	if (!kernel.userReadable) kernel.callchainsLost++;
}
