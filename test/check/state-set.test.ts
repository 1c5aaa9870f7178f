import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { StateSet } from "../../src/check/search/state-set.ts";

const word = fc.oneof(fc.integer(), fc.constantFrom(0, 1, -1, 0x7fff_ffff));

describe("a set of states", () => {
	it("knows what a plain one knows, when it grows, and behind a copy", () => {
		fc.assert(
			fc.property(fc.array(fc.tuple(word, word), { maxLength: 200 }), fc.nat(200), (hashes, copiedAt) => {
				let set = new StateSet(2);
				const plain = new Set<string>();
				for (const [at, [high, low]] of hashes.entries()) {
					if (at === copiedAt) set = set.copy();
					// No hash is two zeros: it counts as 0, 1.
					const name = high === 0 && low === 0 ? "0 1" : `${high} ${low}`;
					expect(set.add(high, low)).toBe(!plain.has(name));
					plain.add(name);
					expect(set.size).toBe(plain.size);
				}
			}),
		);
	});
});
