/** A worker thread: takes tasks until there are none, and posts what came out of each. */
import { parentPort, workerData } from "node:worker_threads";
import { isExpectedError } from "../errors.ts";
import { processIo } from "../process-io.ts";
import type { ThreadData, ThreadMessage } from "./task.ts";
import { work } from "./thread.ts";

const data = workerData as ThreadData;
const post = (message: ThreadMessage): void => parentPort!.postMessage(message);
const io = { ...processIo, readFile: (path: string) => data.files.get(path) ?? processIo.readFile(path) };

try {
	await work(io, data, (task, result) => post({ kind: "result", task, result }));
} catch (error) {
	if (!isExpectedError(error)) throw error;
	post({ kind: "refused", message: error.message });
}
