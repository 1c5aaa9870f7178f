/**
 * A vCPU of the software machine that runs without blocking whoever waits for it: KVM_RUN in slices, between which
 * whatever else this thread has to do gets its turn.
 */
import type { Hrtimer } from "../host/hrtimer.ts";
import { KvmError, type VcpuThread } from "../uapi/api.ts";
import type { VcpuExit } from "../uapi/exit.ts";
import type { SoftVcpu } from "./vcpu.ts";

/** Virtual time of a slice: some milliseconds on the wall. */
const SLICE_CYCLES = 2e6;

/** Lets everything else that waits have its turn. */
function giveWay(): Promise<void> {
	return new Promise((resolve) => {
		const { port1, port2 } = new MessageChannel();
		port1.onmessage = () => {
			port1.close();
			resolve();
		};
		port2.postMessage(null);
	});
}

export class SoftVcpuThread implements VcpuThread {
	private readonly vcpu: SoftVcpu;
	private kicked = false;
	private stopped = false;
	private running: Promise<VcpuExit> | null = null;

	constructor(vcpu: SoftVcpu) {
		this.vcpu = vcpu;
	}

	run(): Promise<VcpuExit> {
		if (this.stopped) return Promise.reject(new KvmError("KVM_RUN", "ESRCH", "the vCPU's thread has ended"));
		if (this.running !== null)
			return Promise.reject(new KvmError("KVM_RUN", "EBUSY", "the vCPU runs already"));
		const running = this.slices().finally(() => {
			this.running = null;
		});
		this.running = running;
		return running;
	}

	private async slices(): Promise<VcpuExit> {
		for (;;) {
			await giveWay();
			if (this.kicked) {
				this.kicked = false;
				return { reason: "intr" };
			}
			const exit = this.vcpu.runFor(SLICE_CYCLES);
			if (exit !== null) return exit;
		}
	}

	kick(): void {
		this.kicked = true;
	}

	async stop(): Promise<void> {
		this.stopped = true;
		if (this.running !== null) {
			this.kick();
			// Whoever called run() gets its failure; here it is over either way.
			await this.running.catch(() => undefined);
		}
		this.kicked = false;
	}
}

/** A timer that ends KVM_RUN as a signal does. @param signal called when it fires */
export function sliceTimer(signal: () => void): Hrtimer {
	return { expiresCycles: 0, callback: signal };
}
