/** What a recording is: plain data, one frame for everything that happened, in order. */
import type { VmmResult } from "../../kvm/api/vmm.ts";
import type { RunFrames } from "../../profile/timeline/frames.ts";

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

export interface Recording extends RunFrames {
	/** Per frame: index into `stacks`. */
	readonly stack: Uint32Array;
	/** Per frame: index of a set of guest registers. */
	readonly registers: Uint32Array;
	/** Call stacks, outermost function first, joined by " › ". */
	readonly stacks: readonly string[];
	/** Sets of guest registers, one behind the other. */
	readonly registerSets: BigUint64Array;
	/** Instructions of the guest that were seen, by address. */
	readonly code: readonly { readonly rip: bigint; readonly text: string }[];
	/** The run was cut short. */
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
