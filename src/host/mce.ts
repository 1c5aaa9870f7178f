/**
 * The #MC handler, in two forms. `schedule` is the one before commit 5567d11c21a1 (May 2020): hit in what
 * it takes for user context, it recovers in place, and that may sleep. `task-work` is the one since:
 * recovery is queued and runs when the task returns to user space.
 *
 * KVM calls the handler for #MCs that it gets by a VM exit (kvm_machine_check()) and makes it look like an
 * #MC in user space: the guest's memory is a user task's memory.
 */
import { symbol } from "../silicon/cpu/symbols.ts";
import * as L from "../silicon/cpu/layout.ts";
import { OP } from "../silicon/ops.ts";
import type { Kernel } from "./kernel.ts";

export type MceHandler = "task-work" | "schedule";

/** MCG_STATUS.MCIP: a machine check is in progress (SDM Vol. 3B, 16.3.1.2). */
export const MCG_STATUS_MCIP = 1 << 2;

const SYM = {
	doMachineCheck: symbol("do_machine_check"),
	memoryFailure: symbol("memory_failure"),
	killMe: symbol("kill_me_maybe"),
} as const;

/**
 * do_machine_check().
 * @param userContext the #MC is a user task's: recover its memory
 */
export function doMachineCheck(kernel: Kernel, userContext: boolean): void {
	const { cpu } = kernel;
	cpu.enter(SYM.doMachineCheck);
	kernel.handlerDepth++;
	cpu.op(OP.do_machine_check);
	kernel.machineChecks++;
	// The handler's last act on the hardware is to clear MCG_STATUS; a second #MC before that is a shutdown.
	cpu.write32(L.MCG_STATUS, cpu.read32(L.MCG_STATUS) & ~MCG_STATUS_MCIP);
	kernel.handlerDepth--;
	if (userContext) {
		if (kernel.mceHandler === "schedule") recoverInPlace(kernel);
		else queueRecovery(kernel);
	}
	cpu.leave();
}

/** The old way: ist_begin_non_atomic(), local_irq_enable(), memory_failure(), which waits for a page lock. */
function recoverInPlace(kernel: Kernel): void {
	const { cpu } = kernel;
	const wasEnabled = cpu.interruptFlag;
	memoryFailure(kernel);
	if (cpu.interruptFlag !== wasEnabled) cpu.interruptFlag = wasEnabled;
}

/** The new way: queue_task_work(). */
function queueRecovery(kernel: Kernel): void {
	const { cpu } = kernel;
	cpu.op(OP.task_work_add);
	kernel.current.taskWork.push({
		name: "kill_me_maybe",
		run: () => {
			cpu.enter(SYM.killMe);
			memoryFailure(kernel);
			cpu.leave();
		},
	});
}

/** memory_failure(): takes the page's lock, and so may sleep. Here it always does. */
function memoryFailure(kernel: Kernel): void {
	kernel.cpu.enter(SYM.memoryFailure);
	kernel.schedule();
	kernel.cpu.leave();
}
