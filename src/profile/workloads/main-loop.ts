/**
 * The main loop of a VMM: a thread that waits in ppoll() for some files and for timers, as QEMU's does. A guest rings a virtio
 * device's doorbell, for which KVM has an ioeventfd: that wakes it.
 */
import { FN, lockedIrqsave, runFunction } from "../../host/functions.ts";
import type { Hrtimer } from "../../host/hrtimer.ts";
import type { Kernel } from "../../host/kernel.ts";
import { SharedLine } from "../../host/shared-line.ts";
import { INIT_PKRU, Task } from "../../host/task.ts";
import { Thread } from "../../host/thread.ts";
import type { Machine } from "../../kvm/api/kvm.ts";
import type { Cpu } from "../../silicon/cpu/cpu.ts";
import { symbol } from "../../silicon/cpu/symbols.ts";
import { OP } from "../../silicon/ops.ts";

const MAIN_LOOP = symbol("main_loop_wait");
/** guests/timer-userspace.c: the doorbell of a device. */
const DOORBELL_PORT = 0xc050;
/** Plain instructions of the loop in user space: lists of handlers and timers. Assumed. */
const MAIN_LOOP_INSTRUCTIONS = 1500;
/** Of ppoll() for each file, besides what it calls. Assumed. */
const FILE_INSTRUCTIONS = 12;
/** The timeout of ppoll() is the VMM's next timer; this one is never reached. */
const TIMEOUT_CYCLES = 1e9;

/** An eventfd that one thread writes and another one waits for. */
class Eventfd {
	isSet = false;
	/** The line of its wait queue's lock. */
	private readonly lock = new SharedLine();

	/** A system call on it: the file table is shared by threads, so each takes a reference. */
	use(cpu: Cpu, body: () => void): void {
		runFunction(cpu, FN.fdget);
		body();
		runFunction(cpu, FN.fput);
	}

	/** eventfd_poll(), which may put the caller into the wait queue. */
	poll(cpu: Cpu, waits: boolean): void {
		runFunction(cpu, FN.eventfd_poll, () => {
			if (!waits) return;
			runFunction(cpu, FN.__pollwait, () => {
				runFunction(cpu, FN.add_wait_queue, () => lockedIrqsave(cpu, () => {}, this.lock));
			});
		});
	}

	/** free_poll_entry(). */
	leave(cpu: Cpu): void {
		runFunction(cpu, FN.remove_wait_queue, () => lockedIrqsave(cpu, () => {}, this.lock));
		runFunction(cpu, FN.fput);
	}

	/** eventfd_signal_mask(), which wakes who waits. */
	signal(cpu: Cpu, wake: () => void): void {
		runFunction(cpu, FN.eventfd_signal_mask, () => {
			lockedIrqsave(
				cpu,
				() => {
					this.isSet = true;
					wake();
				},
				this.lock,
			);
		});
	}
}

/** What it waits for. */
export interface MainLoopOptions {
	/** Files that it polls: eventfds, sockets, the monitor. At least 1. */
	readonly files: number;
}

/** Starts the thread on the machine's last CPU, which no vCPU is on. */
export function startMainLoop({ smp, kernels, vm }: Machine, { files }: MainLoopOptions): void {
	const home = kernels.at(-1)!;
	const task = new Task("main loop", vm.vcpus[0]!.guestFpu.features, INIT_PKRU, kernels.length + 1);
	const polled = Array.from({ length: files }, () => new Eventfd());
	const doorbell = polled[0]!;
	const thread: Thread = new Thread(task, home, mainLoop(home, polled), () => {});
	smp!.start(thread);
	const wake = () => smp!.wake(thread);
	const signal = () => {
		const { cpu } = smp!.running!;
		runFunction(cpu, FN.kvm_io_bus_write, () =>
			runFunction(cpu, FN.ioeventfd_write, () => doorbell.signal(cpu, wake)),
		);
	};
	vm.ioBus.addIoeventfd({ pio: true, address: DOORBELL_PORT, bytes: 1, datamatch: null, signal });
}

function* mainLoop(home: Kernel, files: readonly Eventfd[]): Generator<void, void> {
	const { cpu } = home;
	for (;;) {
		yield* ppoll(home, files, () => files.some(({ isSet }) => isSet));
		home.returnToUser(home.current);
		for (const file of files) {
			if (!file.isSet) continue;
			file.use(cpu, () => {
				runFunction(cpu, FN.eventfd_read);
				file.isSet = false;
			});
			home.returnToUser(home.current);
		}
		cpu.enter(MAIN_LOOP);
		cpu.codeOfFigure(MAIN_LOOP_INSTRUCTIONS);
		cpu.leave();
	}
}

/** do_sys_poll(): looks at all files; if none is ready, waits in all their queues, and looks again. */
function* ppoll(home: Kernel, files: readonly Eventfd[], isReady: () => boolean): Generator<void, void> {
	const { cpu, hrtimers } = home;
	const look = (waits: boolean) => {
		for (const file of files) {
			file.use(cpu, () => file.poll(cpu, waits));
			cpu.code(FILE_INSTRUCTIONS);
		}
	};
	cpu.enter(FN.do_sys_poll.symbolId);
	cpu.code(FN.do_sys_poll.instructions);
	// What others did before is seen in the order of time.
	while (cpu.cycles > cpu.horizon) yield;
	const waits = !isReady();
	look(waits);
	if (waits) {
		const timeout: Hrtimer = { expiresCycles: 0, callback: () => {} };
		cpu.enter(FN.hrtimer_start_range_ns.symbolId);
		lockedIrqsave(cpu, () => cpu.op(OP.hrtimer_start));
		cpu.leave();
		hrtimers.start(timeout, cpu.cycles + TIMEOUT_CYCLES);
		while (cpu.cycles > cpu.horizon) yield;
		while (!isReady()) {
			home.idle();
			yield;
		}
		cpu.enter(FN.hrtimer_try_to_cancel.symbolId);
		lockedIrqsave(cpu, () => cpu.op(OP.hrtimer_cancel));
		cpu.leave();
		hrtimers.cancel(timeout);
		look(false);
		for (const file of files) file.leave(cpu);
	}
	cpu.leave();
}
