/**
 * The Trace Event Format, which Perfetto, chrome://tracing and speedscope open ("Trace Event Format", Google, 2016): its
 * complete events (X), instants (i) and metadata (M). Timestamps are microseconds from 0; cycles, which they are made of by
 * the clock's rate, stand in the arguments.
 */
import type { CallTreeData, Weight } from "../call-tree.ts";
import { layoutFlame } from "../flame.ts";

/** One event of the file. */
export interface ChromeEvent {
	readonly name: string;
	/** What kind of thing it is: viewers filter by it. */
	readonly cat: string;
	readonly ph: "X" | "i" | "M";
	readonly pid: number;
	readonly tid: number;
	/** Microseconds. */
	readonly ts: number;
	/** Microseconds, of X. */
	readonly dur?: number;
	/** An instant is its thread's. */
	readonly s?: "t";
	readonly args: Readonly<Record<string, string | number>>;
}

/** The file. */
export interface ChromeFile {
	readonly traceEvents: readonly ChromeEvent[];
	readonly displayTimeUnit: "ns";
	readonly otherData: Readonly<Record<string, string | number>>;
}

/**
 * Parts of a microsecond that times are whole numbers of, a picosecond each. A power of two: then the end of a slice, which readers
 * add up from ts and dur, is exactly the begin of the next.
 */
const PARTS = 2 ** 20;

/** Two decimals of a cycle: more would be noise of the sums. */
const rounded = (cycles: number) => Math.round(cycles * 100) / 100;

/** Where a slice stands, and what it is. */
export interface ChromeSlice {
	readonly pid: number;
	readonly tid: number;
	readonly name: string;
	readonly cat: string;
	readonly fromCycles: number;
	readonly toCycles: number;
	readonly args?: Readonly<Record<string, string | number>>;
}

/** A file under construction. Slices of a thread have to lie beside one another or in one another, the outer one first. */
export class ChromeTrace {
	private readonly events: ChromeEvent[] = [];
	private readonly hz: number;

	/** @param hz cycles a second */
	constructor(hz: number) {
		this.hz = hz;
	}

	private microseconds(cycles: number): number {
		return Math.round(((cycles * 1e6) / this.hz) * PARTS) / PARTS;
	}

	private metadata(pid: number, tid: number, name: string, args: ChromeEvent["args"]): void {
		this.events.push({ name, cat: "__metadata", ph: "M", pid, tid, ts: 0, args });
	}

	/** Names a process; they are shown in the order of their ids. */
	process(pid: number, name: string): void {
		this.metadata(pid, 0, "process_name", { name });
		this.metadata(pid, 0, "process_sort_index", { sort_index: pid });
	}

	/** Names a thread. */
	thread(pid: number, tid: number, name: string): void {
		this.metadata(pid, tid, "thread_name", { name });
		this.metadata(pid, tid, "thread_sort_index", { sort_index: tid });
	}

	/** Adds a slice. */
	slice({ pid, tid, name, cat, fromCycles, toCycles, args }: ChromeSlice): void {
		const ts = this.microseconds(fromCycles);
		const dur = this.microseconds(toCycles) - ts;
		const cycles = { cycles: rounded(toCycles - fromCycles), fromCycles: rounded(fromCycles) };
		this.events.push({ name, cat, ph: "X", pid, tid, ts, dur, args: { ...cycles, ...args } });
	}

	/** Adds what takes no time. */
	instant({ pid, tid, name, cat, fromCycles, args }: Omit<ChromeSlice, "toCycles">): void {
		const ts = this.microseconds(fromCycles);
		this.events.push({
			name,
			cat,
			ph: "i",
			pid,
			tid,
			ts,
			s: "t",
			args: { fromCycles: rounded(fromCycles), ...args },
		});
	}

	/** The file. @param otherData what it is of */
	file(otherData: ChromeFile["otherData"]): ChromeFile {
		return { traceEvents: this.events, displayTimeUnit: "ns", otherData: { hz: this.hz, ...otherData } };
	}
}

/**
 * A call tree as slices: callers above what they call, as wide as what was charged to both. The order in which things
 * happened is not in a profile: slices are laid from left to right as a flame graph's boxes.
 * @param cyclesPerWeight cycles that one unit of the weight stands for: 1 for cycles, the period for samples
 */
export function chromeProfile(
	tree: CallTreeData,
	name: string,
	weight: Weight,
	{ hz, cyclesPerWeight }: { readonly hz: number; readonly cyclesPerWeight: number },
): ChromeFile {
	const trace = new ChromeTrace(hz);
	trace.process(1, name);
	trace.thread(1, 1, `${weight} by call stack`);
	const { boxes, total } = layoutFlame(tree, weight);
	for (const box of boxes) {
		const from = box.left * total;
		trace.slice({
			pid: 1,
			tid: 1,
			name: box.name,
			cat: "profile",
			fromCycles: from * cyclesPerWeight,
			toCycles: (from + box.total) * cyclesPerWeight,
			args: weight === "samples" ? { samples: box.total } : {},
		});
	}
	return trace.file({ exporter: "reenter", name });
}
