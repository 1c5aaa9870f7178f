/**
 * Functions of the kernel that are executed as a whole: what each costs besides the ops it does. Their callers are code
 * here, so how often they run is never a figure of this table.
 *
 * All are assumed: instructions counted roughly from the C of v6.18, ops exactly.
 */
import type { Cpu } from "../silicon/cpu/cpu.ts";
import { symbol } from "../silicon/cpu/symbols.ts";
import { OP, type OpName } from "../silicon/ops.ts";
import type { RemoteLines } from "./remote-lines.ts";
import type { SharedLine } from "./shared-line.ts";

/** One function. */
export interface KernelFunction {
	readonly name: string;
	readonly file: string;
	readonly symbolId: number;
	/** Plain instructions. */
	readonly instructions: number;
	readonly ops: readonly number[];
}

// biome-ignore format: a table
const rows = [
	// name                         file                              instructions  ops
	["read_tsc",                    "arch/x86/kernel/tsc.c",          4,  ["rdtsc"]],
	["ktime_get",                   "kernel/time/timekeeping.c",      24, []],
	["ktime_get_update_offsets_now", "kernel/time/timekeeping.c",     40, []],
	["_raw_spin_lock_irqsave",      "kernel/locking/spinlock.c",      8,  ["lock_rmw"]],
	["_raw_spin_unlock_irqrestore", "kernel/locking/spinlock.c",      6,  []],
	["__hrtimer_run_queues",        "kernel/time/hrtimer.c",          60, []],
	["tick_program_event",          "kernel/time/tick-oneshot.c",     20, ["wrmsr"]],
	["hrtimer_start_range_ns",      "kernel/time/hrtimer.c",          70, []],
	["try_to_wake_up",              "kernel/sched/core.c",            180, ["lock_rmw"]],
	["rcu_note_context_switch",     "kernel/rcu/tree_plugin.h",       40, []],
	["dequeue_task_fair",           "kernel/sched/fair.c",            160, []],
	["pick_next_task_fair",         "kernel/sched/fair.c",            120, []],
	["fdget",                       "fs/file.c",                      14, ["lock_rmw"]],
	["fput",                        "fs/file_table.c",                8,  ["lock_rmw"]],
	["mutex_lock",                  "kernel/locking/mutex.c",         6,  ["lock_rmw"]],
	["mutex_unlock",                "kernel/locking/mutex.c",         6,  ["lock_rmw"]],
	["do_sys_poll",                 "fs/select.c",                    60, []],
	["__pollwait",                  "fs/select.c",                    24, ["lock_rmw"]],
	["add_wait_queue",              "kernel/sched/wait.c",            14, []],
	["remove_wait_queue",           "kernel/sched/wait.c",            10, []],
	["eventfd_poll",                "fs/eventfd.c",                   14, []],
	["eventfd_read",                "fs/eventfd.c",                   50, ["lock_rmw"]],
	["tick_nohz_idle_stop_tick",    "kernel/time/tick-sched.c",       120, []],
	["tick_nohz_idle_exit",         "kernel/time/tick-sched.c",       90, []],
	["menu_select",                 "drivers/cpuidle/governors/menu.c", 160, []],
	["eventfd_signal_mask",         "fs/eventfd.c",                   24, []],
	["kvm_io_bus_write",            "virt/kvm/kvm_main.c",            40, []],
	["ioeventfd_write",             "virt/kvm/eventfd.c",             14, []],
	["hrtimer_try_to_cancel",       "kernel/time/hrtimer.c",          30, []],
	["try_get_folio",               "mm/gup.c",                       16, ["lock_rmw"]],
	["mmu_try_to_unsync_pages",     "arch/x86/kvm/mmu/mmu.c",         30, []],
	["intel_guest_get_msrs",        "arch/x86/events/intel/core.c",   60, []],
	["kvm_arch_vcpu_runnable",      "arch/x86/kvm/x86.c",             50, []],
	["kvm_arch_interrupt_allowed",  "arch/x86/kvm/x86.c",             8,  []],
	["vt_interrupt_allowed",        "arch/x86/kvm/vmx/main.c",        8,  []],
	["vmx_interrupt_allowed",       "arch/x86/kvm/vmx/vmx.c",         10, []],
	["vmx_interrupt_blocked",       "arch/x86/kvm/vmx/vmx.c",         16, ["vmread"]],
	["vmx_get_rflags",              "arch/x86/kvm/vmx/vmx.c",         12, []],
	["svm_interrupt_allowed",       "arch/x86/kvm/svm/svm.c",         10, []],
	["svm_interrupt_blocked",       "arch/x86/kvm/svm/svm.c",         24, []],
	["kvm_cpu_has_interrupt",       "arch/x86/kvm/irq.c",             10, []],
	["kvm_cpu_has_extint",          "arch/x86/kvm/irq.c",             16, []],
	["kvm_apic_accept_pic_intr",    "arch/x86/kvm/lapic.c",           14, []],
	["kvm_cpu_has_pending_timer",   "arch/x86/kvm/irq.c",             8,  []],
	["apic_has_pending_timer",      "arch/x86/kvm/lapic.c",           12, []],
] as const satisfies readonly (readonly [string, string, number, readonly OpName[]])[];

