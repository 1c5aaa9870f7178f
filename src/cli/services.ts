/** What the commands call below them; tests put something quicker in its place. */
import { availableParallelism } from "node:os";
import { performance } from "node:perf_hooks";
import { runCheck } from "../check/check.ts";
import { compareBackends } from "../backends/compare/compare.ts";
import type { Alarms } from "../backends/compare/subject.ts";
import { hostInfo } from "../devkvm/host.ts";
import { DevKvm } from "../devkvm/system.ts";
import { measureExits } from "../measure/exits.ts";
import { measureSwaps } from "../measure/swaps.ts";
import type { Clock } from "../measure/types.ts";
import { measureCost } from "../review/cost.ts";
import { reviewTree } from "../review/review.ts";
import { runImage, runImageOn } from "../review/run.ts";
import { runKutTask } from "./kut/run-task.ts";
import { runCases } from "./pool/cases.ts";
import { runChecks } from "./pool/checks.ts";
import { startLiveWorker } from "./top/start-worker.ts";

/** Time for measurements; nothing that is modelled sees it. */
const clock: Clock = { now: () => performance.now() * 1e6 };

/** What ends a guest that does not come back. */
const alarms: Alarms = {
	after: (milliseconds, ring) => {
		const timer = setTimeout(ring, milliseconds);
		return () => clearTimeout(timer);
	},
};

/** The instruments behind the commands. */
export const SERVICES = {
	runCheck,
	runChecks,
	runCases,
	measureCost,
	reviewTree,
	runImage,
	runImageOn,
	runKutTask,
	startLive: startLiveWorker,
	measureExits,
	measureSwaps,
	hostInfo,
	openDevKvm: () => DevKvm.open(),
	clock,
	alarms,
	compareBackends,
	/** Threads that a command may have. */
	threads: availableParallelism(),
	nodeVersion: process.versions.node,
};

export type Services = typeof SERVICES;
