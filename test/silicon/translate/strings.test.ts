/** String instructions with and without REP: forward, backward, over page ends, overlapping, faulting half way. */
import { describe, expect, test } from "vitest";
import { CODE, Differential, type Start } from "./differential.ts";
import { Random } from "./random.ts";

const NAMES: Readonly<Record<string, number>> = {
	MOVS: 0xa4,
	CMPS: 0xa6,
	STOS: 0xaa,
	LODS: 0xac,
	SCAS: 0xae,
};
const PREFIXES = [[], [0xf3], [0xf2]] as const;

function encode(opcode: number, prefix: readonly number[], bytes: number, narrow: boolean): number[] {
	const size = bytes === 2 ? [0x66] : [];
	const rex = bytes === 8 ? [0x48] : [];
	return [...(narrow ? [0x67] : []), ...size, ...prefix, ...rex, bytes === 1 ? opcode : opcode | 1];
}

/** Where an operand begins: anywhere, at a page's end, before the read-only page, or before and behind the window. */
function place(random: Random, { from, to }: { from: number; to: number }): number {
	const middle = (from + to) >> 1;
	switch (random.below(8)) {
		case 0:
			return middle + 0x1000 - random.below(40);
		case 1:
			return to - 0x2000 - random.below(64);
		case 2:
			return to - random.below(64);
		case 3:
			return from + random.below(64);
		default:
			return middle + random.below(0x1800);
	}
}

for (const bitness of [64, 32] as const) {
	describe(`${bitness}-bit mode`, () => {
		for (const [name, opcode] of Object.entries(NAMES)) {
			test(name, () => {
				const pair = new Differential(bitness);
				const random = new Random(opcode);
				const { window } = pair;
				const blank = new Uint8Array(0x1800);
				for (const bytes of bitness === 64 ? [1, 2, 4, 8] : [1, 2, 4]) {
					for (const prefix of PREFIXES) {
						for (const narrow of [false, true]) {
							pair.code(encode(opcode, prefix, bytes, narrow));
							for (let round = 0; round < 14; round++) {
								// Equal bytes, so that REPE goes on for a while.
								const begin = start(random, window, bitness, narrow);
								if (random.oneIn(2)) pair.fill(((window.from + window.to) >> 1) + 0x200, blank);
								const wrong = pair.run(begin);
								if (wrong === null || wrong.length === 0) continue;
								const regs = begin.regs.map((value) => value.toString(16)).join(" ");
								expect([name, bytes, ...prefix, narrow, regs, begin.flags, ...wrong]).toEqual([]);
							}
						}
					}
				}
				expect(pair.compared).toBeGreaterThan(200);
				expect(pair.faults).toBeGreaterThan(5);
			});
		}
	});
}

function start(
	random: Random,
	window: { from: number; to: number },
	bitness: 32 | 64,
	narrow: boolean,
): Start {
	const regs = Array.from({ length: 16 }, () => BigInt.asUintN(bitness, random.value()));
	if (bitness === 32) regs.fill(0n, 8);
	const addressBits = BigInt(narrow ? bitness / 2 : bitness);
	// What lies above the address size does not matter, and is kept or cleared as for any register.
	const above = (value: number) =>
		BigInt.asUintN(bitness, ((random.bits64() >> addressBits) << addressBits) | BigInt(value));
	const [source, destination] = [place(random, window), place(random, window)];
	regs[6] = above(source);
	regs[7] = above(random.oneIn(3) ? source + random.below(20) - 10 : destination);
	regs[1] = above(random.pick([0, 1, 2, 3, 7, 64, 65, 300, 1500]));
	if (random.oneIn(2)) regs[0] = 0n;
	regs[4] = BigInt(window.from + 0x800);
	return { regs, flags: 2 | (random.next() & 0x8d5) | (random.oneIn(3) ? 0x400 : 0) };
}

test("a segment override moves the source, never the destination", () => {
	const pair = new Differential(32, [0x100n, 0n, 0n, 0x200n, 0x300n, 0x400n]);
	for (const code of [
		[0x64, 0xf3, 0xa4],
		[0x65, 0xa5],
		[0x26, 0xac],
		[0x64, 0xa6],
		[0xf3, 0xaa],
	]) {
		pair.code(code);
		const regs = [0x55n, 9n, 0n, 0n, 0x8000n, 0n, 0x5000n, 0x6000n, ...new Array<bigint>(8).fill(0n)];
		expect(pair.run({ regs, flags: 2 })).toEqual([]);
	}
});

test("REP STOS over its own code writes all of it, and what it wrote runs", () => {
	const pair = new Differential(64);
	// rep stosb; nop × 6: the nops become what AL says (INC EAX would need two bytes, so CLC).
	pair.code([0xf3, 0xaa, ...new Array<number>(6).fill(0x90)]);
	const regs = new Array<bigint>(16).fill(0n);
	regs[0] = 0xf9n;
	regs[1] = 6n;
	regs[7] = BigInt(CODE + 2);
	expect(pair.run({ regs, flags: 2 })).toEqual([]);
	expect(pair.reference.flags & 1).toBe(1);
});
