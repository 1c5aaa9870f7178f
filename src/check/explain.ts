/**
 * Why a run went wrong, by comparison: the same event at the same step of the base tree, and the first step
 * that the base went on with and this tree did not.
 */
import type { NodePlace } from "../kvm/flow/compile.ts";
import { LandmarkFinder } from "./landmark.ts";
import { type RunSetup, runSchedule } from "./run.ts";
import { Tracer } from "./trace.ts";
import type { Injection } from "./types.ts";

/**
 * The step that this tree left out, as half a sentence; null when the base has no such place, or fails there too.
 * @param property that was violated
 * @param ours the violating run's places, from its event to the violation
 */
export function skippedStep(
	setup: RunSetup,
	base: RunSetup,
	property: string,
	schedule: readonly Injection[],
	ours: readonly NodePlace[],
): string | null {
	const [first] = schedule;
	if (first === undefined) return null;
	const finder = new LandmarkFinder({ at: first.at });
	runSchedule(setup, [], finder);
	if (finder.landmark === null) return null;
	const baseFinder = new LandmarkFinder(finder.landmark);
	runSchedule(base, [], baseFinder);
	if (baseFinder.at < 0) return null;
	const tracer = new Tracer();
	const { failures } = runSchedule(base, [{ ...first, at: baseFinder.at }], tracer);
	if (failures.some((failure) => failure.property === property)) return null;
	return compare(base.tree.tree.name, ours, tracer.places);
}

const nameOf = (place: NodePlace) => `${place.flow}/${place.node.name}`;

/** Steps are known by name alone: one that a patch moved to another function was not left out. */
function compare(baseName: string, ours: readonly NodePlace[], theirs: readonly NodePlace[]): string | null {
	const ran = new Set(ours.map((place) => place.node.name));
	const lostAt = theirs.findIndex((place) => place.node.kind === "step" && !ran.has(place.node.name));
	if (lostAt < 0) return null;
	const lost = theirs[lostAt]!;
	const lostText = `${lost.node.name} (${lost.flow}), which ${baseName} runs there`;
	const turn = turnedOff(ours, theirs.slice(0, lostAt));
	if (turn === null) return `nothing ran ${lostText}`;
	const why = turn.guard === null ? "" : ` (${turn.guard.node.name})`;
	return `${turn.place.flow}${why}: "${turn.place.node.name}" skips ${lostText}`;
}

/**
 * Where this tree turned off: the last of the places behind the last one that both passed, up to where this tree
 * is on the base's way again.
 * @param before what the base passed before the step that was left out
 */
function turnedOff(
	ours: readonly NodePlace[],
	before: readonly NodePlace[],
): { readonly place: NodePlace; readonly guard: NodePlace | null } | null {
	const names = ours.map(nameOf);
	let at = -1;
	for (const place of before) {
		const next = names.indexOf(nameOf(place), at + 1);
		if (next >= 0) at = next;
	}
	const inBase = new Set(before.map(nameOf));
	const own: NodePlace[] = [];
	for (const place of ours.slice(at + 1)) {
		if (place.node.kind === "return" || !inBase.has(nameOf(place))) own.push(place);
		if (place.node.kind === "return" || inBase.has(nameOf(place))) break;
	}
	const place = own.at(-1);
	if (place === undefined || place.node.kind !== "return") return null;
	const guard = own.findLast(({ node }) => node.kind === "if") ?? null;
	return { place, guard };
}
