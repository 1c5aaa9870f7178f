/** Seeded random numbers: SplitMix32. */

/** @param seed any number; its low 32 bits count @returns a function that gives numbers from 0 up to, not including, 1 */
export function makeRandom(seed: number): () => number {
	let state = seed | 0;
	return () => {
		state = (state + 0x9e37_79b9) | 0;
		let z = Math.imul(state ^ (state >>> 16), 0x21f0_aaad);
		z = Math.imul(z ^ (z >>> 15), 0x735a_2d97);
		return ((z ^ (z >>> 15)) >>> 0) / 2 ** 32;
	};
}
