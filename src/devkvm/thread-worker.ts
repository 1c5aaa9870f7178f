/** The worker behind a DevVcpuThread: KVM_RUN when it is told to, and nothing else. */
import { parentPort, workerData } from "node:worker_threads";
import { KvmError } from "../uapi/api.ts";
import { buffer } from "../uapi/layout.ts";
import { kvmSignalMask } from "../uapi/structs.ts";
import { Fd } from "./fd.ts";
import { loadLibc } from "./libc.ts";

/** What a worker is started with. */
export interface WorkerSetup {
	/** The vCPU's file descriptor; descriptors are the whole process's. */
	readonly fd: number;
	/** The signal that ends KVM_RUN. */
	readonly signal: number;
	/** CPU to run on, or -1. */
	readonly cpu: number;
}

/** What a worker says. */
export type WorkerAnswer =
	| { readonly kind: "ready"; readonly tid: number }
	| { readonly kind: "exit" }
	| { readonly kind: "interrupted" }
	| { readonly kind: "error"; readonly errno: string };

const KERNEL_SIGSET_BYTES = 8;

const setup = workerData as WorkerSetup;
const libc = loadLibc();
const vcpu = new Fd(libc, setup.fd);

function answer(message: WorkerAnswer): void {
	parentPort!.postMessage(message);
}

/** During KVM_RUN the thread has its own mask without the signal; a thread of Node's may have blocked all of them. */
function setSignalMask(before: bigint): void {
	const during = before & ~(1n << BigInt(setup.signal - 1));
	const { bytes, view } = buffer(kvmSignalMask.bytes + KERNEL_SIGSET_BYTES);
	kvmSignalMask.write(view, 0, { len: KERNEL_SIGSET_BYTES });
	view.setBigUint64(kvmSignalMask.bytes, during, true);
	vcpu.ioctl("KVM_SET_SIGNAL_MASK", bytes);
}

function run(): void {
	try {
		vcpu.ioctl("KVM_RUN");
		answer({ kind: "exit" });
	} catch (error) {
		if (!(error instanceof KvmError)) throw error;
		if (error.errno === "EINTR" || error.errno === "EAGAIN") {
			libc.takeSignal(setup.signal);
			answer({ kind: "interrupted" });
		} else answer({ kind: "error", errno: error.errno });
	}
}

if (setup.cpu >= 0) libc.pin(setup.cpu);
setSignalMask(libc.blockSignal(setup.signal));
parentPort!.on("message", run);
answer({ kind: "ready", tid: libc.gettid() });
