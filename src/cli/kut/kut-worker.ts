/** A worker thread that runs one test: takes a KutTask, posts console text as it comes and then the outcome. */
import { readFileSync } from "node:fs";
import { parentPort, workerData } from "node:worker_threads";
import { findTree } from "../../kvm/trees/trees.ts";
import { qemuStatus } from "../../review/kut/plan.ts";
import { runImage } from "../../review/run.ts";
import { findModel } from "../../silicon/models/models.ts";
import type { KutMessage, KutTask } from "./task.ts";

const CONSOLE_CHUNK = 256;

const task = workerData as KutTask;
const post = (message: KutMessage): void => parentPort!.postMessage(message);

let text = "";
const flush = (): void => {
	if (text !== "") post({ kind: "console", text });
	text = "";
};

try {
	const { machine } = task;
	const outcome = runImage({
		bytes: readFileSync(task.path),
		fileName: task.path.split("/").at(-1)!,
		tree: findTree(task.tree),
		model: findModel(task.model)!,
		vendor: task.vendor,
		append: machine.append,
		budgetInstructions: Number.POSITIVE_INFINITY,
		vcpus: machine.vcpus,
		seed: task.seed,
		guestCpu: machine.guestCpu,
		pit: machine.pit,
		...(machine.ramBytes === null ? {} : { ramBytes: machine.ramBytes }),
		onConsole: (byte) => {
			text += String.fromCharCode(byte);
			if (byte === 10 || text.length >= CONSOLE_CHUNK) flush();
		},
	});
	flush();
	post({
		kind: "end",
		code: outcome.kind === "exit" ? qemuStatus(outcome.code) : null,
		reason: outcome.message,
	});
} catch (error) {
	flush();
	const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
	post({ kind: "console", text: `${message}\n` });
	post({ kind: "end", code: null, reason: error instanceof Error ? error.message : message });
}
