/**
 * Runs the casebook: each bug of KVM's past before its fix and behind it. Before, the least schedule is looked for that
 * violates the property; behind it, no schedule may violate anything.
 *
 * Within bounds of its own a case is searched with the kinds of event, their number and the configuration that it names:
 * quick. Within the default ones it is searched as `reenter check` looks at any tree, that knows nothing of the case.
 */
import { linkTree } from "../kvm/flow/program.ts";
import type { Tree } from "../kvm/flow/flow.ts";
import type { HistoryCase } from "../kvm/trees/history/case.ts";
import type { CpuModel, Vendor } from "../silicon/models/model.ts";
import { type Configuration, DEFAULT_CONFIGURATION, parseConfiguration } from "./configuration.ts";
import { findEventKind } from "./events.ts";
import { skippedStep, tell } from "./explain.ts";
import { USUAL_EVENTS_MAX, kindsOf as checkedKinds, scopesOf } from "./plan.ts";
import { search } from "./search/search.ts";
import type { RunSetup } from "./subject.ts";
import type { EventKind, Failure, Injection, TraceLine } from "./types.ts";

/** What a case is searched with: its own events and configuration, or those of `reenter check` by default. */
export const CASE_BOUNDS = ["own", "default"] as const;
export type CaseBounds = (typeof CASE_BOUNDS)[number];

/** A case on one vendor. */
export interface CaseResult {
	readonly entry: HistoryCase;
	readonly vendor: Vendor;
	/** Before the fix; null: not found. */
	readonly found: {
		readonly failure: Failure;
		readonly schedule: readonly Injection[];
		/** Where it was found. */
		readonly configuration: Configuration;
		readonly trace: readonly TraceLine[];
		/** The step that the tree before the fix left out, as half a sentence; null if it is not that. */
		readonly skipped: string | null;
		/** Patterns of the commit's story that the counterexample does not show. */
		readonly untold: readonly RegExp[];
	} | null;
	/** Behind the fix: violations, of any property. */
	readonly left: readonly Failure[];
	readonly bounds: CaseBounds;
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
	const without = Object.fromEntries(
		lacks.map((feature) => [feature, typeof model.features[feature] === "number" ? 0 : false]),
	);
	const made = models.get(key) ?? { ...model, features: { ...model.features, ...without } };
	models.set(key, made);
	return made;
}

/** What both trees of a case are searched with. */
interface CaseScopes {
	readonly bounds: CaseBounds;
	readonly model: CpuModel;
	readonly kinds: readonly EventKind[];
	readonly scopes: readonly { readonly configuration: Configuration; readonly eventsMax: number }[];
}

function caseScopes(entry: HistoryCase, vendor: Vendor, model: CpuModel, bounds: CaseBounds): CaseScopes {
	if (bounds === "own") {
		const kinds = kindsOf(entry);
		const configuration = caseConfiguration(entry, vendor, model);
		return { bounds, model, kinds, scopes: [{ configuration, eventsMax: Math.max(1, kinds.length) }] };
	}
	const { before, after, mceHandler = DEFAULT_CONFIGURATION.mceHandler } = entry;
	const options = { tree: before, base: after, vendor, model, mceHandler, eventsMax: USUAL_EVENTS_MAX };
	return { bounds, model, kinds: checkedKinds(options), scopes: scopesOf(options) };
}

/** Runs one case on one vendor. @param usual the vendor's usual CPU model */
export function runCase(
	entry: HistoryCase,
	vendor: Vendor,
	usual: CpuModel,
	bounds: CaseBounds = "own",
): CaseResult {
	const model = modelFor(entry, usual);
	const searched = caseScopes(entry, vendor, model, bounds);
	const shown = before(entry, vendor, searched);
	const behind =
		bounds === "own" ? searchBehind(entry, vendor, searched) : knownBehind(entry, vendor, searched);
	return {
		entry,
		vendor,
		found: shown.found,
		left: behind.left,
		bounds,
		eventsMax: Math.max(...searched.scopes.map(({ eventsMax }) => eventsMax)),
		runs: shown.runs + behind.runs,
	};
}

const setupOf = (tree: Tree, vendor: Vendor, model: CpuModel, configuration: Configuration): RunSetup => ({
	program: linkTree(tree, vendor),
	model,
	configuration,
	guest: "script",
});

/** The tree before the fix, up to the first configuration that shows the violation. */
function before(
	entry: HistoryCase,
	vendor: Vendor,
	{ model, kinds, scopes, bounds }: CaseScopes,
): Pick<CaseResult, "found" | "runs"> {
	let runs = 0;
	for (const { configuration, eventsMax } of scopes) {
		const setup = setupOf(entry.before, vendor, model, configuration);
		const result = search({ setup, eventsMax, kinds });
		runs += result.schedules;
		const least = result.found.find(({ failure }) => failure.property === entry.shows.property);
		if (least === undefined) continue;
		const fixed = setupOf(entry.after, vendor, model, configuration);
		const found = { ...told(entry, setup, fixed, least), configuration };
		// Other events than the commit's may show the same earlier, and tell it otherwise.
		return { found: bounds === "own" ? found : { ...found, untold: [] }, runs };
	}
	return { found: null, runs };
}

/** The tree behind the fix. */
function searchBehind(
	{ after }: HistoryCase,
	vendor: Vendor,
	{ model, kinds, scopes }: CaseScopes,
): Pick<CaseResult, "left" | "runs"> {
	let runs = 0;
	const left = scopes.flatMap(({ configuration, eventsMax }) => {
		const result = search({ setup: setupOf(after, vendor, model, configuration), eventsMax, kinds });
		runs += result.schedules;
		return result.found.map(({ failure }) => failure).filter(({ degree }) => degree === "violation");
	});
	return { left, runs };
}

/** Most fixes lead to the same tree: what its flows do within the default bounds is found once. */
const behindByFlows = new WeakMap<Tree["flows"], Map<string, Pick<CaseResult, "left" | "runs">>>();

function knownBehind(
	entry: HistoryCase,
	vendor: Vendor,
	searched: CaseScopes,
): Pick<CaseResult, "left" | "runs"> {
	const { flows } = entry.after;
	const known = behindByFlows.get(flows) ?? new Map<string, Pick<CaseResult, "left" | "runs">>();
	behindByFlows.set(flows, known);
	const key = [vendor, searched.model.name, ...(entry.lacks ?? []), entry.mceHandler].join(" ");
	const result = known.get(key) ?? searchBehind(entry, vendor, searched);
	known.set(key, result);
	return result;
}

/** What the least schedule tells of the commit's story. */
function told(
	entry: HistoryCase,
	before: RunSetup,
	after: RunSetup,
	{ failure, schedule }: { readonly failure: Failure; readonly schedule: readonly Injection[] },
): Omit<NonNullable<CaseResult["found"]>, "configuration"> {
	const told = tell(before, after, schedule);
	const skipped = skippedStep(told, failure.property);
	const trace = told.tracer.lines;
	const text = JSON.stringify([failure, trace, skipped]);
	const untold = entry.shows.tells.filter((pattern) => !pattern.test(text));
	return { failure, schedule, trace, skipped, untold };
}

/** Whether a case came out as the casebook wants it. */
export function isAsTold({ found, left }: CaseResult): boolean {
	return found !== null && found.untold.length === 0 && left.length === 0;
}
