/** What a timeline is made from: one run of a vCPU, frame by frame, in order. review/recording/ writes it. */

/** What a frame shows. */
export const FRAME_KINDS = ["step", "op", "guest", "event", "violation"] as const;
export type FrameKind = (typeof FRAME_KINDS)[number];

/** What a step frame's node is: flow.ts's kinds. */
export const NODE_KINDS = ["step", "if", "loop", "break", "call", "return"] as const;

/** One call of a host function. Frames `fromFrame` to `toFrame - 1` lie in it. */
export interface CallRecord {
	/** The symbol. */
	readonly name: string;
	/** Index of the caller's record; -1 for the outermost. A caller stands before those that it calls. */
	readonly parent: number;
	readonly fromFrame: number;
	readonly toFrame: number;
	readonly fromCycles: number;
	readonly toCycles: number;
}

/** One stay of the vCPU in the guest. */
export interface GuestStay {
	readonly fromFrame: number;
	readonly toFrame: number;
	readonly fromCycles: number;
	readonly toCycles: number;
	/** Name of the exit reason that ended it; "" if it has not ended. */
	readonly reason: string;
}

/** What one lane (review/loaded.ts) holds. */
export interface LaneState {
	/** In hexadecimal; "" for a flag. */
	readonly value: string;
	/** host, guest, both, neither, on or off. */
	readonly whose: string;
}

/** A run. Cycles count from its beginning. */
export interface RunFrames {
	/** Number of frames. */
	readonly count: number;
	/** Per frame: index into FRAME_KINDS. */
	readonly kind: Uint8Array;
	/** Per frame: index into `texts` of what happened: the step's or op's name, the instruction, the event, the violation. */
	readonly text: Uint32Array;
	/** Per frame: ops so far, which is what an event's `at` counts. */
	readonly ops: Uint32Array;
	/** Per frame: cycles before it. */
	readonly cycles: Float64Array;
	/** Per frame: index into `states` of what the lanes held before it. */
	readonly state: Uint32Array;
	/** Per frame: index into NODE_KINDS; of steps alone. */
	readonly node: Uint8Array;
	/** Per frame: index into `calls` of the innermost function, plus 1; 0 outside of all. */
	readonly call: Uint32Array;
	/** Per frame of the guest: the instruction's address. */
	readonly rip: BigUint64Array;
	/** Per frame: index into `loops` of the loops of its flow that a step stands in. */
	readonly loop: Uint32Array;
	readonly texts: readonly string[];
	readonly states: readonly (readonly LaneState[])[];
	readonly lanes: readonly string[];
	/** Names of loops, outermost first. */
	readonly loops: readonly (readonly string[])[];
	readonly calls: readonly CallRecord[];
	readonly stays: readonly GuestStay[];
	/** Cycles of an op, by its name. */
	readonly opCycles: Readonly<Record<string, number>>;
	/** Behind the last frame. */
	readonly endCycles: number;
	readonly endState: number;
	/** How the run ended, in one line. */
	readonly end: string;
}
