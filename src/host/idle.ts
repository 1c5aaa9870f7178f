/** do_idle() around the sleep (kernel/sched/idle.c, kernel/time/tick-sched.c): with NO_HZ the tick is stopped, and started again. */
import type { Cpu } from "../silicon/cpu/cpu.ts";
import { OP } from "../silicon/ops.ts";
import { FN, lockedIrqsave, runFunction } from "./functions.ts";

/** hrtimer_start() of the tick's timer: under the lock of the CPU's timers. */
function startTick(cpu: Cpu): void {
	cpu.enter(FN.hrtimer_start_range_ns.symbolId);
	lockedIrqsave(cpu, () => cpu.op(OP.hrtimer_start));
	cpu.leave();
}

/** The CPU is about to sleep: how deep, and until when. */
export function idleEnter(cpu: Cpu): void {
	runFunction(cpu, FN.menu_select);
	runFunction(cpu, FN.tick_nohz_idle_stop_tick, startTick);
}

/** It has something to run. */
export function idleExit(cpu: Cpu): void {
	runFunction(cpu, FN.tick_nohz_idle_exit, startTick);
}
