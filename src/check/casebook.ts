/**
 * Runs the casebook: for each bug of KVM's past, the configuration and the number of events that it names, before the fix
 * and behind it. Before, the least schedule of its kinds of event is looked for that violates the property; behind it, no
 * schedule of theirs may violate anything.
 */
import { linkTree } from "../kvm/flow/program.ts";
import type { Tree } from "../kvm/flow/flow.ts";
import type { HistoryCase } from "../kvm/trees/history/case.ts";
import type { CpuModel, Vendor } from "../silicon/models/model.ts";
import { type Configuration, parseConfiguration } from "./configuration.ts";
import { findEventKind } from "./events.ts";
import { skippedStep } from "./explain.ts";
import { runSchedule } from "./run.ts";
import { search } from "./search/search.ts";
import type { RunSetup } from "./subject.ts";
import { Tracer } from "./trace.ts";
import type { EventKind, Failure, Injection, TraceLine } from "./types.ts";

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
	/** Events of a run, at most, before and behind. */
	readonly eventsMax: number;
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

const models = new Map<string, CpuModel>();

/** The model without what a case's processor must not have; the same object each time. */
function modelFor({ lacks = [] }: HistoryCase, model: CpuModel): CpuModel {
	if (lacks.length === 0) return model;
	const key = [model.name, ...lacks].join(" ");
	const without = Object.fromEntries(lacks.map((feature) => [feature, false]));
	const made = models.get(key) ?? { ...model, features: { ...model.features, ...without } };
	models.set(key, made);
	return made;
}

/** Runs one case on one vendor. @param usual the vendor's usual CPU model */
export function runCase(entry: HistoryCase, vendor: Vendor, usual: CpuModel): CaseResult {
	const model = modelFor(entry, usual);
	const kinds = kindsOf(entry);
	const configuration = caseConfiguration(entry, vendor, model);
	const setup = (tree: Tree): RunSetup => ({
		program: linkTree(tree, vendor),
		model,
		configuration,
		guest: "script",
	});
	const eventsMax = Math.max(1, kinds.length);
	const [before, after] = [setup(entry.before), setup(entry.after)];
	const shown = search({ setup: before, eventsMax, kinds });
	const least = shown.found.find(({ failure }) => failure.property === entry.shows.property);
	const behind = search({ setup: after, eventsMax, kinds });
	return {
		entry,
		vendor,
		found: least === undefined ? null : told(entry, before, after, least),
		left: behind.found.map(({ failure }) => failure).filter(({ degree }) => degree === "violation"),
		eventsMax,
		runs: shown.schedules + behind.schedules,
	};
}

/** What the least schedule tells of the commit's story. */
function told(
	entry: HistoryCase,
	before: RunSetup,
	after: RunSetup,
	{ failure, schedule }: { readonly failure: Failure; readonly schedule: readonly Injection[] },
): CaseResult["found"] {
	const tracer = new Tracer();
	runSchedule(before, schedule, tracer);
	const places = tracer.places.slice(0, tracer.placesAtFailure.get(failure.property));
	const skipped = skippedStep(before, after, failure.property, schedule, places);
	const text = JSON.stringify([failure, tracer.lines, skipped]);
	const untold = entry.shows.tells.filter((pattern) => !pattern.test(text));
	return { failure, schedule, trace: tracer.lines, skipped, untold };
}

/** Whether a case came out as the casebook wants it. */
export function isAsTold({ found, left }: CaseResult): boolean {
	return found !== null && found.untold.length === 0 && left.length === 0;
}