export type KernelFunctionName = (typeof rows)[number][0];

/** The table, for docs. */
export const KERNEL_FUNCTIONS: ReadonlyMap<string, KernelFunction> = new Map(
	rows.map(([name, file, instructions, ops]) => [
		name,
		{ name, file, symbolId: symbol(name), instructions, ops: ops.map((op) => OP[op]) },
	]),
);

/** Functions by name, for those who run them. */
export const FN = Object.fromEntries(KERNEL_FUNCTIONS) as Record<KernelFunctionName, KernelFunction>;

/** Runs a function: its ops and its plain instructions, under its symbol. @param inner what it calls */
export function runFunction(cpu: Cpu, fn: KernelFunction, inner?: (cpu: Cpu) => void): void {
	cpu.enter(fn.symbolId);
	for (const op of fn.ops) cpu.op(op);
	inner?.(cpu);
	cpu.code(fn.instructions);
	cpu.leave();
}

const readTsc = (cpu: Cpu) => runFunction(cpu, FN.read_tsc);

/** ktime_get(). @returns the time in cycles */
export function ktimeGet(cpu: Cpu): number {
	runFunction(cpu, FN.ktime_get, readTsc);
	return cpu.cycles;
}

/**
 * hrtimer_update_base(): the clocks' offsets, from a reading of the time stamp counter.
 * @param timekeeper its lines
 */
export function updateOffsetsNow(cpu: Cpu, timekeeper: RemoteLines): void {
	runFunction(cpu, FN.ktime_get_update_offsets_now, () => {
		timekeeper.read();
		readTsc(cpu);
	});
}

/** rcu_note_context_switch(). @param data the line of rcu_data */
export function rcuNoteContextSwitch(cpu: Cpu, data: RemoteLines): void {
	runFunction(cpu, FN.rcu_note_context_switch, () => data.read());
}

/** wake_up_process(): under the task's pi_lock, and the lock of its run queue. @param lock the line of pi_lock */
export function tryToWakeUp(cpu: Cpu, lock: SharedLine): void {
	runFunction(cpu, FN.try_to_wake_up, () => lockedIrqsave(cpu, () => {}, lock));
}

/**
 * A spinlock taken and released around some work. Nobody holds it then, but another CPU may have.
 * @param line the lock's, if several CPUs take it
 */
export function lockedIrqsave(cpu: Cpu, work: () => void, line?: SharedLine): void {
	runFunction(cpu, FN._raw_spin_lock_irqsave, () => line?.write(cpu));
	work();
	runFunction(cpu, FN._raw_spin_unlock_irqrestore);
}
