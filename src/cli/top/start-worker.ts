/** Runs a workload in a worker thread, so that keys are heard meanwhile. */
import { Worker } from "node:worker_threads";
import type { LiveMessage, LiveWorkerData, StartLive } from "./task.ts";

/** Starts the worker. */
export const startLiveWorker: StartLive = (task, onMessage, onDefect) => {
	const flag = new Int32Array(new SharedArrayBuffer(4));
	const workerData: LiveWorkerData = { ...task, flag };
	const worker = new Worker(new URL("./top-worker.js", import.meta.url), { workerData });
	worker.on("message", (message: LiveMessage) => onMessage(message));
	worker.on("error", onDefect);
	return {
		ask: () => {
			Atomics.store(flag, 0, 1);
		},
		stop: () => {
			void worker.terminate();
		},
	};
};
