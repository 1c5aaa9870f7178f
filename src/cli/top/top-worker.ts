/**
 * The worker thread of a live view: runs a workload under the profiler from its start to its end, and posts what there is
 * so far when it is asked. It looks at the run between VM exits and changes nothing in it.
 */
import { parentPort, workerData } from "node:worker_threads";
import type { Vcpu } from "../../kvm/vcpu.ts";
import { endText, startSession } from "../../profile/record.ts";
import { inlinedSymbols } from "../../profile/symbols.ts";
import { TraceRecorder } from "../../profile/tracepoints.ts";
import { isExpectedError } from "../errors.ts";
import { SkippedError } from "../io.ts";
import { processIo } from "../process-io.ts";
import { requested } from "../profile-options.ts";
import type { LiveMessage, LiveWorkerData } from "./task.ts";

/** Iterations of a guest that shall go on until it is told to stop. */
const ENDLESS = 2 ** 31;

const { workload, args, flag } = workerData as LiveWorkerData;
const post = (message: LiveMessage): void => parentPort!.postMessage(message);

/** Hears of each VM exit. */
class Watcher extends TraceRecorder {
	onExit = (): void => {};

	override kvmExit(v: Vcpu, reason: number): void {
		super.kvmExit(v, reason);
		if (flag[0] !== 0) this.onExit();
	}
}

try {
	const { tree, options } = await requested(processIo, workload, args);
	const watcher = new Watcher();
	const session = startSession({
		...options,
		iterations: args.iterations ?? ENDLESS,
		ops: true,
		nmi: args.nmi === true,
		countsGuest: args.guest === true,
		onMachine: (machine) => watcher.attach(machine),
	});
	const inlined = [...inlinedSymbols(tree, "kernel")];
	const inlinable = [...inlinedSymbols(tree, "all")];
	watcher.onExit = () => {
		Atomics.store(flag, 0, 0);
		post({ kind: "recording", recording: { ...session.recording(), inlined, inlinable } });
	};
	const result = session.vmm.run();
	watcher.onExit();
	post({ kind: "end", how: endText(result) });
} catch (error) {
	const skipped = error instanceof SkippedError;
	if (!skipped && !isExpectedError(error)) throw error;
	post({ kind: "refused", message: error.message, skipped });
}
