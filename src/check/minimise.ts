/**
 * The least that still shows a violation, of one that somebody else found: fewer events, then earlier ones, so that the guest
 * has exited less often, then a simpler configuration. A search finds the least by itself; a schedule that is written by
 * hand, or drawn, is what this is for.
 *
 * An event is known by where it arrives, the step and which time it runs, and not by its op count: that shifts when another
 * event is left out.
 */
import { type Configuration, DEFAULT_CONFIGURATION, FACTOR_NAMES } from "./configuration.ts";
import { type Landmark, LandmarkFinder } from "./landmark.ts";
import { runSchedule } from "./run.ts";
import type { RunSetup } from "./subject.ts";
import type { Injection } from "./types.ts";

/** A schedule under a configuration. */
export interface Shown {
	readonly schedule: readonly Injection[];
	readonly configuration: Configuration;
}

/** What runs schedules. */
export interface MinimiseRuns {
	/** Whether the violation shows. */
	shows(shown: Shown): boolean;
	/** Where the events of a schedule arrive; null for one that never does. */
	landmarks(shown: Shown): readonly (Landmark | null)[];
	/** The op count of a landmark in a run under these earlier events; null if the run does not pass it. */
	placeOf(landmark: Landmark, before: Shown): number | null;
}

/** An event with its place. */
interface Placed {
	readonly injection: Injection;
	readonly landmark: Landmark;
}

/** Runs that pass a step more often than this are not looked at for an earlier place. */
const OCCURRENCES_MAX = 64;

/** Minimises. @returns what was given if nothing less shows it */
export function minimise(given: Shown, runs: MinimiseRuns): Shown {
	const places = runs.landmarks(given);
	let placed = given.schedule.flatMap((injection, at): Placed[] => {
		const landmark = places[at] ?? null;
		return landmark === null ? [] : [{ injection, landmark }];
	});
	let best = given;
	/** Takes what it is given if the violation still shows. */
	const accept = (events: readonly Placed[], configuration: Configuration): boolean => {
		const schedule = settle(events, configuration, runs);
		if (schedule === null) return false;
		const shown = { schedule, configuration };
		if (!runs.shows(shown)) return false;
		best = shown;
		placed = [...events];
		return true;
	};
	if (placed.length < given.schedule.length) accept(placed, given.configuration);
	for (let at = 0; at < placed.length; ) {
		if (!accept(placed.toSpliced(at, 1), best.configuration)) at++;
	}
	for (let at = 0; at < placed.length; at++) {
		const { injection, landmark } = placed[at]!;
		for (let occurrence = 1; occurrence < Math.min(landmark.occurrence, OCCURRENCES_MAX); occurrence++) {
			if (accept(placed.with(at, { injection, landmark: { ...landmark, occurrence } }), best.configuration))
				break;
		}
	}
	for (const factor of FACTOR_NAMES) {
		if (best.configuration[factor] === DEFAULT_CONFIGURATION[factor]) continue;
		accept(placed, { ...best.configuration, [factor]: DEFAULT_CONFIGURATION[factor] });
	}
	return best;
}

/** The schedule whose events arrive at these places; null if a run does not pass one of them. */
function settle(
	events: readonly Placed[],
	configuration: Configuration,
	runs: MinimiseRuns,
): Injection[] | null {
	const schedule: Injection[] = [];
	for (const { injection, landmark } of events) {
		const at = runs.placeOf(landmark, { schedule, configuration });
		if (at === null) return null;
		schedule.push({ ...injection, at });
	}
	return schedule.sort((a, b) => a.at - b.at);
}

/** Runs of a tree, and the violation of one property. */
export function minimiseRuns(setup: RunSetup, property: string): MinimiseRuns {
	const under = (configuration: Configuration): RunSetup => ({ ...setup, configuration });
	return {
		shows: ({ schedule, configuration }) =>
			runSchedule(under(configuration), schedule).failures.some((failure) => failure.property === property),
		landmarks: ({ schedule, configuration }) =>
			schedule.map(({ at }) => {
				const finder = new LandmarkFinder({ at });
				runSchedule(under(configuration), schedule, finder);
				return finder.landmark;
			}),
		placeOf: (landmark, { schedule, configuration }) => {
			const finder = new LandmarkFinder(landmark);
			runSchedule(under(configuration), schedule, finder);
			return finder.at < 0 ? null : finder.at;
		},
	};
}
