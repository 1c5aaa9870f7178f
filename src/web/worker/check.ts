/** A check in shares, for several workers: each keeps its search from share to share. */
import { type JobResult, conclude } from "../../check/conclude.ts";
import { planJobs, sharesOf } from "../../check/plan.ts";
import { JobRunner } from "../../check/search/jobs.ts";
import type { CheckOptions } from "../../check/types.ts";
import { findTree } from "../../kvm/trees/trees.ts";
import type { ShareQuestion, Target, Verdict } from "./api.ts";
import { configurationOf, modelOf, namedFactors } from "./setting.ts";
import { treeOf } from "./trees.ts";

const UPSTREAM = "v6.18";

/** What `reenter check -k 1 --config CONFIGURATION` is asked. */
function optionsOf(target: Target, eventsMax: number): CheckOptions {
	const { tree, patch, vendor } = target;
	const configuration = configurationOf(target);
	return {
		tree: treeOf(target),
		base: patch === "" ? findTree(UPSTREAM) : treeOf({ tree, patch: "" }),
		vendor,
		model: modelOf(target),
		mceHandler: configuration.mceHandler,
		configuration,
		eventsMax,
	};
}

let kept: { readonly key: string; readonly runner: JobRunner } | null = null;

/** Gives the hardware back to whoever else wants it. */
export function endCheck(): void {
	kept?.runner.end();
	kept = null;
}

function runnerFor(target: Target, options: CheckOptions): JobRunner {
	const { tree, patch, vendor, cpu, configuration } = target;
	const key = JSON.stringify([tree, patch, vendor, cpu, configuration, options.eventsMax]);
	if (kept?.key !== key) {
		endCheck();
		kept = { key, runner: new JobRunner(options) };
	}
	return kept.runner;
}

/** Does a share of a check. @throws FlowError, ConfigurationError, ModelFileError with one line */
export function shareCheck({ part, parts, ...target }: ShareQuestion): readonly JobResult[] {
	const options = optionsOf(target, 1);
	const runner = runnerFor(target, options);
	return planJobs(options).flatMap((job) => {
		const share = sharesOf(job, parts)[part];
		return share === undefined ? [] : [{ job: share, result: runner.run(share) }];
	});
}

/** The verdict of all shares. */
export function concludeCheck(target: Target, results: readonly JobResult[]): Verdict {
	endCheck();
	const check = conclude(optionsOf(target, 1), results);
	return { vendor: target.vendor, check, without: namedFactors(target).without };
}

/** One run without events. */
export function warmCheck(target: Target): void {
	const options = optionsOf(target, 0);
	const runner = runnerFor(target, options);
	for (const job of planJobs(options)) runner.run(job);
	endCheck();
}
