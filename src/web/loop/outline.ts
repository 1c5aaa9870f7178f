/** Which rows of a path are shown, and what the drawing needs to know of them. */
import type { PathRow } from "../../kvm/flow/path.ts";
import type { StepSurvey, Survey } from "../../review/survey.ts";

/** One row as it is drawn. */
export interface OutlineRow {
	readonly row: PathRow;
	/** Index in the whole path. */
	readonly index: number;
	/** What the run has seen of it; null if it was never passed. */
	readonly seen: StepSurvey | null;
	/** Cycles a passage with everything below it. */
	readonly cycles: number;
	/** The guest runs in this step. */
	readonly entersGuest: boolean;
	/** What each lane holds behind it; "" where nothing was passed before it. */
	readonly lanes: readonly string[];
}

/** Whether a row does something itself. What a head or a guard was seen with says nothing of what holds behind its inside. */
const isOwn = ({ kind }: PathRow) => kind === "step" || kind === "return" || kind === "break";

/** Cycles of everything from a row to its end, of all passages. */
function totalCycles(rows: readonly PathRow[], survey: Survey, from: number): number {
	let total = 0;
	for (let at = from; at < rows[from]!.end; at++) {
		const seen = survey.steps[rows[at]!.place];
		if (seen !== undefined && rows[at]!.place !== "") total += seen.cycles * seen.passages;
	}
	return total;
}

/** The path with what was seen of it. */
export function outline(rows: readonly PathRow[], survey: Survey): OutlineRow[] {
	// What stands above a row holds at it as well, whether it is drawn or not; before the first one that is what the last KVM_RUN left.
	const passed = rows.findLast((row) => isOwn(row) && survey.steps[row.place] !== undefined);
	let lanes: readonly string[] = passed === undefined ? [] : survey.steps[passed.place]!.lanes;
	return rows.map((row, index) => {
		const seen = survey.steps[row.place] ?? null;
		const passages = seen?.passages ?? 1;
		if (isOwn(row) && seen !== null) lanes = seen.lanes;
		return {
			lanes,
			row,
			index,
			seen,
			cycles: totalCycles(rows, survey, index) / passages,
			entersGuest: row.place !== "" && row.place === survey.guestPlace,
		};
	});
}

/** The function from which on the path is shown at first: what lies around it are ioctl(KVM_RUN)'s own beginning and end. */
const SHOWN_FROM = "vcpu_run";

/**
 * Indices of the rows that are shown at first: those that the run has passed, guards only where something below them was;
 * and of what lies around vcpu_run() only what leads there.
 */
export function passedRows(all: readonly OutlineRow[]): ReadonlySet<number> {
	const passed = new Set<number>();
	const heart = all.find(({ row }) => row.kind === "function" && row.name === SHOWN_FROM);
	const [first, end] = heart === undefined ? [0, all.length] : [heart.index, heart.row.end];
	for (let at = all.length - 1; at >= 0; at--) {
		const { row, seen } = all[at]!;
		let below = false;
		for (let inner = at + 1; inner < row.end && !below; inner++) below = passed.has(inner);
		const within = at >= first && at < end;
		if (below || (isOwn(row) && within && seen !== null) || row.depth === 0) passed.add(at);
	}
	return passed;
}

/** The rows that are drawn, in order. @param closed indices of rows whose inside is folded */
export function visibleRows(
	all: readonly OutlineRow[],
	shown: ReadonlySet<number> | null,
	closed: ReadonlySet<number>,
): OutlineRow[] {
	const visible: OutlineRow[] = [];
	for (let at = 0; at < all.length; ) {
		const one = all[at]!;
		const next = closed.has(at) ? one.row.end : at + 1;
		// A folded row stands for its inside as well: what holds behind it is what holds behind its end.
		if (shown === null || shown.has(at)) visible.push({ ...one, lanes: all[next - 1]!.lanes });
		at = next;
	}
	return visible;
}

/** A loop as it is drawn: from its first line to its last one. */
export interface LoopSpan {
	readonly name: string;
	readonly from: number;
	readonly to: number;
	/** Loops around it. */
	readonly level: number;
}

/** The loops among drawn rows; lines are counted from 0. */
export function loopSpans(visible: readonly OutlineRow[]): LoopSpan[] {
	const spans: LoopSpan[] = [];
	for (const [line, { row, index }] of visible.entries()) {
		if (row.kind !== "loop") continue;
		let to = line;
		while (to + 1 < visible.length && visible[to + 1]!.index < row.end) to++;
		const level = spans.filter((outer) => outer.to >= to).length;
		if (to > line && index >= 0) spans.push({ name: row.name, from: line, to, level });
	}
	return spans;
}

/** A stretch of one lane in which it holds the same. */
export interface LaneSegment {
	readonly lane: number;
	readonly from: number;
	/** The last line. */
	readonly to: number;
	readonly value: string;
}

/** The stretches of all lanes. */
export function laneSegments(visible: readonly OutlineRow[], lanes: number): LaneSegment[] {
	const segments: LaneSegment[] = [];
	for (let lane = 0; lane < lanes; lane++) {
		for (const [line, row] of visible.entries()) {
			const value = row.lanes[lane] ?? "";
			const last = segments.at(-1);
			if (last !== undefined && last.lane === lane && last.to === line - 1 && last.value === value)
				segments[segments.length - 1] = { ...last, to: line };
			else if (value !== "") segments.push({ lane, from: line, to: line, value });
		}
	}
	return segments;
}
