import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { quantile, summarize } from "../../src/measure/statistics.ts";

describe("a summary of samples", () => {
	it("has the median of a set that is known, whatever its order", () => {
		expect(summarize([5, 1, 9, 3, 7])).toMatchObject({ count: 5, median: 5, min: 1 });
		expect(summarize([4, 1, 2, 3]).median).toBe(2.5);
	});

	it("is ordered: minimum, interval, median, p99", () => {
		fc.assert(
			fc.property(fc.array(fc.double({ min: -1e6, max: 1e6, noNaN: true }), { minLength: 1 }), (samples) => {
				const { min, low, median, high, p99 } = summarize(samples);
				expect(min <= low && low <= median && median <= high && median <= p99).toBe(true);
			}),
		);
	});

	it("covers the true median in about 95 of 100 sets", () => {
		// Park and Miller's generator: uniform, so the true median is 1/2.
		let state = 1;
		const next = () => {
			state = (state * 48271) % 2147483647;
			return state / 2147483647;
		};
		let covered = 0;
		for (let set = 0; set < 2000; set++) {
			const { low, high } = summarize(Array.from({ length: 40 }, next));
			if (low <= 0.5 && 0.5 <= high) covered++;
		}
		expect(covered / 2000).toBeGreaterThan(0.94);
		expect(covered / 2000).toBeLessThan(0.985);
	});

	it("refuses an empty set", () => {
		expect(() => quantile([], 0.5)).toThrow(RangeError);
	});
});
