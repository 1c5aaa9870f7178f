import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Comparison } from "../../src/check/search/comparison.ts";

const LARGE_WORDS = 90;

describe("a search's comparison of memory", () => {
	it("finds what a plain one finds, in blocks of any length that take turns with another machine's", () => {
		const word = fc.constantFrom(0, 1, 0x8000_0000, 0xffff_ffff);
		const block = fc.record({
			saved: fc.array(word, { maxLength: LARGE_WORDS, size: "max" }),
			first: fc.nat(3),
			changes: fc.array(fc.tuple(fc.nat(LARGE_WORDS), word), { maxLength: 8 }),
			used: fc.nat(LARGE_WORDS),
		});
		const machine = fc.array(block, { maxLength: 6 });
		fc.assert(
			fc.property(fc.array(machine, { minLength: 1, maxLength: 3 }), (machines) => {
				const made = machines.map((blocks) => {
					const words = blocks.map(
						({ saved, first }) => new Uint32Array([...Array(first).fill(7), ...saved]),
					);
					const comparison = new Comparison(
						blocks.map(({ saved, first }, at) => ({ words: words[at]!, first, count: saved.length })),
					);
					const used = blocks.map(({ saved, used: wanted }) => Math.min(saved.length, wanted));
					const starts = used.map((_, at) => used.slice(0, at).reduce((sum, count) => sum + count, 0));
					comparison.use({
						words: Uint32Array.from(blocks.flatMap(({ saved }, at) => saved.slice(0, used[at]))),
						starts: Int32Array.from(starts),
						used: Int32Array.from(used),
					});
					return { blocks, words, comparison, used };
				});
				for (let round = 0; round < 2; round++) {
					for (const { blocks, words, comparison, used } of made) {
						comparison.begin();
						for (const [number, { saved, first, changes }] of blocks.entries()) {
							for (const [at, value] of changes) if (at < saved.length) words[number]![first + at] = value;
							const found = new Int32Array(LARGE_WORDS);
							const count = comparison.differences(number, used[number]!, found);
							const plain = saved.flatMap((value, at) =>
								at < used[number]! && words[number]![first + at] !== value ? [at] : [],
							);
							expect([...found.subarray(0, count)]).toEqual(plain);
						}
					}
				}
			}),
		);
	});

	it("finds the same in blocks that are compared as a whole, and takes nothing for words that another machine has left", () => {
		const block = fc.record({
			saved: fc.array(fc.nat(3), { maxLength: LARGE_WORDS, size: "max" }),
			changes: fc.array(fc.tuple(fc.nat(LARGE_WORDS), fc.nat(3)), { maxLength: 8 }),
		});
		fc.assert(
			fc.property(fc.array(fc.array(block, { maxLength: 4 }), { minLength: 2, maxLength: 3 }), (machines) => {
				for (const blocks of machines) {
					const saved = Uint32Array.from(blocks.flatMap((one) => one.saved));
					const words = blocks.map((one) => Uint32Array.from(one.saved));
					const counts = words.map(({ length }) => length);
					const starts = counts.map((_, at) => counts.slice(0, at).reduce((sum, count) => sum + count, 0));
					const comparison = new Comparison(
						words.map((all) => ({ words: all, first: 0, count: all.length })),
						words.length,
					);
					for (const [number, { changes }] of blocks.entries())
						for (const [at, value] of changes) words[number]![at] = value;
					comparison.use({ words: saved, starts: Int32Array.from(starts), used: Int32Array.from(counts) });
					comparison.begin();
					const [numbers, now] = [new Int32Array(saved.length), new Uint32Array(saved.length)];
					const count = comparison.whole(numbers, now);
					const found = Array.from({ length: count }, (_, at) => [numbers[at]!, now[at]!] as const);
					const machine = words.flatMap((all) => [...all]);
					const plain = machine.flatMap((word, at) => (word === saved[at] ? [] : [[at, word] as const]));
					expect(found.sort(([a], [b]) => a - b)).toEqual(plain);
				}
			}),
		);
	});
});
