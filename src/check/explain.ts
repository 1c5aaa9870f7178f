/**
 * A counterexample told: its run written down, and why it went wrong, by comparison: the same event at the same step of the
 * base tree, and the first step that the base went on with and this tree did not.
 */
import type { NodePlace } from "../kvm/flow/compile.ts";
import { type Tree, walk } from "../kvm/flow/flow.ts";
import { linkTree } from "../kvm/flow/program.ts";
import type { Configuration } from "./configuration.ts";
import { eventRow } from "./events.ts";
import { LandmarkFinder } from "./landmark.ts";
import { runSchedule } from "./run.ts";
import type { RunSetup } from "./subject.ts";
import { makeToken } from "./token.ts";
import { PlaceRecorder, Tracer } from "./trace.ts";
import type { CheckOptions, Failure, Injection, Violation } from "./types.ts";

/** A failure and a schedule that shows it. */
export interface Counterexample {
	readonly failure: Failure;
	readonly schedule: readonly Injection[];
	readonly configuration: Configuration;
}

/** What runs of a check's tree, or of another one, are made of. */
export function setupFor(
	{ vendor, model, guest = "script" }: CheckOptions,
	tree: CheckOptions["tree"],
	configuration: Configuration,
): RunSetup {
	return { program: linkTree(tree, vendor), model, configuration, guest };
}

/** The command that shows a run again. A tree that is known by its hash alone need not be named. */
export function replayCommand(
	{ tree, vendor, model, guest = "script" }: CheckOptions,
	configuration: Configuration,
	schedule: readonly Injection[],
): string {
	const token = makeToken({ tree, vendor }, { model, configuration, guest, schedule });
	return `reenter replay ${token}${tree.spec === undefined ? "" : ` ${tree.spec}`}`;
}

/** A schedule's run written down, and what it is compared with. */
export interface Told {
	readonly setup: RunSetup;
	readonly tracer: Tracer;
	/** Null when the base has no such place, or is the tree itself. */
	readonly base: BaseRun | null;
}

/** The same event at the same step of the base. */
interface BaseRun {
	readonly tree: Tree;
	readonly failures: readonly Failure[];
	/** From the event on. */
	readonly places: readonly NodePlace[];
}

/** Runs a schedule, and the base's with the same event. @param base null for the base itself */
export function tell(setup: RunSetup, base: RunSetup | null, schedule: readonly Injection[]): Told {
	const tracer = new Tracer();
	runSchedule(setup, schedule, tracer);
	return { setup, tracer, base: base === null ? null : runBase(setup, base, schedule) };
}

function runBase(setup: RunSetup, base: RunSetup, [first]: readonly Injection[]): BaseRun | null {
	if (first === undefined) return null;
	const finder = new LandmarkFinder({ at: first.at });
	runSchedule(setup, [], finder);
	if (finder.landmark === null) return null;
	const baseFinder = new LandmarkFinder(finder.landmark);
	runSchedule(base, [], baseFinder);
	if (baseFinder.at < 0) return null;
	const recorder = new PlaceRecorder();
	const { failures } = runSchedule(base, [{ ...first, at: baseFinder.at }], recorder);
	return { tree: base.program.tree, failures, places: recorder.places };
}

/** Tells counterexamples as violations: those of one schedule have its runs in common. */
export class Explainer {
	private readonly options: CheckOptions;
	private readonly told = new Map<string, Told>();

	constructor(options: CheckOptions) {
		this.options = options;
	}

	/** A counterexample's trace, the step that was left out, and the command that shows it again. */
	explain({ failure, schedule, configuration }: Counterexample): Omit<Violation, "minimised"> {
		const told = this.tell(schedule, configuration);
		const { lines, initial } = told.tracer;
		const skipped = skippedStep(told, failure.property);
		const titles = schedule.map(({ event }) => eventRow(event).title);
		const event = titles.length === 0 ? "" : `${titles.join(", then ")}: `;
		return {
			property: failure.property,
			summary: `${event}${failure.detail}${skipped === null ? "" : `; ${skipped}`}`,
			replay: replayCommand(this.options, configuration, schedule),
			schedule,
			callStack: failure.callStack,
			trace: lines,
			initial,
		};
	}

	private tell(schedule: readonly Injection[], configuration: Configuration): Told {
		const key = JSON.stringify([schedule, configuration]);
		let told = this.told.get(key);
		if (told === undefined) {
			const { tree, base } = this.options;
			const theirs = tree.name === base.name ? null : setupFor(this.options, base, configuration);
			told = tell(setupFor(this.options, tree, configuration), theirs, schedule);
			this.told.set(key, told);
		}
		return told;
	}
}

/**
 * The step that this tree left out on the way to a violation, as half a sentence; null when the base has no such place, or fails
 * there too.
 * @param property that was violated
 */
export function skippedStep({ setup, tracer, base }: Told, property: string): string | null {
	if (base === null || base.failures.some((failure) => failure.property === property)) return null;
	const ours = tracer.places.slice(0, tracer.placesAtFailure.get(property));
	return compare(setup.program.tree, base.tree.name, ours, base.places);
}

const nameOf = (place: NodePlace) => `${place.flow}/${place.node.name}`;

/** A step that a tree does not have is not left out by whoever turned off. */
function hasStep(tree: Tree, name: string): boolean {
	return [...tree.flows.values()].some(({ body }) => [...walk(body)].some((node) => node.name === name));
}

/** Steps are known by name alone: one that a patch moved to another function was not left out. */
function compare(
	tree: Tree,
	baseName: string,
	ours: readonly NodePlace[],
	theirs: readonly NodePlace[],
): string | null {
	const ran = new Set(ours.map((place) => place.node.name));
	const lostAt = theirs.findIndex((place) => place.node.kind === "step" && !ran.has(place.node.name));
	if (lostAt < 0) return null;
	const lost = theirs[lostAt]!;
	const lostText = `${lost.node.name} (${lost.flow}), which ${baseName} runs there`;
	if (!hasStep(tree, lost.node.name)) return `${lostText}, is not in ${tree.name}`;
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
