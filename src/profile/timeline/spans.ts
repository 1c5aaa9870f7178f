/**
 * The slices of a timeline: which functions, steps, ops and guest instructions a run consists of, from when to when. On a
 * lane slices lie beside one another or in one another, never across.
 */
import { type CallRecord, FRAME_KINDS, NODE_KINDS, type RunFrames } from "./frames.ts";

/** Lanes of slices, in the order in which they are drawn. */
export const SPAN_LANES = ["guest", "run loop", "events"] as const;
export type SpanLane = (typeof SPAN_LANES)[number];

/** `guest` is a stay in the guest; `arrival` and `violation` take no time. */
export type SpanKind =
	| "guest"
	| "instruction"
	| "function"
	| "loop"
	| "step"
	| "op"
	| "handler"
	| "arrival"
	| "violation";

export interface Span {
	readonly lane: SpanLane;
	/** Slices of its lane around it. */
	readonly depth: number;
	readonly kind: SpanKind;
	readonly name: string;
	/** The exit reason that ended a stay in the guest; an instruction's address; "" for all others. */
	readonly note: string;
	readonly fromCycles: number;
	readonly toCycles: number;
	/** The frames in it; equal if it has none. */
	readonly fromFrame: number;
	readonly toFrame: number;
}

/** Functions that the lane of events shows besides: what the host's IDT leads to, and the scheduler. */
const HANDLERS =
	/^(common_interrupt|sysvec_\w+|exc_\w+|do_machine_check|(preempt_)?schedule(_irq)?|__switch_to)$/;

const STEP = FRAME_KINDS.indexOf("step");
const OP = FRAME_KINDS.indexOf("op");
const GUEST = FRAME_KINDS.indexOf("guest");

/** A frame, or a call (the index of its record). */
type Item = { readonly frame: number } | { readonly call: number };

interface Open {
	readonly kind: SpanKind;
	readonly name: string;
	readonly fromCycles: number;
	readonly fromFrame: number;
}

class SpanBuilder {
	readonly spans: Span[] = [];
	private readonly run: RunFrames;
	/** What each call consists of, in order, by its index plus 1; 0 is what lies outside of all. */
	private readonly items: Item[][];

	constructor(run: RunFrames) {
		this.run = run;
		this.items = [[], ...run.calls.map(() => [])];
		let next = 0;
		for (let frame = 0; frame <= run.count; frame++) {
			for (; next < run.calls.length && run.calls[next]!.fromFrame <= frame; next++)
				this.items[run.calls[next]!.parent + 1]!.push({ call: next });
			if (frame < run.count) this.items[run.call[frame]!]!.push({ frame });
		}
	}

	build(): readonly Span[] {
		const { count, endCycles, stays } = this.run;
		for (const stay of stays) {
			const { fromFrame, toFrame, fromCycles, toCycles, reason } = stay;
			this.add(
				"guest",
				0,
				{ kind: "guest", name: "guest", fromCycles, fromFrame },
				toCycles,
				toFrame,
				reason,
			);
		}
		this.instructions();
		this.body(0, 0, count, endCycles);
		this.handlers();
		return this.spans;
	}

	private add(lane: SpanLane, depth: number, open: Open, toCycles: number, toFrame: number, note = ""): void {
		this.spans.push({ lane, depth, ...open, note, toCycles, toFrame });
	}

	private textOf(frame: number): string {
		return this.run.texts[this.run.text[frame]!]!;
	}

	private instructions(): void {
		const { kind, cycles, stays } = this.run;
		for (const { fromFrame, toFrame, toCycles } of stays) {
			for (let frame = fromFrame; frame < toFrame; frame++) {
				if (kind[frame] !== GUEST) continue;
				const last = frame + 1 === toFrame;
				const open = { kind: "instruction", name: this.textOf(frame), fromFrame: frame } as const;
				const fromCycles = cycles[frame]!;
				const to = last ? toCycles : cycles[frame + 1]!;
				const address = `0x${this.run.rip[frame]!.toString(16)}`;
				this.add("guest", 1, { ...open, fromCycles }, to, frame + 1, address);
			}
		}
	}

