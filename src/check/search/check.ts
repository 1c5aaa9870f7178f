/**
 * A check by searching: each configuration of a covering set, all placements of up to k events, and of what they found the
 * least counterexample of each property.
 */
import { compileTree } from "../../kvm/flow/compile.ts";
import { linkTree } from "../../kvm/flow/program.ts";
import { OP } from "../../silicon/ops.ts";
import type { Vendor } from "../../silicon/models/model.ts";
import { explain, siliconFor } from "../check.ts";
import {
	type Configuration,
	DEFAULT_CONFIGURATION,
	allConfigurations,
	configurationName,
	pairConfigurations,
} from "../configuration.ts";
import { EVENTS, EVENT_KINDS, PHASES, eventRow } from "../events.ts";
import { SCRIPT_GUEST, scriptFor } from "../guest/script.ts";
import { PHASE } from "../subject.ts";
import type { CheckResult, EventKind, SearchOptions } from "../types.ts";
import { type Found, type SearchResult, search } from "./search.ts";

/** The configurations that a search covers. */
function configurationsOf(options: SearchOptions): readonly Configuration[] {
	const { vendor, model, mceHandler, configuration, configurations } = options;
	if (configuration !== undefined) return [configuration];
	if (configurations === "pairs") return pairConfigurations(vendor, model, { mceHandler });
	return allConfigurations(vendor, model).filter((one) => one.mceHandler === mceHandler);
}

/** Kinds that can arrive on a vendor. */
function kindsOf({ events, vendor }: SearchOptions): readonly EventKind[] {
	return (events ?? EVENT_KINDS).filter((kind) => eventRow(kind).exists?.(vendor) ?? true);
}

/** Runs a search. */
export function runSearch(options: SearchOptions): CheckResult {
	const { tree, vendor, model, eventsMax, mceHandler } = options;
	const configurations = configurationsOf(options);
	const kinds = kindsOf(options);
	const program = linkTree(tree, vendor);
	const results = configurations.map((configuration, at) =>
		search({
			setup: { program, model, configuration },
			eventsMax,
			kinds,
			onProgress: (events, done, total) => {
				if (events === eventsMax) options.onProgress?.(at + done / total, configurations.length);
			},
		}),
	);
	const all = results.flatMap(({ found }, at) =>
		found.map((one) => ({ ...one, configuration: configurations[at]! })),
	);
	const setup = (of: typeof tree, configuration: Configuration) => ({
		tree: compileTree(of, vendor, true),
		model,
		configuration,
		silicon: siliconFor(model),
		guest: SCRIPT_GUEST,
	});
	const explained = leastByProperty(all).map(({ failure, schedule, configuration }) => ({
		degree: failure.degree,
		violation: explain(
			options,
			setup(tree, configuration),
			setup(options.base, configuration),
			failure,
			schedule,
		),
	}));
	const of = (wanted: string) =>
		explained.filter(({ degree }) => degree === wanted).map(({ violation }) => violation);
	const sometimes = reached(options, configurations, kinds, results);
	const vacuous = Object.values(sometimes).some((count) => count === 0);
	const sum = (read: (result: SearchResult) => number) =>
		results.reduce((total, one) => total + read(one), 0);
	const violations = of("violation");
	return {
		tree: tree.name,
		vendor,
		...(tree.loadedModule === undefined ? {} : { module: tree.loadedModule }),
		cpu: model.name,
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
			guest: SCRIPT_GUEST,
			mceHandler,
			configurations: configurations.map(configurationName),
			states: sum(({ states }) => states),
			pruned: sum(({ pruned }) => pruned),
		},
	};
}

// ---- the least of what was found ---------------------------------------------------------------------

interface Counterexample extends Found {
	readonly configuration: Configuration;
}

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
	options: SearchOptions,
	configurations: readonly Configuration[],
	kinds: readonly EventKind[],
	results: readonly SearchResult[],
): Record<string, number> {
	const { vendor, eventsMax, model } = options;
	const sum = (read: (result: SearchResult) => number) =>
		results.reduce((total, one) => total + read(one), 0);
	const sometimes: Record<string, number> = {};
	// A TD's fastpath never re-enters, by design.
	if (vendor !== "tdx") sometimes["fastpath re-entry"] = sum(({ fastpathReentries }) => fastpathReentries);
	for (const name of scriptFor(vendor, DEFAULT_CONFIGURATION, model).exits)
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
