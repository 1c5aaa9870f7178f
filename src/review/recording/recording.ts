/** What a recording is: plain data, one frame for everything that happened, in order. */
import type { VmmResult } from "../../kvm/api/vmm.ts";

/** What a frame shows. */
export const FRAME_KINDS = ["step", "op", "guest", "event", "violation"] as const;
export type FrameKind = (typeof FRAME_KINDS)[number];

/** Words of a set of guest registers: the sixteen general ones in encoding order, RIP, RFLAGS. */
export const REGISTER_NAMES = [
	"RAX",
	"RCX",
	"RDX",
	"RBX",
	"RSP",
	"RBP",
	"RSI",
	"RDI",
	"R8",
	"R9",
	"R10",
	"R11",
	"R12",
	"R13",
	"R14",
	"R15",
	"RIP",
	"RFLAGS",
] as const;

export interface Recording {
	/** Number of frames. */
	readonly count: number;
	/** Per frame: index into FRAME_KINDS. */
	readonly kind: Uint8Array;
	/** Per frame: index into `texts` of what happened: the step's or op's name, the instruction, the event, the violation. */
	readonly text: Uint32Array;
	/** Per frame: ops so far, which is what an event's `at` counts. */
	readonly ops: Uint32Array;
	/** Per frame: cycles so far. */
	readonly cycles: Float64Array;
	/** Per frame: index into `stacks`. */
	readonly stack: Uint32Array;
	/** Per frame: index into `states`. */
	readonly state: Uint32Array;
	/** Per frame: index of a set of guest registers. */
	readonly registers: Uint32Array;
	readonly texts: readonly string[];
	/** Call stacks, outermost function first, joined by " › ". */
	readonly stacks: readonly string[];
	/** What each of `lanes` held: its value, and whose it is. */
	readonly states: readonly (readonly { readonly value: string; readonly whose: string }[])[];
	readonly lanes: readonly string[];
	/** Sets of guest registers, one behind the other. */
	readonly registerSets: BigUint64Array;
	/** Instructions of the guest that were seen, by address. */
	readonly code: readonly { readonly rip: bigint; readonly text: string }[];
	/** How the run ended, in one line; it was cut short if `isCut`. */
	readonly end: string;
	readonly isCut: boolean;
	readonly exits: number;
	readonly violations: readonly {
		readonly property: string;
		readonly detail: string;
		readonly callStack: readonly string[];
		readonly frame: number;
	}[];
}

/** How a run ended, in words. */
export function endText(end: VmmResult): string {
	switch (end.kind) {
		case "exit":
			return `the guest ended with exit code ${end.code}`;
		case "entry-failure":
		case "internal-error":
			return `${end.kind}: ${end.message}`;
		case "budget":
			return "the recording was cut here";
		default:
			return `the guest ended by ${end.kind}`;
	}
}
