/** Runs one test in a worker thread, which a test that hangs is taken from. */
import { Worker } from "node:worker_threads";
import { KUT_STATUS } from "../../review/kut/plan.ts";
import { compileForGuests } from "../compiler.ts";
import type { KutEnd, KutMessage, KutTask } from "./task.ts";

/** A log is cut behind so many characters: a test that goes wild must not fill the memory. */
const LOG_CHARACTERS_MAX = 4_000_000;

/** Runs a test to its end or its timeout. */
export function runKutTask(task: KutTask): Promise<KutEnd> {
	const started = performance.now();
	compileForGuests();
	return new Promise((resolve) => {
		let log = "";
		const worker = new Worker(new URL("./kut-worker.js", import.meta.url), { workerData: task });
		const finish = (code: number | null, reason: string) => {
			clearTimeout(timer);
			void worker.terminate();
			resolve({ code, reason, log, seconds: (performance.now() - started) / 1000 });
		};
		const timer = setTimeout(() => finish(KUT_STATUS.timeout, "timeout"), task.timeoutSeconds * 1000);
		worker.on("message", (message: KutMessage) => {
			if (message.kind === "end") finish(message.code, message.reason);
			else if (log.length < LOG_CHARACTERS_MAX) log += message.text;
		});
		worker.on("error", (error) => finish(null, error instanceof Error ? error.message : String(error)));
	});
}
