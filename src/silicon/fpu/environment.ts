/** What floating-point operations are controlled by and report: rounding, masks, exception flags (SDM Vol. 1, 4.9 and 11.5). */

/** Exception flags, in the bits that MXCSR and the x87 status word share. */
export const EXCEPTION = {
	invalid: 1,
	denormal: 2,
	zeroDivide: 4,
	overflow: 8,
	underflow: 16,
	precision: 32,
} as const;
/** All six. */
export const ALL_EXCEPTIONS = 63;
/** Those that are found before anything is computed. */
export const BEFORE_COMPUTATION = EXCEPTION.invalid | EXCEPTION.denormal | EXCEPTION.zeroDivide;

/** Values of the rounding-control field. */
export const ROUNDING = { nearest: 0, down: 1, up: 2, zero: 3 } as const;

/** Rounding, masks and flags of one unit. One object is kept and used again for every operation. */
export class FpuEnvironment {
	/** x87's rules: its choice among NaNs, and results scaled rather than left out when overflow or underflow is unmasked. */
	readonly x87: boolean;
	/** One of ROUNDING. */
	rounding: number = ROUNDING.nearest;
	/** EXCEPTION bits that are masked. */
	masks: number = ALL_EXCEPTIONS;
	/** MXCSR.DAZ: denormal operands are zeros. */
	denormalsAreZero = false;
	/** MXCSR.FTZ: tiny results are zeros, as long as underflow is masked. */
	flushToZero = false;
	/** EXCEPTION bits raised since `begin`. */
	flags = 0;
	/** The last rounding was away from zero: C1 of the x87 status word. */
	roundedUp = false;

	constructor(x87: boolean) {
		this.x87 = x87;
	}

	/** Begins an instruction: no exceptions yet. */
	begin(): void {
		this.flags = 0;
		this.roundedUp = false;
	}

	/**
	 * Takes the control fields from MXCSR, without its flags, and begins an instruction.
	 * @param mxcsr DAZ bit 6, masks 12:7, rounding 14:13, FTZ bit 15
	 */
	beginSse(mxcsr: number): void {
		this.rounding = (mxcsr >>> 13) & 3;
		this.masks = (mxcsr >>> 7) & ALL_EXCEPTIONS;
		this.denormalsAreZero = (mxcsr & 0x40) !== 0;
		this.flushToZero = (mxcsr & 0x8000) !== 0;
		this.begin();
	}

	/**
	 * Ends an instruction: where an exception found before the computation is unmasked, none of the others was raised, in
	 * any element (SDM Vol. 1, 11.5.4). x87: the same.
	 * @returns the flags; the instruction has no result if `flags & ~masks` is not 0 (SSE)
	 */
	end(): number {
		if ((this.flags & BEFORE_COMPUTATION & ~this.masks) !== 0) this.flags &= BEFORE_COMPUTATION;
		return this.flags;
	}
}
