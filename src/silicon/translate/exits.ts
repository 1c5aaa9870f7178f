/** Why a region returned to the dispatcher. The low byte of its result; the rest is an id. */
export const EXIT = {
	/** RIP names code that has no entry in the jump cache. No event is due here by definition. */
	next: 0,
	/** A point at which the deadline is checked, with CYCLES past the limit. */
	boundary: 1,
	/** An instruction that is not translated; the id finds its Insn. */
	system: 2,
	/** A slow path noted a fault; the id finds the site. */
	fault: 3,
	/** A store hit translated code; the site's instruction runs again, alone. */
	restart: 4,
	/** A cold region was entered often enough; nothing was executed. */
	hot: 5,
} as const;

/** How far a region may run past its entry without returning, in cycles. Lets V8 replace hot loops. */
export const STRETCH_CYCLES = 200_000;

/**
 * A place in a region that can fault: what the dispatcher needs to make the state block exact there.
 */
export interface Site {
	/** Offset in CS of the instruction. */
	readonly rip: bigint;
	/** Value for CC_OP, or -1 where the region's own local holds it (and was stored). */
	readonly ccOp: number;
	/** Instructions of the block before this one. */
	readonly instructions: number;
	/** Their cost in cycles. */
	readonly cycles: number;
}
