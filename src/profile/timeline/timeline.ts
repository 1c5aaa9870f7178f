/** A timeline: what one run, or several on the same axis, look like. */
import { type Band, bandsOf } from "./bands.ts";
import type { RunFrames } from "./frames.ts";
import { type Span, spansOf } from "./spans.ts";

/** One run of a guest under a tree. */
export interface TimelineRun {
	/** The tree's name. */
	readonly tree: string;
	/** The vendor, or the vendor module. */
	readonly vendor: string;
	/** The CPU model's name. */
	readonly cpu: string;
	readonly frames: RunFrames;
	readonly spans: readonly Span[];
	readonly bands: readonly Band[];
}

export interface Timeline {
	/** The guest's name. */
	readonly guest: string;
	/** Cycles a second. */
	readonly hz: number;
	readonly runs: readonly TimelineRun[];
}

/** Makes a run's slices and bands. */
export function timelineRun(
	names: Pick<TimelineRun, "tree" | "vendor" | "cpu">,
	frames: RunFrames,
): TimelineRun {
	return { ...names, frames, spans: spansOf(frames), bands: bandsOf(frames) };
}
