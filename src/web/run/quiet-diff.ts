/**
 * A run beside the same run without events: which frames are its own, what it left out, and where registers or state hold
 * something else. Frames are paired by Myers' shortest edit script (Algorithmica 1, 1986), on what happens in them.
 */
import { REGISTER_NAMES, type Recording } from "../../review/recording/recording.ts";

export interface RunDiff {
	/** Per frame: the frame of the quiet run that it is, or -1. */
	readonly pairs: Int32Array;
	/** Per frame: frames of the quiet run that this run left out right before it. */
	readonly left: Int32Array;
	/** Per frame: 1 if it is paired, and state or registers are other than there. */
	readonly differs: Uint8Array;
	/** Frames that are this run's own, frames that it left out, frames that differ. */
	readonly extra: number;
	readonly missing: number;
	readonly changed: number;
}

/** Edits, beyond which runs count as having nothing in common between their common begin and end. */
const EDITS_MAX = 1000;

/** What happens in each frame, as numbers that mean the same in both runs. */
function labels(runs: readonly Recording[]): readonly Int32Array[] {
	const ids = new Map<string, number>();
	return runs.map(({ kind, text, texts }) =>
		Int32Array.from(kind, (one, at) => {
			const name = `${one} ${texts[text[at]!]}`;
			const known = ids.get(name) ?? ids.size;
			ids.set(name, known);
			return known;
		}),
	);
}

/** Furthest places reached on each diagonal, before each number of edits: what Myers' algorithm walks back along. */
function editTrace(a: Int32Array, b: Int32Array): readonly Int32Array[] | null {
	const trace: Int32Array[] = [];
	let furthest = new Int32Array([0, 0, 0]);
	for (let edits = 0; edits <= Math.min(EDITS_MAX, a.length + b.length); edits++) {
		trace.push(furthest);
		const next = new Int32Array(2 * edits + 5);
		for (let diagonal = -edits; diagonal <= edits; diagonal += 2) {
			const at = (k: number) => furthest[k + edits] ?? 0;
			const down = diagonal === -edits || (diagonal !== edits && at(diagonal - 1) < at(diagonal + 1));
			let x = down ? at(diagonal + 1) : at(diagonal - 1) + 1;
			while (x < a.length && x - diagonal < b.length && a[x] === b[x - diagonal]) x++;
			next[diagonal + edits + 1] = x;
			if (x >= a.length && x - diagonal >= b.length) return trace;
		}
		furthest = next;
	}
	return null;
}

/** Pairs of places with the same label, by a shortest edit script; null if there are too many edits. */
function commonPairs(a: Int32Array, b: Int32Array): readonly (readonly [number, number])[] | null {
	const trace = editTrace(a, b);
	if (trace === null) return null;
	const pairs: [number, number][] = [];
	let x = a.length;
	let y = b.length;
	for (let edits = trace.length - 1; edits >= 0; edits--) {
		const furthest = trace[edits]!;
		const at = (k: number) => furthest[k + edits] ?? 0;
		const diagonal = x - y;
		const down = diagonal === -edits || (diagonal !== edits && at(diagonal - 1) < at(diagonal + 1));
		const from = edits === 0 ? 0 : down ? at(diagonal + 1) : at(diagonal - 1);
		const fromY = edits === 0 ? 0 : from - (down ? diagonal + 1 : diagonal - 1);
		while (x > from && y > fromY && a[x - 1] === b[y - 1]) pairs.push([--x, --y]);
		x = from;
		y = fromY;
	}
	return pairs.reverse();
}

/** Pairs frames: what is common at both ends first, then what lies between. */
function pairFrames(run: Recording, quiet: Recording): Int32Array {
	const [a, b] = labels([run, quiet]) as [Int32Array, Int32Array];
	const pairs = new Int32Array(a.length).fill(-1);
	let start = 0;
	while (start < a.length && start < b.length && a[start] === b[start]) {
		pairs[start] = start;
		start++;
	}
	let end = 0;
	const room = Math.min(a.length, b.length) - start;
	while (end < room && a[a.length - 1 - end] === b[b.length - 1 - end]) {
		pairs[a.length - 1 - end] = b.length - 1 - end;
		end++;
	}
	const between = commonPairs(a.subarray(start, a.length - end), b.subarray(start, b.length - end));
	for (const [ours, theirs] of between ?? []) pairs[start + ours] = start + theirs;
	return pairs;
}

/** Whether two sets of registers or rows of state are unlike, each pair of them compared once. */
function comparer(
	unlike: (ours: number, theirs: number) => boolean,
): (ours: number, theirs: number) => boolean {
	const known = new Map<number, boolean>();
	return (ours, theirs) => {
		const key = ours * 0x10_0000 + theirs;
		const answer = known.get(key) ?? unlike(ours, theirs);
		known.set(key, answer);
		return answer;
	};
}

/** The value of a register in a set. */
export const registerOf = (run: Recording, set: number, register: number): bigint =>
	run.registerSets[set * REGISTER_NAMES.length + register] ?? 0n;

/** Compares a run with the quiet one. */
export function compareRuns(run: Recording, quiet: Recording): RunDiff {
	const pairs = pairFrames(run, quiet);
	const states = comparer((ours, theirs) =>
		run.states[ours]!.some(({ value, whose }, lane) => {
			const other = quiet.states[theirs]?.[lane];
			return value !== other?.value || whose !== other.whose;
		}),
	);
	const registers = comparer((ours, theirs) =>
		REGISTER_NAMES.some((_, one) => registerOf(run, ours, one) !== registerOf(quiet, theirs, one)),
	);
	const left = new Int32Array(pairs.length);
	const differs = new Uint8Array(pairs.length);
	let next = 0;
	let extra = 0;
	for (const [at, pair] of pairs.entries()) {
		if (pair < 0) {
			extra++;
			continue;
		}
		left[at] = pair - next;
		next = pair + 1;
		if (states(run.state[at]!, quiet.state[pair]!) || registers(run.registers[at]!, quiet.registers[pair]!))
			differs[at] = 1;
	}
	const missing = quiet.count - (pairs.length - extra);
	return { pairs, left, differs, extra, missing, changed: differs.reduce((sum, one) => sum + one, 0) };
}

/** Names of the frames that were left out before a frame. */
export function leftOutBefore({ pairs, left }: RunDiff, quiet: Recording, at: number): readonly string[] {
	const count = left[at] ?? 0;
	const pair = pairs[at] ?? -1;
	return Array.from({ length: count }, (_, one) => quiet.texts[quiet.text[pair - count + one]!]!);
}
