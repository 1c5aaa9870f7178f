/** Random contents of vector registers and of MXCSR: integers at the edges of lanes, floating-point numbers of every kind. */
import type { Instance } from "./encodings.ts";
import type { Random } from "./random.ts";

const EDGES32 = [0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 0x00010001, 0x7fff8000, 0x80808080, 0x7f7f7f7f];
// Zero, smallest and largest denormal and normal, one, infinity, quiet and signaling NaN, and near the integers' limits.
const SINGLES = [
	0, 1, 0x7fffff, 0x800000, 0x800001, 0x7f7fffff, 0x3f800000, 0x7f800000, 0x7fc00001, 0x7f800001, 0x7fc00000,
	0x4f000000, 0x4effffff, 0x5f000000, 0x3f000000, 0x3effffff, 0x4b000001,
];
const DOUBLES = [
	0n,
	1n,
	0xfffffffffffffn,
	0x10000000000000n,
	0x10000000000001n,
	0x7fefffffffffffffn,
	0x3ff0000000000000n,
	0x7ff0000000000000n,
	0x7ff8000000000001n,
	0x7ff0000000000001n,
	0x41dfffffffc00000n,
	0x41e0000000000000n,
	0xc1e0000000000000n,
	0xc1e0000000200000n,
	0x43e0000000000000n,
	0x3fe0000000000000n,
	0x4330000000000001n,
	0x36a0000000000000n,
	0x3810000000000000n,
	0x380fffffffffffffn,
	0x47f0000000000000n,
	0x47efffffffffffffn,
];

function single(random: Random): number {
	const sign = random.oneIn(2) ? 0x80000000 : 0;
	switch (random.below(4)) {
		case 0:
			return (random.pick(SINGLES) | sign) >>> 0;
		case 1:
			// Near one, so that sums cancel and products stay in range.
			return (((0x7f + random.below(9) - 4) << 23) | (random.next() & 0x7fffff) | sign) >>> 0;
		case 2:
			// Few significant bits: exact results.
			return (((0x7f + random.below(5) - 2) << 23) | ((random.next() & 7) << 20) | sign) >>> 0;
		default:
			return random.next();
	}
}

function double(random: Random): bigint {
	const sign = random.oneIn(2) ? 1n << 63n : 0n;
	const mantissa = random.bits64() & 0xfffffffffffffn;
	switch (random.below(4)) {
		case 0:
			return random.pick(DOUBLES) | sign;
		case 1:
			return (BigInt(0x3ff + random.below(9) - 4) << 52n) | mantissa | sign;
		case 2:
			return (BigInt(0x3ff + random.below(5) - 2) << 52n) | (mantissa & (7n << 49n)) | sign;
		default:
			return random.bits64();
	}
}

function quadword(random: Random): bigint {
	switch (random.below(6)) {
		case 0:
			return random.bits64();
		case 1:
			return random.value();
		case 2:
			return (BigInt(random.pick(EDGES32)) << 32n) | BigInt(random.pick(EDGES32));
		case 3:
			return (BigInt(single(random)) << 32n) | BigInt(single(random));
		case 4:
			return double(random);
		default: {
			// Small numbers in every byte: indices and shift counts.
			return (
				random.bits64() &
				random.pick([0x0f0f0f0f0f0f0f0fn, 0x3f0000003fn, 0x7n, 0x4041n, 0x8f8f8f8f8f8f8f8fn])
			);
		}
	}
}

/** YMM0 to YMM15. Some hold the same. @param indices register that holds small signed indices of a size in bytes */
export function randomVectors(random: Random, indices: Instance["indices"] = null): Uint8Array {
	const vectors = new Uint8Array(512);
	const view = new DataView(vectors.buffer);
	const floats = random.below(3);
	for (let at = 0; at < 512; at += 8) {
		if (at >= 32 && random.oneIn(6)) view.setBigUint64(at, view.getBigUint64(at - 32, true), true);
		else if (floats === 1) view.setBigUint64(at, double(random), true);
		else if (floats === 2) {
			view.setUint32(at, single(random), true);
			view.setUint32(at + 4, single(random), true);
		} else view.setBigUint64(at, quadword(random), true);
	}
	if (indices === null) return vectors;
	for (let at = 0; at < 32; at += indices.bytes) {
		const index = BigInt(random.below(64) - 32);
		if (indices.bytes === 8) view.setBigInt64(indices.register * 32 + at, index, true);
		else view.setInt32(indices.register * 32 + at, Number(index), true);
	}
	return vectors;
}

/** MXCSR with everything masked as after reset, mostly; else any masks, rounding and modes. */
export function randomMxcsr(random: Random): number {
	if (random.oneIn(3)) return 0x1f80;
	if (random.oneIn(2)) return 0x1fa0;
	return random.oneIn(2) ? (random.next() & 0xe07f) | 0x1f80 : random.next() & 0xffff;
}
