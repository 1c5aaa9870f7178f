/** What the fuzzer's cases are made of. */
import type { Random } from "../silicon/translate/random.ts";

// biome-ignore format: opcodes by kind
const OPCODES: readonly (readonly number[])[] = [
	// System instructions: 0F 00, 0F 01, CR and DR moves, MSRs, CPUID, SYSCALL and its kin, XSAVE's family.
	[0x0f, 0x00], [0x0f, 0x01], [0x0f, 0x20], [0x0f, 0x21], [0x0f, 0x22], [0x0f, 0x23], [0x0f, 0x30], [0x0f, 0x32], [0x0f, 0xa2],
	[0x0f, 0x05], [0x0f, 0x07], [0x0f, 0x34], [0x0f, 0x35], [0x0f, 0xae], [0x0f, 0xc7], [0x0f, 0x08], [0x0f, 0x09], [0x0f, 0x31],
	// Far transfers and interrupts, segment loads, flags, HLT, ports.
	[0xcf], [0x48, 0xcf], [0xca], [0xcb], [0xcd], [0xcc], [0xf1], [0xff], [0x8e], [0x0f, 0xb2], [0x0f, 0xb4], [0x9d], [0xfa], [0xfb],
	[0xf4], [0xe4], [0xe6], [0xec], [0xee], [0x6c], [0x6e], [0xf3, 0x6c], [0xf3, 0x6f],
	// Strings, stack, branches, locked and wide memory operations, x87, SSE, VEX.
	[0xf3, 0xa4], [0xf3, 0xa5], [0xf3, 0xaa], [0xf2, 0xae], [0xa5], [0xc8], [0xc9], [0xe8], [0xe9], [0xeb], [0x74], [0xe2], [0xc3],
	[0xf0, 0x0f, 0xb1], [0xf0, 0x48, 0x0f, 0xc1], [0x48, 0x8b], [0x48, 0x89], [0x0f, 0x0b], [0xd8], [0xd9], [0xdb], [0xdd], [0xdf],
	[0x0f, 0x28], [0x66, 0x0f, 0x6f], [0x66, 0x0f, 0x38], [0x66, 0x0f, 0x3a], [0xc5, 0xf9], [0xc4, 0xe2, 0x7d], [0x0f, 0xff],
	[0x48, 0xf7], [0x48, 0xd3], [0x0f, 0xa4], [0x48, 0x0f, 0xbc], [0x67], [0x66], [0x65], [0x64], [0x48], [0x2e],
];

/** Bytes that are often the beginnings of interesting instructions. */
export function randomCode(random: Random, length: number): Uint8Array {
	const bytes = new Uint8Array(length);
	for (let at = 0; at < length; ) {
		const opcode = random.oneIn(4) ? [random.below(256)] : random.pick(OPCODES);
		for (const byte of opcode) if (at < length) bytes[at++] = byte;
		for (let count = random.below(6); count > 0 && at < length; count--) {
			// Small numbers make displacements that stay near.
			bytes[at++] = random.oneIn(3) ? random.below(16) : random.below(256);
		}
	}
	return bytes;
}

/** A copy with some bytes changed, bits flipped, or runs moved. */
export function mutate(random: Random, bytes: Uint8Array): Uint8Array {
	const copy = bytes.slice();
	if (copy.length === 0) return copy;
	for (let count = 1 + random.below(12); count > 0; count--) {
		const at = random.below(copy.length);
		switch (random.below(4)) {
			case 0:
				copy[at]! ^= 1 << random.below(8);
				break;
			case 1:
				copy[at] = random.below(256);
				break;
			case 2:
				copy.set(randomCode(random, Math.min(8, copy.length - at)), at);
				break;
			default: {
				const from = random.below(copy.length);
				copy.copyWithin(at, from, Math.min(copy.length, from + random.below(32)));
			}
		}
	}
	return copy;
}

/** Entries for the four tables of the long-mode protocol. @param ramBytes of the guest */
export function randomPageTables(
	random: Random,
	ramBytes: number,
): { readonly table: number; readonly index: number; readonly entry: bigint }[] {
	const entries: { table: number; index: number; entry: bigint }[] = [];
	for (let count = 1 + random.below(6); count > 0; count--) {
		const table = random.below(4);
		// The entries that translate the guest's own code and data, mostly.
		const index = random.oneIn(2) ? 0 : random.oneIn(2) ? 3 : random.below(512);
		const address = random.oneIn(4)
			? random.bits64() & 0x000f_ffff_ffff_f000n
			: BigInt(random.below(ramBytes) & ~0xfff);
		const flags = random.oneIn(3) ? random.below(0x1000) : 7 | (random.oneIn(3) ? 0x80 : 0);
		const high = random.oneIn(8) ? BigInt(random.below(0x1000)) << 52n : 0n;
		entries.push({ table, index, entry: high | address | BigInt(flags) });
	}
	return entries;
}
