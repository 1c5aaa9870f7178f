/**
 * Why a run went wrong, by comparison: the same event at the same step of the base tree, and the first step
 * that the base went on with and this tree did not.
 */
import type { Machine } from "../kvm/api/kvm.ts";
import type { NodePlace } from "../kvm/flow/compile.ts";
import { type RunSetup, type RunWitness, runSchedule } from "./run.ts";
import { Tracer } from "./trace.ts";
import type { Injection } from "./types.ts";

/** Where an event arrived: the step, which time it ran, and how many ops into it. */
interface Landmark {
	readonly flow: string;
	readonly step: string;
	readonly occurrence: number;
	readonly opsInto: number;
	readonly entry: number;
}

/** Finds the landmark of an op count, or the op count of a landmark. */
class LandmarkFinder implements RunWitness {
	private readonly counts = new Map<string, number>();
	private readonly wanted: { readonly at: number } | Landmark;
	private last: { key: string; flow: string; step: string; occurrence: number; at: number } | null = null;
	landmark: Landmark | null = null;
	at = -1;

	constructor(wanted: { readonly at: number } | Landmark) {
		this.wanted = wanted;
	}

	onNode(place: NodePlace, _machine: Machine, at: number): void {
		const key = `${place.flow}/${place.node.name}`;
		const occurrence = (this.counts.get(key) ?? 0) + 1;
		this.counts.set(key, occurrence);
		if ("at" in this.wanted) {
			if (this.landmark === null && at >= this.wanted.at && this.last !== null) {
				const { flow, step, occurrence: times } = this.last;
				this.landmark = { flow, step, occurrence: times, opsInto: this.wanted.at - this.last.at, entry: 0 };
			}
		} else if (
			place.flow === this.wanted.flow &&
			place.node.name === this.wanted.step &&
			occurrence === this.wanted.occurrence
		) {
			this.at = at + this.wanted.opsInto;
		}
		this.last = { key, flow: place.flow, step: place.node.name, occurrence, at };
	}
	onEvent(): void {}
	onFailure(): void {}
}

/**
 * The step that this tree left out, as half a sentence, or null when the base has no such place or does the same.
 * @param ours the violating run's places, from its event on
 */
export function skippedStep(
	setup: RunSetup,
	base: RunSetup,
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
	runSchedule(base, [{ ...first, at: baseFinder.at }], tracer);
	return compare(base.tree.tree.name, ours, tracer.places);
}

const nameOf = (place: NodePlace) => `${place.flow}/${place.node.name}`;

function compare(baseName: string, ours: readonly NodePlace[], theirs: readonly NodePlace[]): string | null {
	const ran = new Set(ours.map(nameOf));
	const lost = theirs.find((place) => place.node.kind === "step" && !ran.has(nameOf(place)));
	if (lost === undefined) return null;
	const inBase = new Set(theirs.map(nameOf));
	// The last of the first run of places that the base did not pass is where this tree turned off.
	const start = ours.findIndex((place) => !inBase.has(nameOf(place)));
	const lostText = `${lost.node.name} (${lost.flow}), which ${baseName} runs there`;
	if (start < 0) return `nothing ran ${lostText}`;
	let end = start;
	while (end + 1 < ours.length && !inBase.has(nameOf(ours[end + 1]!))) end++;
	const turn = ours[end]!;
	const guard = ours
		.slice(start, end)
		.reverse()
		.find((place) => place.node.kind === "if");
	const why = guard === undefined ? "" : ` (${guard.node.name})`;
	return `${turn.flow}${why}: "${turn.node.name}" skips ${lostText}`;
}
