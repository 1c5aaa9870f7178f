/**
 * A vCPU in a thread of its own, because KVM_RUN blocks. The worker does nothing but KVM_RUN; exits are read, and
 * answered, here, from this thread's mapping of `struct kvm_run`.
 *
 *     const thread = await DevVcpuThread.start(vcpu);
 *     const exit = await thread.run();
 *     await thread.stop();
 *
 * A vCPU is stopped as KVM's api.rst says (KVM_SET_SIGNAL_MASK, immediate_exit): the signal is blocked in the
 * worker but for the time of KVM_RUN, so it ends a KVM_RUN that is under way; immediate_exit ends one that is about to
 * begin. The signal never has a handler to run.
 */
import { Worker } from "node:worker_threads";
import { KvmError, type VcpuThread } from "../uapi/api.ts";
import type { VcpuExit } from "../uapi/exit.ts";
import type { WorkerAnswer, WorkerSetup } from "./thread-worker.ts";
import type { DevVcpu } from "./vcpu.ts";

/** SIGUSR2: SIGUSR1 is Node's own, for its debugger. */
const KICK_SIGNAL = 12;

interface Waiting {
	readonly resolve: (exit: VcpuExit) => void;
	readonly reject: (error: Error) => void;
}

/** A kick that is to come. */
export interface Alarm {
	/** It has come. */
	readonly rang: boolean;
	cancel(): void;
}

export class DevVcpuThread implements VcpuThread {
	private readonly vcpu: DevVcpu;
	private readonly worker: Worker;
	private readonly tid: number;
	private waiting: Waiting | null = null;
	private ended: Error | null = null;

	private constructor(vcpu: DevVcpu, worker: Worker, tid: number) {
		this.vcpu = vcpu;
		this.worker = worker;
		this.tid = tid;
		worker.on("message", (answer: WorkerAnswer) => this.answered(answer));
		worker.on("error", (error) => this.end(error));
		worker.on("exit", () => this.end(new KvmError("KVM_RUN", "ESRCH", "the vCPU's thread has ended")));
	}

	/**
	 * Starts a thread for a vCPU. Until `stop`, nobody else may run it.
	 * @param cpu CPU that the thread is bound to; none if not given
	 */
	static start(vcpu: DevVcpu, cpu = -1): Promise<DevVcpuThread> {
		const setup: WorkerSetup = { fd: vcpu.fd.number, signal: KICK_SIGNAL, cpu };
		// In a checkout the worker is TypeScript, which tests run as such; dist/ has it as JavaScript.
		const file = import.meta.url.endsWith(".ts")
			? "../../dist/bundle/thread-worker.js"
			: "./thread-worker.js";
		const worker = new Worker(new URL(file, import.meta.url), { workerData: setup });
		return new Promise((resolve, reject) => {
			worker.once("error", reject);
			worker.once("message", (answer: WorkerAnswer) => {
				worker.off("error", reject);
				if (answer.kind === "ready") resolve(new DevVcpuThread(vcpu, worker, answer.tid));
				else reject(new KvmError("VcpuThread", "EIO", answer.kind));
			});
		});
	}

	private end(error: Error): void {
		this.ended = error;
		this.waiting?.reject(error);
		this.waiting = null;
	}

	private answered(answer: WorkerAnswer): void {
		const { waiting } = this;
		this.waiting = null;
		if (waiting === null) return;
		if (answer.kind === "exit") {
			waiting.resolve(this.vcpu.page.exit());
		} else if (answer.kind === "interrupted") {
			this.vcpu.page.immediateExit = false;
			waiting.resolve({ reason: "intr" });
		} else if (answer.kind === "error") {
			waiting.reject(new KvmError("KVM_RUN", answer.errno));
		}
	}

	run(): Promise<VcpuExit> {
		if (this.ended !== null) return Promise.reject(this.ended);
		if (this.waiting !== null)
			return Promise.reject(new KvmError("KVM_RUN", "EBUSY", "the vCPU runs already"));
		return new Promise((resolve, reject) => {
			this.waiting = { resolve, reject };
			this.worker.postMessage("run");
		});
	}

	kick(): void {
		if (this.ended !== null) return;
		this.vcpu.page.immediateExit = true;
		this.vcpu.fd.libc.tgkill(this.tid, KICK_SIGNAL);
	}

	/** Kicks after some time on the wall, unless it is cancelled before. */
	kickAfter(milliseconds: number): Alarm {
		const alarm = { rang: false, cancel: () => clearTimeout(timer) };
		const timer = setTimeout(() => {
			alarm.rang = true;
			this.kick();
		}, milliseconds);
		return alarm;
	}

	async stop(): Promise<void> {
		if (this.ended === null) {
			if (this.waiting !== null) {
				const returned = new Promise<void>((resolve) => {
					const { resolve: answer, reject } = this.waiting!;
					this.waiting = {
						resolve: (exit) => {
							answer(exit);
							resolve();
						},
						reject: (error) => {
							reject(error);
							resolve();
						},
					};
				});
				this.kick();
				await returned;
			}
			await this.worker.terminate();
		}
		this.vcpu.page.immediateExit = false;
	}
}
