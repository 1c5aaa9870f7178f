/** One run of a guest from its start to its end, under one schedule. */
import { OP } from "../silicon/ops.ts";
import { type RunSetup, type RunWitness, Subject } from "./subject.ts";
import type { Failure, Injection } from "./types.ts";

export interface RunResult {
	/** The first of each property. */
	readonly failures: readonly Failure[];
	/** Ops that the run did. */
	readonly ops: number;
	/** Op counts of VM entries: where events can arrive in the guest. */
	readonly entries: readonly number[];
	/** Events of the schedule that had not arrived when the run ended. */
	readonly waiting: readonly Injection[];
	readonly fastpathReentries: number;
	readonly interruptsHandled: number;
	readonly machineChecks: number;
	readonly switches: number;
}

/** Blocks after which a run is taken for stuck. */
const BLOCKS_MAX = 100_000;

/** Runs the guest under a schedule, to its end or until the witness has seen enough. */
export function runSchedule(
	setup: RunSetup,
	schedule: readonly Injection[],
	witness: RunWitness | null = null,
): RunResult {
	const failures = new Map<string, Failure>();
	const subject = new Subject(setup, {
		...(witness?.onNode === undefined
			? {}
			: { onNode: (place, machine, at) => witness.onNode!(place, machine, at) }),
		onEvent: (injection, machine) => witness?.onEvent?.(injection, machine),
		onFailure: (failure, machine) => {
			if (failures.has(failure.property)) return;
			failures.set(failure.property, failure);
			witness?.onFailure?.(failure, machine);
		},
	});
	try {
		subject.setSchedule(schedule);
		for (let blocks = 0; subject.runBlock() && witness?.isDone !== true; blocks++)
			if (blocks === BLOCKS_MAX) subject.livelock();
	} finally {
		subject.detach();
	}
	return {
		failures: [...failures.values()],
		ops: subject.ops,
		entries: subject.entries.slice(),
		waiting: subject.waiting,
		fastpathReentries: subject.fastpathReentries,
		interruptsHandled: subject.opCounts[OP.irq_handler]!,
		machineChecks: subject.opCounts[OP.do_machine_check]!,
		switches: subject.opCounts[OP.switch_to]!,
	};
}
