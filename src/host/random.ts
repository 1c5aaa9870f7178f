/** Seeded random numbers: SplitMix32. */

/** A sequence of numbers, whose state goes into snapshots. */
export class Random {
	private state: number;

	/** @param seed any number; its low 32 bits count */
	constructor(seed: number) {
		this.state = seed | 0;
	}

	/** The next number from 0 up to, not including, 1. */
	next(): number {
		this.state = (this.state + 0x9e37_79b9) | 0;
		let z = Math.imul(this.state ^ (this.state >>> 16), 0x21f0_aaad);
		z = Math.imul(z ^ (z >>> 15), 0x735a_2d97);
		return ((z ^ (z >>> 15)) >>> 0) / 2 ** 32;
	}
}

/** The same as a function. @param seed any number; its low 32 bits count */
export function makeRandom(seed: number): () => number {
	const random = new Random(seed);
	return () => random.next();
}
