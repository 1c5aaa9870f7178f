/** The searches that a check is made of: its configurations, and parts that can be searched apart from each other. */
import {
	type Configuration,
	DEFAULT_CONFIGURATION,
	allConfigurations,
	configurationName,
	pairConfigurations,
} from "./configuration.ts";
import { EVENT_KINDS, eventRow } from "./events.ts";
import type { Vendor } from "../silicon/models/model.ts";
import type { CheckOptions, EventKind } from "./types.ts";

/**
 * A part of a check. Of the schedules with the most events it searches one of `parts` shares, by their first event; how many
 * shares there are does not depend on who works on them, and so neither does what is found.
 */
export interface Job {
	readonly configuration: Configuration;
	readonly eventsMax: number;
	readonly part: number;
	readonly parts: number;
}

/** Events of a run that `reenter check` and the casebook's default bounds allow. */
export const USUAL_EVENTS_MAX = 2;

/** Shares of a search with two events and more. */
const PARTS = 8;

/**
 * What is looked at as deeply as the default configuration. A TD entry that does not enter leaves the MSRs shared with user return
 * unlike what KVM has noted, and it takes another VM's vCPU to have any: neither shows without the other.
 */
const ALSO_DEEP: Readonly<Partial<Record<Vendor, Partial<Configuration>>>> = { tdx: { neighbour: "vm" } };

/** One search. */
interface Scope {
	readonly configuration: Configuration;
	readonly eventsMax: number;
}

/** The configurations of a check, each with its number of events; the default one first. */
export function scopesOf(options: CheckOptions): readonly Scope[] {
	const { vendor, model, mceHandler, configuration, configurations = "wide", eventsMax = 1 } = options;
	const with_ = (list: readonly Configuration[], events: number) =>
		list.map((one): Scope => ({ configuration: one, eventsMax: events }));
	if (configuration !== undefined) return with_([configuration], eventsMax);
	if (configurations === "all") {
		const all = allConfigurations(vendor, model);
		return with_(
			all.filter((one) => one.mceHandler === mceHandler),
			eventsMax,
		);
	}
	const pairs = pairConfigurations(vendor, model, { mceHandler });
	if (configurations === "pairs") return with_(pairs, eventsMax);
	const usual = { ...DEFAULT_CONFIGURATION, mceHandler };
	const also = eventsMax > 1 && ALSO_DEEP[vendor] !== undefined ? [{ ...usual, ...ALSO_DEEP[vendor] }] : [];
	return [...with_([usual, ...also], eventsMax), ...with_(pairs.slice(1), Math.min(1, eventsMax))];
}

/** The jobs of a check, the longest first. */
export function planJobs(options: CheckOptions): readonly Job[] {
	const jobs = scopesOf(options).flatMap(({ configuration, eventsMax }): Job[] => {
		const parts = eventsMax < 2 ? 1 : PARTS;
		return Array.from({ length: parts }, (_, part) => ({ configuration, eventsMax, part, parts }));
	});
	return jobs.sort((a, b) => b.eventsMax - a.eventsMax);
}

/** A job in shares of its own, for several threads that are to end it soon. @param parts how many shares */
export function sharesOf(job: Job, parts: number): readonly Job[] {
	if (job.parts > 1) return [job];
	return Array.from({ length: parts }, (_, part) => ({ ...job, part, parts }));
}

/** What a job takes, in shares of a search with one event: an estimate, for progress. */
export function jobWeight({ eventsMax, parts }: Job): number {
	return 40 ** Math.max(0, eventsMax - 1) / parts;
}

/** Kinds of event that a vendor has. */
export function kindsOn(vendor: Vendor): readonly EventKind[] {
	return EVENT_KINDS.filter((kind) => eventRow(kind).exists?.(vendor) ?? true);
}

/** Kinds of event that a check lets arrive. */
export function kindsOf({ events, vendor }: CheckOptions): readonly EventKind[] {
	return kindsOn(vendor).filter((kind) => events?.includes(kind) ?? true);
}

/** The searches by their number of events, as a verdict states them. */
export function statedScopes(
	options: CheckOptions,
): readonly { readonly eventsMax: number; readonly configurations: readonly string[] }[] {
	const scopes = scopesOf(options);
	const counts = [...new Set(scopes.map(({ eventsMax }) => eventsMax))].sort((a, b) => b - a);
	return counts.map((eventsMax) => ({
		eventsMax,
		configurations: scopes
			.filter((scope) => scope.eventsMax === eventsMax)
			.map(({ configuration }) => configurationName(configuration)),
	}));
}
