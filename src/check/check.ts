/**
 * The check: a guest runs through a tree's run loop, with events between its ops, and every run is held against the
 * properties. What a pass does not prove is said by the verdict's `bounds` and by docs/check.md.
 *
 * In a browser worker, or anywhere else without threads, a check is one call; nothing below imports `node:`:
 *
 *     const result = runCheck({
 *       tree: findTree("series-v1"), base: v618, vendor: "tdx", model: defaultModel("tdx"), mceHandler: "task-work",
 *       eventsMax: 1, onProgress: ({ done }) => post(done),
 *     });
 *     result.verdict;                      // "holds", "violated" or "vacuous"
 *     result.violations[0]?.trace;         // one line a step, with what changed
 *     result.bounds;                       // what was looked at
 *
 * With threads, `planJobs(options)` (plan.ts) says what there is to do, `JobRunner` (search/jobs.ts) does it on each of
 * them, and `conclude(options, results)` (conclude.ts) gives the same verdict, whoever did which job.
 */
import { type JobResult, conclude } from "./conclude.ts";
import { DEFAULT_CONFIGURATION, configurationName } from "./configuration.ts";
import { Explainer, replayCommand, setupFor } from "./explain.ts";
import { minimise, minimiseRuns } from "./minimise.ts";
import { jobWeight, kindsOf, planJobs } from "./plan.ts";
import { runSchedule } from "./run.ts";
import { assertArrived, assertKnown } from "./schedule.ts";
import { JobRunner } from "./search/jobs.ts";
import type { CheckOptions, CheckResult, Failure, Injection, Violation } from "./types.ts";

/** Runs a check in this thread. @throws ScheduleError if it is of one schedule, which does not happen */
export function runCheck(options: CheckOptions): CheckResult {
	if (options.only !== undefined) return replaySchedule(options, options.only);
	const jobs = planJobs(options);
	const total = jobs.reduce((sum, job) => sum + jobWeight(job), 0);
	const runner = new JobRunner(options);
	const results: JobResult[] = [];
	const before = { weight: 0, schedules: 0, states: 0 };
	for (const job of jobs) {
		const result = runner.run(job, (part, schedules, states) =>
			options.onProgress?.({
				done: (before.weight + part * jobWeight(job)) / total,
				schedules: before.schedules + schedules,
				states: before.states + states,
			}),
		);
		before.weight += jobWeight(job);
		before.schedules += result.schedules;
		before.states += result.states;
		results.push({ job, result });
	}
	runner.end();
	return conclude(options, results);
}

/**
 * Runs one schedule, and says what it violates and what shows the same with less.
 * @throws ScheduleError if nothing is violated and an event of it did not arrive
 */
export function replaySchedule(options: CheckOptions, schedule: readonly Injection[]): CheckResult {
	const { tree, vendor, model, mceHandler, guest = "script" } = options;
	const configuration = options.configuration ?? { ...DEFAULT_CONFIGURATION, mceHandler };
	const setup = setupFor(options, tree, configuration);
	assertKnown(schedule, options, configuration);
	const run = runSchedule(setup, schedule);
	assertArrived(run);
	const explainer = new Explainer(options);
	const tell = (failure: Failure): Violation => {
		const shown = minimise({ schedule, configuration }, minimiseRuns(setup, failure.property));
		const violation = explainer.explain({ failure, schedule, configuration });
		if (shown.schedule === schedule && shown.configuration === configuration) return violation;
		const replay = replayCommand(options, shown.configuration, shown.schedule);
		return { ...violation, minimised: { schedule: shown.schedule, replay } };
	};
	const of = (wanted: Failure["degree"]) => run.failures.filter(({ degree }) => degree === wanted).map(tell);
	const violations = of("violation");
	return {
		tree: tree.name,
		vendor,
		...(tree.loadedModule === undefined ? {} : { module: tree.loadedModule }),
		cpu: model.name,
		verdict: violations.length === 0 ? "holds" : "violated",
		violations,
		findings: of("finding"),
		sometimes: {
			"fastpath re-entry": run.fastpathReentries,
			"interrupt serviced": run.interruptsHandled,
			"#MC handled": run.machineChecks,
			"context switch": run.switches,
		},
		bounds: {
			eventsMax: schedule.length,
			replayed: true,
			kinds: kindsOf(options),
			points: run.ops,
			runs: 1,
			exits: run.entries.length,
			guest,
			mceHandler,
			searches: [{ eventsMax: schedule.length, configurations: [configurationName(configuration)] }],
			states: 0,
			pruned: 0,
		},
	};
}
