/**
 * Runs the casebook: for each bug of KVM's past, the events and the configuration that it names, before the fix and
 * behind it. Before, the shortest schedule is looked for that violates the property; behind it, no schedule may violate
 * any.
 */
import { createSilicon } from "../kvm/api/kvm.ts";
import { compileTree } from "../kvm/flow/compile.ts";
import type { Tree } from "../kvm/flow/flow.ts";
import { linkTree } from "../kvm/flow/program.ts";
import type { HistoryCase } from "../kvm/trees/history/case.ts";
import type { CpuModel, Vendor } from "../silicon/models/model.ts";
import { checkGuest } from "./check.ts";
import { type Configuration, parseConfiguration } from "./configuration.ts";
import { eventRow, findEventKind } from "./events.ts";
import { SCRIPT_GUEST } from "./guest/script.ts";
import { skippedStep } from "./explain.ts";
import { type Failure, type RunResult, type RunSetup, runSchedule } from "./run.ts";
import { search } from "./search/search.ts";
import { Tracer } from "./trace.ts";
import type { EventKind, Injection, TraceLine } from "./types.ts";

/** A case on one vendor. */
export interface CaseResult {
	readonly entry: HistoryCase;
	readonly vendor: Vendor;
	/** Before the fix; null: not found. */
	readonly found: {
		readonly failure: Failure;
		readonly schedule: readonly Injection[];
		readonly trace: readonly TraceLine[];
		/** The step that the tree before the fix left out, as half a sentence; null if it is not that. */
		readonly skipped: string | null;
		/** Patterns of the commit's story that the counterexample does not show. */
		readonly untold: readonly RegExp[];
	} | null;
	/** Behind the fix: violations, of any property. */
	readonly left: readonly Failure[];
	/** Schedules that were run, before and behind. */
	readonly runs: number;
}

/** A case that names what is not there: an event, a factor or a value of a configuration. */
export class CaseError extends Error {
	override readonly name = "CaseError";
}

function kindsOf(entry: HistoryCase): EventKind[] {
	return entry.shows.events.map((name) => {
		const kind = findEventKind(name);
		if (kind === undefined) throw new CaseError(`case ${entry.name}: there is no event "${name}"`);
		return kind;
	});
}

/** The configuration that a case needs, on a vendor. @throws ConfigurationError if it has no such factor or value */
export function caseConfiguration(entry: HistoryCase, vendor: Vendor, model: CpuModel): Configuration {
	const parts = Object.entries(entry.shows.configuration).map(([factor, value]) => `${factor}=${value}`);
	if (entry.mceHandler !== undefined) parts.push(`mceHandler=${entry.mceHandler}`);
	return parseConfiguration(parts.join(","), vendor, model);
}

/** All placements of one event in a run without it, in the order of time; from an op on. */
function placements(kind: EventKind, run: RunResult, from: number): Injection[] {
	const { places } = eventRow(kind);
	const entries = new Set(run.entries);
	const list: Injection[] = [];
	for (let at = from; at <= run.ops; at++) {
		if (places.includes("host") || (places.includes("entry") && entries.has(at)))
			list.push({ event: kind, at });
		if (places.includes("guest") && entries.has(at)) list.push({ event: kind, at, inGuest: true });
	}
	return list;
}

/** Every schedule with these events in this order, the quiet run first. */
function* schedules(setup: RunSetup, kinds: readonly EventKind[]): Generator<readonly Injection[]> {
	yield [];
	yield* extend(setup, kinds, []);
}

function* extend(
	setup: RunSetup,
	[kind, ...rest]: readonly EventKind[],
	before: readonly Injection[],
): Generator<readonly Injection[]> {
	if (kind === undefined) return;
	const run = runSchedule(setup, before);
	for (const injection of placements(kind, run, (before.at(-1)?.at ?? 0) + 1)) {
		const schedule = [...before, injection];
		yield schedule;
		yield* extend(setup, rest, schedule);
	}
}

/** The model without what a case's processor must not have. */
function modelFor({ lacks = [] }: HistoryCase, model: CpuModel): CpuModel {
	if (lacks.length === 0) return model;
	const without = Object.fromEntries(lacks.map((feature) => [feature, false]));
	return { ...model, features: { ...model.features, ...without } };
}

/** Runs one case on one vendor. @param usual the vendor's usual CPU model */
export function runCase(entry: HistoryCase, vendor: Vendor, usual: CpuModel): CaseResult {
	const model = modelFor(entry, usual);
	const kinds = kindsOf(entry);
	const configuration = caseConfiguration(entry, vendor, model);
	const silicon = createSilicon(model);
	// Only the scripts take interrupts whose delivery reads guest memory, and a search runs those.
	const searches = kinds.includes("zap");
	const guest = searches ? SCRIPT_GUEST : checkGuest(vendor);
	const setup = (tree: Tree): RunSetup => ({
		tree: compileTree(tree, vendor, true),
		model,
		configuration,
		silicon,
		guest,
	});
	const searched = (tree: Tree) =>
		search({
			setup: { program: linkTree(tree, vendor), model, configuration },
			eventsMax: kinds.length,
			kinds,
		});
	let runs = 0;
	let found: CaseResult["found"] = null;
	const before = setup(entry.before);
	const least = searches
		? searched(entry.before).found.flatMap(({ schedule, failure }) =>
				failure.property === entry.shows.property ? [schedule] : [],
			)
		: schedules(before, kinds);
	for (const schedule of least) {
		// All of its events, or fewer: a case that shows with fewer names too many.
		runs++;
		const failure = runSchedule(before, schedule).failures.find(
			({ property }) => property === entry.shows.property,
		);
		if (failure === undefined) continue;
		const tracer = new Tracer();
		runSchedule(before, schedule, tracer);
		const places = tracer.places.slice(0, tracer.placesAtFailure.get(failure.property));
		const skipped = skippedStep(before, setup(entry.after), failure.property, schedule, places);
		const told = JSON.stringify([failure, tracer.lines, skipped]);
		const untold = entry.shows.tells.filter((pattern) => !pattern.test(told));
		found = { failure, schedule, trace: tracer.lines, skipped, untold };
		break;
	}
	const left: Failure[] = [];
	if (searches) {
		const behind = searched(entry.after);
		left.push(...behind.found.map(({ failure }) => failure).filter(({ degree }) => degree === "violation"));
		return { entry, vendor, found, left, runs: runs + behind.schedules };
	}
	const after = setup(entry.after);
	for (const schedule of schedules(after, kinds)) {
		runs++;
		for (const failure of runSchedule(after, schedule).failures) {
			if (failure.degree === "violation" && left.every(({ property }) => property !== failure.property))
				left.push(failure);
		}
	}
	return { entry, vendor, found, left, runs };
}

/** Whether a case came out as the casebook wants it. */
export function isAsTold({ found, left }: CaseResult): boolean {
	return found !== null && found.untold.length === 0 && left.length === 0;
}
