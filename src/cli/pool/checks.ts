/** Checks on several threads. */
import { conclude } from "../../check/conclude.ts";
import { type Job, jobWeight, planJobs } from "../../check/plan.ts";
import { configurationName } from "../../check/configuration.ts";
import type { SearchResult } from "../../check/search/search.ts";
import type { CheckOptions, CheckResult } from "../../check/types.ts";
import { isSameProgram, startsAlike } from "../../kvm/flow/same-program.ts";
import type { Io } from "../io.ts";
import { type PoolOptions, runTasks } from "./pool.ts";
import type { CheckWords, TargetWords, Task } from "./task.ts";

/** A check, and the words that its tree, vendor and model came of. */
export interface CheckRequest {
	readonly words: TargetWords;
	readonly options: CheckOptions;
}

/** The checks, in words. */
export function checksOf(requests: readonly CheckRequest[]): CheckWords[] {
	return requests.map(({ words, options }) => {
		const { tree: _tree, base: _base, model: _model, only: _only, onProgress: _tell, ...question } = options;
		return { words, question };
	});
}

/** The jobs of checks, the longest first. */
export function tasksOf(requests: readonly CheckRequest[]): (Task & { readonly kind: "search" })[] {
	const groups = new Map<string, number>();
	const groupOf = (check: number, { configuration, eventsMax }: Job): number => {
		const name = `${check} ${configurationName(configuration)} ${eventsMax}`;
		const group = groups.get(name) ?? groups.size;
		groups.set(name, group);
		return group;
	};
	const machineOf = machines(requests);
	const tasks = requests.flatMap(({ options }, check) =>
		planJobs(options).map((job) => ({
			kind: "search" as const,
			check,
			job,
			group: groupOf(check, job),
			machine: machineOf(check, job),
			weight: jobWeight(job),
		})),
	);
	return tasks.sort((a, b) => b.weight - a.weight);
}

/** Numbers of the machines that jobs run on: trees under which one starts the same run on the same (search/rig.ts). */
function machines(requests: readonly CheckRequest[]): (check: number, job: Job) => number {
	const alike = requests.map(({ options }, at) =>
		requests.findIndex(
			({ options: other }, first) =>
				first === at || (other.model === options.model && startsAlike(other, options)),
		),
	);
	const numbers = new Map<string, number>();
	return (check, { configuration }) => {
		const name = `${alike[check]} ${configurationName(configuration)}`;
		const number = numbers.get(name) ?? numbers.size;
		numbers.set(name, number);
		return number;
	};
}

/**
 * Of each check the first one that asks the same of the same program: what that finds, it would find. A patch that does not
 * reach a vendor leaves its program as it was.
 */
export function searchedBy(requests: readonly CheckRequest[]): number[] {
	const questions = checksOf(requests).map(({ question }) => JSON.stringify(question));
	return requests.map(({ options }, at) =>
		requests.findIndex(
			({ options: other }, first) =>
				first === at ||
				(questions[first] === questions[at] &&
					other.model === options.model &&
					isSameProgram(other, options)),
		),
	);
}

/** Runs checks. @throws what a tree throws: a FlowError or UsageError, of whichever thread */
export async function runChecks(
	io: Io,
	requests: readonly CheckRequest[],
	pool: PoolOptions,
): Promise<CheckResult[]> {
	const searched = searchedBy(requests);
	const tasks = tasksOf(requests).filter(({ check }) => searched[check] === check);
	const results = await runTasks(io, checksOf(requests), tasks, pool);
	return requests.map(({ options }, at) =>
		conclude(
			options,
			tasks.flatMap(({ check, job }, task) =>
				check === searched[at] ? [{ job, result: results[task] as SearchResult }] : [],
			),
		),
	);
}
