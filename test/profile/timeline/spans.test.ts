import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { bandsOf } from "../../../src/profile/timeline/bands.ts";
import { FRAME_KINDS } from "../../../src/profile/timeline/frames.ts";
import { type Span, SPAN_LANES, spansOf } from "../../../src/profile/timeline/spans.ts";
import { anyRun } from "./random-run.ts";

/** The slice around each one, by the order and the depths alone; fails where the order is none of a tree. */
function parents(spans: readonly Span[]): (Span | null)[] {
	const around: Span[] = [];
	return spans.map((span) => {
		expect(span.depth).toBeLessThanOrEqual(around.length);
		around.length = span.depth;
		const parent = around.at(-1) ?? null;
		around.push(span);
		return parent;
	});
}

describe("the slices of a lane", () => {
	it.each(SPAN_LANES)("%s: lie beside one another or in one another", (lane) => {
		fc.assert(
			fc.property(anyRun, (run) => {
				const spans = spansOf(run).filter((span) => span.lane === lane);
				const last = new Map<Span | null, Span>();
				for (const [at, parent] of parents(spans).entries()) {
					const span = spans[at]!;
					expect(span.toCycles).toBeGreaterThanOrEqual(span.fromCycles);
					if (parent !== null) {
						expect(span.fromCycles).toBeGreaterThanOrEqual(parent.fromCycles);
						expect(span.toCycles).toBeLessThanOrEqual(parent.toCycles);
					}
					const before = last.get(parent);
					if (before !== undefined) expect(span.fromCycles).toBeGreaterThanOrEqual(before.toCycles);
					last.set(parent, span);
				}
			}),
			{ numRuns: 150 },
		);
	});

	it("have every op and every call of the run once, and each op as long as it costs", () => {
		fc.assert(
			fc.property(anyRun, (run) => {
				const spans = spansOf(run);
				const ops = [...run.kind].filter((kind) => FRAME_KINDS[kind] === "op").length;
				const drawn = spans.filter(({ kind }) => kind === "op");
				expect(drawn.length).toBe(ops);
				for (const { name, fromCycles, toCycles } of drawn)
					expect(toCycles - fromCycles).toBeCloseTo(run.opCycles[name]!, 6);
				const functions = spans.filter(({ kind }) => kind === "function");
				expect(functions.map(({ name }) => name).sort()).toEqual(run.calls.map(({ name }) => name).sort());
			}),
			{ numRuns: 150 },
		);
	});
});

describe("a band", () => {
	it("covers the run without gaps, and changes where it says", () => {
		fc.assert(
			fc.property(anyRun, (run) => {
				for (const { segments } of bandsOf(run)) {
					expect(segments.at(-1)?.toCycles ?? 0).toBe(run.endCycles);
					for (const [at, segment] of segments.entries()) {
						const before = segments[at - 1];
						expect(segment.fromCycles).toBe(before?.toCycles ?? 0);
						expect(segment.toCycles).toBeGreaterThan(segment.fromCycles);
						if (before !== undefined)
							expect(`${segment.value} ${segment.whose}`).not.toBe(`${before.value} ${before.whose}`);
					}
				}
			}),
		);
	});
});
