import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Differences } from "../../src/check/search/differences.ts";

const LARGE_WORDS = 90;

describe("a search's comparison of memory", () => {
	it("finds what a plain one finds, in blocks of any length that take turns with another machine's", () => {
		const block = fc.record({
			before: fc.array(fc.integer({ min: 0, max: 2 }), { maxLength: LARGE_WORDS }),
			first: fc.nat(3),
			changes: fc.array(fc.tuple(fc.nat(LARGE_WORDS), fc.constantFrom(0, 1, 0x8000_0000, 0xffff_ffff)), {
				maxLength: 8,
			}),
			used: fc.nat(LARGE_WORDS),
		});
		const machine = fc.array(block, { maxLength: 6 });
		fc.assert(
			fc.property(fc.array(machine, { minLength: 1, maxLength: 3 }), (machines) => {
				const made = machines.map((blocks) => {
					const words = blocks.map(({ before, first }) => {
						const all = new Uint32Array(first + before.length + 2);
						all.set(before, first);
						return { words: all, first, count: before.length };
					});
					return { blocks, words, differences: new Differences(words) };
				});
				for (let round = 0; round < 3; round++) {
					for (const { blocks, words, differences } of made) {
						const list = differences.claim();
						for (const [at, { before, first, changes, used }] of blocks.entries()) {
							const now = words[at]!.words;
							for (const [word, value] of changes.slice(round))
								if (word < before.length) now[first + word] = value;
							const looked = Math.max(0, Math.min(used - round, before.length));
							const plain = before.flatMap((value, word) =>
								word < looked && now[first + word] !== value ? [word] : [],
							);
							expect([...list.slice(0, differences.find(at, looked))]).toEqual(plain);
						}
					}
				}
			}),
			{ seed: 4 },
		);
	});
});
