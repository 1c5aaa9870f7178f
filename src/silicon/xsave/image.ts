/** An XSAVE area outside of the register file: the memory operand of XSAVE and XRSTOR. */
import { XSAVE_FIXED_BYTES } from "../cpu/state-components.ts";

/** Bytes of the largest area that any model uses: compacted with every component. */
export const XSAVE_IMAGE_BYTES = 11_136;

/** A byte area with the view that the copies use. The host keeps one per task and per guest FPU. */
export class XsaveImage {
	readonly bytes: Uint8Array;
	readonly words: Uint32Array;

	/** @param size bytes; a multiple of 64, at least 576 */
	constructor(size: number = XSAVE_IMAGE_BYTES) {
		if (size < XSAVE_FIXED_BYTES || size % 64 !== 0) {
			throw new RangeError(
				`XSAVE image of ${size} bytes: want a multiple of 64, at least ${XSAVE_FIXED_BYTES}`,
			);
		}
		this.bytes = new Uint8Array(size);
		this.words = new Uint32Array(this.bytes.buffer);
	}

	/** XSTATE_BV; its upper half is in `words[129]`. */
	get xstateBv(): number {
		return this.words[128]!;
	}
	set xstateBv(value: number) {
		this.words[128] = value;
		this.words[129] = 0;
	}
	/** Low half of XCOMP_BV. */
	get xcompBv(): number {
		return this.words[130]!;
	}
	/** XCOMP_BV bit 63: the compacted format. */
	get compacted(): boolean {
		return this.words[131]! >>> 31 !== 0;
	}
	/** Sets XCOMP_BV for the compacted format with these components. */
	setCompacted(components: number): void {
		this.words[130] = components;
		this.words[131] = 0x80000000;
	}
}
