/** Floating-point operands that reach every branch: all exponents, few significant bits, long runs of ones, neighbours. */
import { Random } from "../translate/random.ts";

/** A generator of bit patterns. */
export class Numbers {
	readonly random: Random;

	constructor(seed: number) {
		this.random = new Random(seed);
	}
	/** 64 bits of a double. */
	f64(): bigint {
		const { random } = this;
		const bits = random.bits64();
		const sign = bits & (1n << 63n);
		const fraction = random.oneIn(3) ? (bits & 0xfn) << BigInt(random.below(49)) : bits & 0xfffffffffffffn;
		switch (random.below(10)) {
			case 0:
				return sign | fraction;
			case 1:
				return sign | (0x7ffn << 52n) | (random.oneIn(3) ? fraction : 0n);
			case 2:
				return sign;
			case 3:
				return sign | (BigInt(1 + random.below(60)) << 52n) | fraction;
			case 4:
				return sign | (BigInt(1990 + random.below(57)) << 52n) | fraction;
			case 5:
				return sign | (BigInt(1000 + random.below(50)) << 52n) | 0xfffffffffffffn;
			default:
				return sign | (BigInt(990 + random.below(66)) << 52n) | fraction;
		}
	}
	/** 32 bits of a single. */
	f32(): number {
		const { random } = this;
		const bits = random.next() >>> 0;
		const sign = bits & 0x80000000;
		const fraction = random.oneIn(3) ? (bits & 0xf) << random.below(20) : bits & 0x7fffff;
		switch (random.below(10)) {
			case 0:
				return (sign | fraction) >>> 0;
			case 1:
				return (sign | 0x7f800000 | (random.oneIn(3) ? fraction : 0)) >>> 0;
			case 2:
				return sign >>> 0;
			case 3:
				return (sign | ((1 + random.below(40)) << 23) | fraction) >>> 0;
			case 4:
				return (sign | ((220 + random.below(35)) << 23) | fraction) >>> 0;
			case 5:
				return (sign | ((110 + random.below(30)) << 23) | 0x7fffff) >>> 0;
			default:
				return (sign | ((107 + random.below(40)) << 23) | fraction) >>> 0;
		}
	}
}
