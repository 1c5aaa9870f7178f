/** Random runs: functions that call one another, steps in loops, ops, and stays in the guest. */
import fc from "fast-check";
import {
	type CallRecord,
	FRAME_KINDS,
	type FrameKind,
	type GuestStay,
	NODE_KINDS,
	type RunFrames,
} from "../../../src/profile/timeline/frames.ts";

const OPS = { free: 0, wrmsr: 100, xsetbv: 39, vmread: 10.25 } as const;
const LOOPS = [[], ["outer"], ["outer", "inner"]] as const;
const STATES = [
	[{ value: "0x1", whose: "host" }],
	[{ value: "0x7", whose: "guest" }],
	[{ value: "0x7", whose: "both" }],
];

type Action =
	| { readonly do: "enter" | "leave" | "guest" | "event" }
	| { readonly do: "step"; readonly loop: number; readonly node: number }
	| { readonly do: "op"; readonly op: keyof typeof OPS; readonly interrupts: number }
	| { readonly do: "code"; readonly cycles: number }
	| { readonly do: "state"; readonly state: number };

const action: fc.Arbitrary<Action> = fc.oneof(
	fc.constantFrom(
		{ do: "enter" } as const,
		{ do: "leave" } as const,
		{ do: "guest" } as const,
		{
			do: "event",
		} as const,
	),
	fc.record({ do: fc.constant("step" as const), loop: fc.nat(2), node: fc.nat(NODE_KINDS.length - 1) }),
	fc.record({
		do: fc.constant("op" as const),
		op: fc.constantFrom(...(Object.keys(OPS) as (keyof typeof OPS)[])),
		interrupts: fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, fc.integer({ min: 1, max: 2 })),
	}),
	fc.record({ do: fc.constant("code" as const), cycles: fc.constantFrom(0.25, 1, 7.5, 1000) }),
	fc.record({ do: fc.constant("state" as const), state: fc.nat(STATES.length - 1) }),
);

class Simulator {
	private readonly columns = {
		kind: [],
		text: [],
		cycles: [],
		state: [],
		node: [],
		call: [],
		loop: [],
	} as Record<"kind" | "text" | "cycles" | "state" | "node" | "call" | "loop", number[]>;
	private readonly texts: string[] = [];
	private readonly calls: { -readonly [K in keyof CallRecord]: CallRecord[K] }[] = [];
	private readonly open: number[] = [];
	private readonly stays: GuestStay[] = [];
	private cycles = 0;
	private state = 0;

	private get count(): number {
		return this.columns.kind.length;
	}

	private frame(kind: FrameKind, text: string, node = 0, loop = 0): void {
		const { columns } = this;
		columns.kind.push(FRAME_KINDS.indexOf(kind));
		columns.text.push(this.texts.push(text) - 1);
		columns.cycles.push(this.cycles);
		columns.state.push(this.state);
		columns.node.push(node);
		columns.call.push((this.open.at(-1) ?? -1) + 1);
		columns.loop.push(loop);
	}

	private enter(name: string): void {
		const parent = this.open.at(-1) ?? -1;
		const at = { fromFrame: this.count, toFrame: 0, fromCycles: this.cycles, toCycles: 0 };
		this.open.push(this.calls.push({ name, parent, ...at }) - 1);
	}

	private leave(): void {
		const call = this.open.pop();
		if (call === undefined) return;
		this.calls[call]!.toFrame = this.count;
		this.calls[call]!.toCycles = this.cycles;
	}

	do(one: Action): void {
		switch (one.do) {
			case "enter":
				this.enter(`f${this.calls.length}`);
				break;
			case "leave":
				this.leave();
				break;
			case "guest": {
				const from = { fromFrame: this.count, fromCycles: this.cycles };
				this.frame("guest", "invd");
				this.cycles += 3;
				this.stays.push({ ...from, toFrame: this.count, toCycles: this.cycles, reason: "INVD" });
				break;
			}
			case "event":
				this.frame("event", "NMI arrives");
				break;
			case "step":
				this.frame("step", `step ${this.count}`, one.node, this.open.length === 0 ? 0 : one.loop);
				break;
			case "op":
				this.frame("op", one.op);
				for (let n = 0; n < one.interrupts; n++) {
					this.enter("exc_nmi");
					this.frame("op", "wrmsr");
					this.cycles += OPS.wrmsr;
					this.leave();
				}
				this.cycles += OPS[one.op];
				break;
			case "code":
				this.cycles += one.cycles;
				break;
			case "state":
				this.state = one.state;
				break;
			default:
				one satisfies never;
		}
	}

	finish(): RunFrames {
		while (this.open.length > 0) this.leave();
		const { columns } = this;
		return {
			count: this.count,
			kind: Uint8Array.from(columns.kind),
			text: Uint32Array.from(columns.text),
			ops: new Uint32Array(this.count),
			cycles: Float64Array.from(columns.cycles),
			state: Uint32Array.from(columns.state),
			node: Uint8Array.from(columns.node),
			call: Uint32Array.from(columns.call),
			loop: Uint32Array.from(columns.loop),
			rip: new BigUint64Array(this.count),
			texts: this.texts,
			states: STATES,
			lanes: ["XCR0"],
			loops: LOOPS,
			calls: this.calls,
			stays: this.stays,
			opCycles: OPS,
			endCycles: this.cycles,
			endState: this.state,
			end: "the end",
		};
	}
}

/** Any run. */
export const anyRun: fc.Arbitrary<RunFrames> = fc.array(action, { maxLength: 60 }).map((actions) => {
	const simulator = new Simulator();
	for (const one of actions) simulator.do(one);
	return simulator.finish();
});
