import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { packText, unpackText } from "../../src/web/state/pack.ts";
import { DEFAULT_STATE, TABS, readHash, writeHash } from "../../src/web/state/url.ts";

describe("the page's address", () => {
	it("holds the whole state: what is written is read", () => {
		const text = fc.string();
		const state = fc.record({
			tab: fc.constantFrom(...TABS),
			tree: text,
			with: text,
			vendor: fc.constantFrom("vmx" as const, "svm" as const, "tdx" as const),
			patch: text,
			step: text,
			guest: text,
			image: text,
			events: text,
			configuration: text,
			cpu: text,
			model: text,
			at: fc.nat(),
			costs: text,
		});
		fc.assert(
			fc.property(state, (one) => {
				expect(readHash(writeHash(one))).toEqual(one);
			}),
		);
	});

	it("is short where everything is at its default, and nonsense reads as the default", () => {
		expect(writeHash(DEFAULT_STATE)).toBe("#loop");
		expect(readHash("")).toEqual(DEFAULT_STATE);
		expect(readHash("#nowhere?at=-3&vendor=via")).toEqual(DEFAULT_STATE);
	});

	it("carries a patch as packed text, and says so when it is broken", async () => {
		await fc.assert(
			fc.asyncProperty(fc.string({ unit: "grapheme" }), async (text) => {
				expect(await unpackText(await packText(text))).toBe(text);
			}),
			{ numRuns: 30 },
		);
		expect(await unpackText("nonsense!")).toBeNull();
	});
});
