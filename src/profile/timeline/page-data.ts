/**
 * What the page of a timeline draws, packed: columns of whole numbers, since a run has some hundred slices an exit. Times
 * are hundredths of cycles.
 */
import type { Band } from "./bands.ts";
import type { LaneState, RunFrames } from "./frames.ts";
import { SPAN_LANES, type Span } from "./spans.ts";
import type { Timeline, TimelineRun } from "./timeline.ts";

/** Slices of one lane, a column each. Starts are differences to the one before. */
export interface LaneColumns {
	readonly name: string;
	/** Rows that its slices take. */
	readonly rows: number;
	readonly depth: readonly number[];
	/** Index into `kinds`. */
	readonly kind: readonly number[];
	/** Index into `texts`; of the note, too, 0 being none. */
	readonly text: readonly number[];
	readonly note: readonly number[];
	readonly from: readonly number[];
	readonly length: readonly number[];
	/** Index into the run's `states`: before the slice, and behind it. */
	readonly before: readonly number[];
	readonly after: readonly number[];
}

export interface BandColumns {
	readonly name: string;
	/** Index into `values`. */
	readonly value: readonly number[];
	/** Ends, as differences. */
	readonly to: readonly number[];
	/** It changes, in this run or in another. */
	readonly changes: boolean;
}

export interface RunColumns {
	readonly title: string;
	readonly end: string;
	readonly cycles: number;
	readonly lanes: readonly LaneColumns[];
	readonly bands: readonly BandColumns[];
	/** Per state, per band: index into `values`. */
	readonly states: readonly (readonly number[])[];
	/** When the run begins, each of its exits, and when it ends: what is put below one another when runs are aligned. */
	readonly anchors: readonly number[];
	/** Exit reasons. */
	readonly reasons: readonly string[];
}

export interface PageData {
	readonly texts: readonly string[];
	readonly kinds: readonly string[];
	/** What a band can hold: its value, and whose it is. */
	readonly values: readonly (readonly [value: string, whose: string])[];
	readonly runs: readonly RunColumns[];
}

const UNITS = 100;
const units = (cycles: number) => Math.round(cycles * UNITS);

/** Numbers of what occurs often. */
class Numbering<T> {
	readonly list: T[] = [];
	private readonly numbers = new Map<string, number>();

	of(key: string, value: T): number {
		let number = this.numbers.get(key);
		if (number === undefined) {
			number = this.list.push(value) - 1;
			this.numbers.set(key, number);
		}
		return number;
	}
}

class Packer {
	readonly texts = new Numbering<string>();
	readonly kinds = new Numbering<string>();
	readonly values = new Numbering<readonly [string, string]>();

	constructor() {
		this.texts.of("", "");
	}

	value({ value, whose }: LaneState): number {
		return this.values.of(`${whose} ${value}`, [value, whose]);
	}

	lane(name: string, spans: readonly Span[], { state, count, endState }: RunFrames): LaneColumns {
		const stateAt = (frame: number) => (frame < count ? state[frame]! : endState);
		const column = (read: (span: Span) => number) => spans.map(read);
		let last = 0;
		return {
			name,
			rows: spans.reduce((rows, { depth }) => Math.max(rows, depth + 1), 1),
			depth: column(({ depth }) => depth),
			kind: column(({ kind }) => this.kinds.of(kind, kind)),
			text: column((span) => this.texts.of(span.name, span.name)),
			note: column(({ kind, note }) => {
				const text = note === "" ? "" : kind === "guest" ? `→ ${note}` : `at ${note}`;
				return this.texts.of(text, text);
			}),
			from: column(({ fromCycles }) => {
				const from = units(fromCycles);
				const difference = from - last;
				last = from;
				return difference;
			}),
			length: column(({ fromCycles, toCycles }) => units(toCycles) - units(fromCycles)),
			before: column(({ fromFrame }) => stateAt(fromFrame)),
			after: column(({ toFrame }) => stateAt(toFrame)),
		};
	}

	band({ name, segments }: Band, changes: boolean): BandColumns {
		let last = 0;
		return {
			name,
			value: segments.map((segment) => this.value(segment)),
			to: segments.map(({ toCycles }) => {
				const difference = units(toCycles) - last;
				last = units(toCycles);
				return difference;
			}),
			changes,
		};
	}

	run(run: TimelineRun, changing: ReadonlySet<string>): RunColumns {
		const { frames, spans, bands } = run;
		const exits = frames.stays.filter(({ reason }) => reason !== "");
		return {
			title: titleOf(run),
			end: frames.end,
			cycles: units(frames.endCycles),
			lanes: SPAN_LANES.map((name) =>
				this.lane(
					name,
					spans.filter(({ lane }) => lane === name),
					frames,
				),
			),
			bands: bands.map((band) => this.band(band, changing.has(band.name))),
			states: frames.states.map((state) => state.map((one) => this.value(one))),
			anchors: [0, ...exits.map(({ toCycles }) => units(toCycles)), units(frames.endCycles)],
			reasons: exits.map(({ reason }) => reason),
		};
	}
}

/** A run's heading. */
export function titleOf({ tree, vendor, cpu }: Pick<TimelineRun, "tree" | "vendor" | "cpu">): string {
	return `${tree} on ${vendor}, ${cpu}`;
}

/** Packs a timeline. */
export function pageData({ runs }: Pick<Timeline, "runs">): PageData {
	const packer = new Packer();
	const changing = new Set(
		runs.flatMap(({ bands }) => bands.filter(({ segments }) => segments.length > 1).map(({ name }) => name)),
	);
	const packed = runs.map((run) => packer.run(run, changing));
	return {
		texts: packer.texts.list,
		kinds: packer.kinds.list,
		values: packer.values.list,
		runs: packed,
	};
}
