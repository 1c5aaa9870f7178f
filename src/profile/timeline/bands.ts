/** The bands of a timeline: for each register that is swapped, and each flag, what it holds from when to when. */
import { FRAME_KINDS, type LaneState, type RunFrames } from "./frames.ts";

export interface BandSegment extends LaneState {
	readonly fromCycles: number;
	readonly toCycles: number;
}

export interface Band {
	/** The lane's name: XCR0, PKRU, IF, … */
	readonly name: string;
	/** In the order of time, without gaps; two neighbours differ. */
	readonly segments: readonly BandSegment[];
}

const OP = FRAME_KINDS.indexOf("op");

/** When what a frame shows had changed: behind the op before it, whose plain instructions follow. */
function changeCycles(run: RunFrames, frame: number): number {
	const now = frame < run.count ? run.cycles[frame]! : run.endCycles;
	if (frame === 0 || run.kind[frame - 1] !== OP) return now;
	const cost = run.opCycles[run.texts[run.text[frame - 1]!]!] ?? 0;
	return Math.min(now, run.cycles[frame - 1]! + cost);
}

/** One band a lane. */
export function bandsOf(run: RunFrames): readonly Band[] {
	return run.lanes.map((name, lane) => ({ name, segments: segmentsOf(run, lane) }));
}

function segmentsOf(run: RunFrames, lane: number): readonly BandSegment[] {
	const segments: BandSegment[] = [];
	let state: LaneState | null = null;
	let fromCycles = 0;
	for (let frame = 0; frame <= run.count; frame++) {
		const next = run.states[frame < run.count ? run.state[frame]! : run.endState]![lane]!;
		if (state !== null && state.value === next.value && state.whose === next.whose) continue;
		const cycles = changeCycles(run, frame);
		if (state !== null && cycles > fromCycles) segments.push({ ...state, fromCycles, toCycles: cycles });
		if (state !== null) fromCycles = cycles;
		state = next;
	}
	if (state !== null && run.endCycles > fromCycles)
		segments.push({ ...state, fromCycles, toCycles: run.endCycles });
	return joined(segments);
}

/** States that lasted no time leave neighbours that are the same. */
function joined(segments: readonly BandSegment[]): readonly BandSegment[] {
	const out: BandSegment[] = [];
	for (const segment of segments) {
		const last = out.at(-1);
		if (last !== undefined && last.value === segment.value && last.whose === segment.whose)
			out[out.length - 1] = { ...last, toCycles: segment.toCycles };
		else out.push(segment);
	}
	return out;
}

/** What a band comes to. */
export interface BandSummary {
	readonly name: string;
	/** Times that it changed between host's and guest's, or between on and off. */
	readonly changes: number;
	/** Cycles in which it was the guest's, or off. */
	readonly cycles: number;
}

/** Sums a band up. Where host and guest have the same it stays whose it was. */
export function summaryOf({ name, segments }: Band): BandSummary {
	let whose = "";
	let changes = 0;
	let cycles = 0;
	for (const segment of segments) {
		const now: string = segment.whose === "both" ? whose : segment.whose;
		if (whose !== "" && now !== whose) changes++;
		whose = now;
		if (now === "guest" || now === "off") cycles += segment.toCycles - segment.fromCycles;
	}
	return { name, changes, cycles };
}
