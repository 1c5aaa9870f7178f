/** A thread of the VMM that takes a guest's memory away, again and again: madvise(MADV_DONTNEED) as the MMU notifier sees it. */
import type { Kernel } from "../../host/kernel.ts";
import { INIT_PKRU, Task } from "../../host/task.ts";
import { Thread } from "../../host/thread.ts";
import type { Machine } from "../../kvm/api/kvm.ts";
import { symbol } from "../../silicon/cpu/symbols.ts";

const MADVISE = symbol("__do_sys_madvise");
/** Plain instructions of madvise() around the notifier, for one range. Assumed. */
const MADVISE_INSTRUCTIONS = 600;

/** What it takes away: ranges of this size, in turn, waiting a while between two. */
export interface ZapperOptions {
	readonly gpa: number;
	readonly bytes: number;
	/** Of one call; a multiple of 4 KiB. */
	readonly rangeBytes: number;
	/** Time in user space between two calls, in cycles. */
	readonly pauseCycles: number;
}

/** Starts the thread on the machine's last CPU, which no vCPU is on. */
export function startZapper({ smp, kernels, vm }: Machine, options: ZapperOptions): void {
	const kernel = kernels.at(-1)!;
	const task = new Task("madvise", vm.vcpus[0]!.guestFpu.features, INIT_PKRU, kernels.length + 1);
	function* body(home: Kernel): Generator<void, void> {
		const { cpu } = home;
		for (let at = 0; ; at = (at + options.rangeBytes) % options.bytes) {
			cpu.enter(MADVISE);
			cpu.code(MADVISE_INSTRUCTIONS);
			// The lock is taken in the order of time.
			while (cpu.cycles > cpu.horizon) yield;
			vm.mmu.unmapRange(cpu, options.gpa + at, options.rangeBytes);
			cpu.leave();
			const until = cpu.cycles + options.pauseCycles;
			while (cpu.cycles < until) {
				cpu.idleUntil(Math.min(until, Math.max(cpu.horizon, cpu.cycles) + 1000));
				yield;
			}
		}
	}
	smp!.start(new Thread(task, kernel, body(kernel), () => {}));
}
