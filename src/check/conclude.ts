/** What the searches of a check found together: the least counterexample of each property, and a verdict with its bounds. */
import { isSameProgram } from "../kvm/flow/same-program.ts";
import type { Vendor } from "../silicon/models/model.ts";
import { OP } from "../silicon/ops.ts";
import { DEFAULT_CONFIGURATION, type Configuration } from "./configuration.ts";
import { EVENTS, EVENT_KINDS, PHASES, eventRow } from "./events.ts";
import { type Counterexample, Explainer } from "./explain.ts";
import { scriptFor } from "./guest/script.ts";
import { type Job, kindsOf, scopesOf, statedScopes } from "./plan.ts";
import type { SearchResult } from "./search/search.ts";
import { PHASE } from "./subject.ts";
import type { CheckOptions, CheckResult, EventKind } from "./types.ts";

/** What a job found. */
export interface JobResult {
	readonly job: Job;
	readonly result: SearchResult;
}

/** The verdict of a check, from the results of all its jobs in whatever order they came. */
export function conclude(options: CheckOptions, done: readonly JobResult[]): CheckResult {
	const { tree, vendor, model, eventsMax = 1, mceHandler, guest = "script" } = options;
	const kinds = kindsOf(options);
	const results = done.map(({ result }) => result);
	const all = done.flatMap(({ job, result }) =>
		result.found.map((one): Counterexample => ({ ...one, configuration: job.configuration })),
	);
	const explainer = new Explainer(options);
	const explained = leastByProperty(all).map((one) => ({
		degree: one.failure.degree,
		violation: explainer.explain(one),
	}));
	const of = (wanted: string) =>
		explained.filter(({ degree }) => degree === wanted).map(({ violation }) => violation);
	const sometimes = reached(
		options,
		scopesOf(options).map(({ configuration }) => configuration),
		kinds,
		results,
	);
	const vacuous = Object.values(sometimes).some((count) => count === 0);
	const sum = (read: (result: SearchResult) => number) =>
		results.reduce((total, one) => total + read(one), 0);
	const violations = of("violation");
	return {
		tree: tree.name,
		vendor,
		...(tree.loadedModule === undefined ? {} : { module: tree.loadedModule }),
		cpu: model.name,
		...unchangedFrom(options),
		verdict: violations.length > 0 ? "violated" : vacuous ? "vacuous" : "holds",
		violations,
		findings: of("finding"),
		sometimes,
		bounds: {
			eventsMax,
			replayed: false,
			kinds,
			points: sum(({ ops }) => ops),
			runs: sum(({ schedules }) => schedules),
			exits: sum(({ exits }) => exits),
			guest,
			mceHandler,
			searches: statedScopes(options),
			states: sum(({ states }) => states),
			pruned: sum(({ pruned }) => pruned),
		},
	};
}

/** Whether the vendor runs the base's program: a patch of another vendor's flows. */
function unchangedFrom({ tree, base, vendor }: CheckOptions): Pick<CheckResult, "unchangedFrom"> {
	if (tree.name === base.name || !isSameProgram({ tree, vendor }, { tree: base, vendor })) return {};
	return { unchangedFrom: base.name };
}

// ---- the least of what was found ---------------------------------------------------------------------

const factorsSet = (one: Configuration) =>
	Object.entries(one).filter(
		([factor, value]) => DEFAULT_CONFIGURATION[factor as keyof Configuration] !== value,
	).length;

/** Fewer events, then fewer VM exits, then the simpler configuration, then the earlier events. */
function compareCounterexamples(a: Counterexample, b: Counterexample): number {
	const keys = (one: Counterexample) => [
		one.schedule.length,
		one.failure.exits,
		factorsSet(one.configuration),
		...one.schedule.flatMap(({ at, event }) => [at, EVENT_KINDS.indexOf(event)]),
	];
	const right = keys(b);
	for (const [at, key] of keys(a).entries()) if (key !== right[at]) return key - right[at]!;
	return 0;
}

function leastByProperty(all: readonly Counterexample[]): Counterexample[] {
	const least = new Map<string, Counterexample>();
	for (const one of all) {
		const before = least.get(one.failure.property);
		if (before === undefined || compareCounterexamples(one, before) < 0) least.set(one.failure.property, one);
	}
	return [...least.values()].sort(compareCounterexamples);
}

// ---- what must be reached ----------------------------------------------------------------------------

/** Phases in which a kind can arrive. */
function phasesOf(kind: EventKind, vendor: Vendor): readonly number[] {
	const { places, phases } = eventRow(kind);
	const host = vendor === "svm" ? [PHASE.on, PHASE.off, PHASE.gif] : [PHASE.on, PHASE.off];
	const all = [
		...(places.includes("host") ? [...host, PHASE.entry] : []),
		...(places.includes("entry") ? [PHASE.entry] : []),
		...(places.includes("guest") ? [PHASE.guest] : []),
	];
	return phases === undefined ? all : all.filter((phase) => phases.includes(PHASES[phase]!));
}

/**
 * What the runs must have reached: each kind of event in each phase in which it can arrive, what is done about them,
 * re-entries of the fastpath, and each kind of exit that the guest has.
 */
function reached(
	options: CheckOptions,
	configurations: readonly Configuration[],
	kinds: readonly EventKind[],
	results: readonly SearchResult[],
): Record<string, number> {
	const { vendor, eventsMax = 1, model } = options;
	const sum = (read: (result: SearchResult) => number) =>
		results.reduce((total, one) => total + read(one), 0);
	const sometimes: Record<string, number> = {};
	// A TD's fastpath never re-enters, by design.
	if (vendor !== "tdx") sometimes["fastpath re-entry"] = sum(({ fastpathReentries }) => fastpathReentries);
	// Of all configurations the same: they differ in it only if there is one alone.
	for (const name of scriptFor(vendor, configurations[0]!, model).exits)
		sometimes[`exit ${name}`] = sum(({ exitCounts }) => exitCounts[name] ?? 0);
	if (eventsMax === 0) return sometimes;
	if (kinds.includes("irq"))
		sometimes["interrupt serviced"] = sum(({ opCounts }) => opCounts[OP.irq_handler]!);
	if (kinds.includes("mce")) sometimes["#MC handled"] = sum(({ opCounts }) => opCounts[OP.do_machine_check]!);
	if (kinds.includes("preempt")) sometimes["context switch"] = sum(({ opCounts }) => opCounts[OP.switch_to]!);
	for (const [row, { kind, title, existsIn }] of EVENTS.entries()) {
		if (!kinds.includes(kind) || !configurations.some((one) => existsIn?.(one) ?? true)) continue;
		for (const phase of phasesOf(kind, vendor)) {
			const count = sum(({ arrivals }) => arrivals[row * PHASES.length + phase]!);
			sometimes[`${title} at ${PHASES[phase]}`] = count;
		}
	}
	return sometimes;
}
