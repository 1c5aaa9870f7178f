import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DEFAULT_CONFIGURATION } from "../../src/check/configuration.ts";
import { findTree } from "../../src/kvm/trees/trees.ts";
import { recordRun } from "../../src/review/recording/record.ts";
import type { Recording } from "../../src/review/recording/recording.ts";
import { defaultModel } from "../../src/silicon/models/models.ts";
import { compareRuns, leftOutBefore } from "../../src/web/run/quiet-diff.ts";

/** A recording of steps with one-letter names, as far as runs are compared. */
function steps(names: readonly string[]): Recording {
	const zeros = new Uint32Array(names.length);
	return {
		count: names.length,
		kind: new Uint8Array(names.length),
		text: Uint32Array.from(names.keys()),
		ops: zeros,
		cycles: new Float64Array(names.length),
		stack: zeros,
		state: zeros,
		registers: zeros,
		texts: names,
		stacks: [""],
		states: [[]],
		lanes: [],
		registerSets: new BigUint64Array(18),
		code: [],
		end: "",
		isCut: false,
		exits: 0,
		violations: [],
	} as unknown as Recording;
}

/** Length of the longest common subsequence, by the book. */
function longestCommon(a: readonly string[], b: readonly string[]): number {
	let row = new Array<number>(b.length + 1).fill(0);
	for (const one of a) {
		const next = [0];
		for (const [at, other] of b.entries())
			next.push(one === other ? row[at]! + 1 : Math.max(row[at + 1]!, next[at]!));
		row = next;
	}
	return row.at(-1)!;
}

describe("a run beside the run without events", () => {
	const letters = fc.array(fc.constantFrom("a", "b", "c", "d"), { maxLength: 40 });

	it("is paired in order, like with like, and as far as can be", () => {
		fc.assert(
			fc.property(letters, letters, (a, b) => {
				const { pairs, extra, missing, left } = compareRuns(steps(a), steps(b));
				let last = -1;
				for (const [at, pair] of pairs.entries()) {
					if (pair < 0) continue;
					expect(pair).toBeGreaterThan(last);
					expect(b[pair]).toBe(a[at]);
					last = pair;
				}
				const common = longestCommon(a, b);
				expect(a.length - extra).toBe(common);
				expect(b.length - missing).toBe(common);
				expect(left.reduce((sum, one) => sum + one, 0)).toBeLessThanOrEqual(missing);
			}),
			{ numRuns: 300 },
		);
	});

	it("names what was left out before a frame", () => {
		const quiet = steps(["a", "b", "c", "d"]);
		expect(leftOutBefore(compareRuns(steps(["a", "x", "d"]), quiet), quiet, 2)).toEqual(["b", "c"]);
	});

	it("shows what an NMI in version 1's guest adds, and nothing before it arrives", () => {
		const options = {
			tree: findTree("series-v1"),
			vendor: "svm" as const,
			model: defaultModel("svm"),
			configuration: DEFAULT_CONFIGURATION,
			image: null,
		};
		const quiet = recordRun({ ...options, schedule: [] });
		const run = recordRun({ ...options, schedule: [{ event: "nmi", at: 70 }] });
		const { pairs, extra, missing, differs } = compareRuns(run, quiet);
		const arrives = run.kind.indexOf(3);
		expect(pairs.slice(0, arrives)).toEqual(Int32Array.from({ length: arrives }, (_, at) => at));
		expect(differs.slice(0, arrives)).toEqual(new Uint8Array(arrives));
		expect(extra).toBeGreaterThan(2);
		expect(missing).toBeLessThan(extra);
		const own = [...pairs.keys()].filter((at) => pairs[at] === -1).map((at) => run.texts[run.text[at]!]);
		expect(own).toContain("NMI arrives");
	});
});
