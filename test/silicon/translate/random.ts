/** Seeded random choices, and numbers that like the edges where flags change. */
export class Random {
	private state: number;
	constructor(seed: number) {
		this.state = seed >>> 0;
	}
	/** 0 to 2^32 - 1 (mulberry32). */
	next(): number {
		this.state = (this.state + 0x6d2b79f5) >>> 0;
		let t = this.state;
		t = Math.imul(t ^ (t >>> 15), t | 1);
		t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
		return (t ^ (t >>> 14)) >>> 0;
	}
	/** 0 to bound - 1. */
	below(bound: number): number {
		return this.next() % bound;
	}
	pick<T>(from: readonly T[]): T {
		return from[this.below(from.length)]!;
	}
	/** True once in n. */
	oneIn(n: number): boolean {
		return this.below(n) === 0;
	}
	bits64(): bigint {
		return (BigInt(this.next()) << 32n) | BigInt(this.next());
	}
	/** A 64-bit number, half of the time next to an edge of some operand size. */
	value(): bigint {
		if (this.oneIn(2)) return this.bits64();
		const edge = 1n << BigInt(this.pick([0, 3, 4, 7, 8, 15, 16, 31, 32, 63, 64]));
		const near = BigInt.asUintN(64, edge + BigInt(this.below(5) - 2));
		// What lies above the edge's own size is random in half of those.
		const low = BigInt(this.pick([8, 16, 32, 64]));
		const mask = (1n << low) - 1n;
		return this.oneIn(2) ? near : (this.bits64() & ~mask & (2n ** 64n - 1n)) | (near & mask);
	}
}