	/** What a call consists of. @param depth of its parts */
	private body(items: number, depth: number, endFrame: number, endCycles: number): void {
		const { run } = this;
		const loops: Open[] = [];
		let step: Open | null = null;
		const inner = () => depth + loops.length + (step === null ? 0 : 1);
		const closeStep = (cycles: number, frame: number) => {
			// A guard that nothing is charged for is left out.
			if (step !== null && (cycles > step.fromCycles || !step.name.startsWith("if ")))
				this.add("run loop", depth + loops.length, step, cycles, frame);
			step = null;
		};
		const closeLoops = (left: number, cycles: number, frame: number) => {
			while (loops.length > left) {
				const one = loops.pop()!;
				this.add("run loop", depth + loops.length, one, cycles, frame);
			}
		};
		const list = this.items[items]!;
		for (let at = 0; at < list.length; at++) {
			const item = list[at]!;
			if ("call" in item) {
				this.call(item.call, inner());
				continue;
			}
			const { frame } = item;
			const fromCycles = run.cycles[frame]!;
			if (run.kind[frame] === STEP) {
				closeStep(fromCycles, frame);
				const around = run.loops[run.loop[frame]!]!;
				let same = 0;
				while (same < loops.length && loops[same]!.name === `${around[same]} loop`) same++;
				closeLoops(same, fromCycles, frame);
				for (const name of around.slice(same))
					loops.push({ kind: "loop", name: `${name} loop`, fromCycles, fromFrame: frame });
				const node = NODE_KINDS[run.node[frame]!]!;
				if (node === "step" || node === "if")
					step = { kind: "step", name: this.textOf(frame), fromCycles, fromFrame: frame };
			} else if (run.kind[frame] === OP) {
				at += this.op(list, at, frame, inner(), endCycles);
			} else if (run.kind[frame] !== GUEST) {
				const kind = FRAME_KINDS[run.kind[frame]!] === "violation" ? "violation" : "arrival";
				const name = this.textOf(frame);
				this.add("events", 0, { kind, name, fromCycles, fromFrame: frame }, fromCycles, frame + 1);
			}
		}
		closeStep(endCycles, endFrame);
		closeLoops(0, endCycles, endFrame);
	}

	private call(index: number, depth: number): void {
		const { name, fromCycles, toCycles, fromFrame, toFrame } = this.run.calls[index]!;
		this.add("run loop", depth, { kind: "function", name, fromCycles, fromFrame }, toCycles, toFrame);
		this.body(index + 1, depth + 1, toFrame, toCycles);
	}

	private startOf(item: Item): number {
		return "call" in item ? this.run.calls[item.call]!.fromCycles : this.run.cycles[item.frame]!;
	}

	/** An op. What arrives at it is handled before it is carried out. @returns items that were handled besides */
	private op(list: readonly Item[], at: number, frame: number, depth: number, endCycles: number): number {
		const { run } = this;
		const name = this.textOf(frame);
		const cost = run.opCycles[name] ?? 0;
		let fromCycles = run.cycles[frame]!;
		let fromFrame = frame;
		let taken = 0;
		for (let item = list[at + 1]; item !== undefined && "call" in item; item = list[at + 1 + taken]) {
			const handled: CallRecord = run.calls[item.call]!;
			if (cost === 0 || handled.fromCycles !== fromCycles) break;
			this.call(item.call, depth);
			fromCycles = handled.toCycles;
			fromFrame = handled.toFrame;
			taken++;
		}
		const toFrame = taken === 0 ? frame + 1 : fromFrame;
		const next = list[at + 1 + taken];
		const toCycles = Math.min(fromCycles + cost, next === undefined ? endCycles : this.startOf(next));
		this.add("run loop", depth, { kind: "op", name, fromCycles, fromFrame }, toCycles, toFrame);
		return taken;
	}

	/** Handlers lie in one another where one interrupts another. */
	private handlers(): void {
		const around: CallRecord[] = [];
		for (const call of this.run.calls) {
			if (!HANDLERS.test(call.name)) continue;
			while (
				around.length > 0 &&
				around.at(-1)!.toFrame <= call.fromFrame &&
				around.at(-1)!.toCycles <= call.fromCycles
			)
				around.pop();
			const { name, fromCycles, toCycles, fromFrame, toFrame } = call;
			this.add("events", around.length, { kind: "handler", name, fromCycles, fromFrame }, toCycles, toFrame);
			around.push(call);
		}
	}
}

/** All slices of a run: by lane, and where one lies in another, the outer one first; otherwise in the order of time. */
export function spansOf(run: RunFrames): readonly Span[] {
	const spans = [...new SpanBuilder(run).build()];
	return spans.sort(
		(a, b) =>
			SPAN_LANES.indexOf(a.lane) - SPAN_LANES.indexOf(b.lane) ||
			a.fromFrame - b.fromFrame ||
			a.fromCycles - b.fromCycles ||
			a.depth - b.depth,
	);
}
