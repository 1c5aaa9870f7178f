/** The file is read by a foreign model of Chrome's traces, and held to its types. */
import type { TraceEvent } from "@tracerbench/trace-event";
import { buildModel } from "@tracerbench/trace-model";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { ChromeFile } from "../../../src/profile/exports/chrome.ts";
import { chromeTimeline } from "../../../src/profile/timeline/chrome.ts";
import { SPAN_LANES } from "../../../src/profile/timeline/spans.ts";
import { timelineRun } from "../../../src/profile/timeline/timeline.ts";
import { anyRun } from "./random-run.ts";

const HZ = 2_500_000_000;
const names = { tree: "v6.18", vendor: "vmx", cpu: "emerald-rapids" };

/** Its model calls an instant I, as Chrome once did. */
function foreign(file: ChromeFile) {
	const events = file.traceEvents.map(({ ph, ...event }) => ({ ...event, ph: ph === "i" ? "I" : ph }));
	return buildModel(events as unknown as TraceEvent[]);
}

describe("the timeline as Chrome's JSON", () => {
	it("nests as the slices do, in each thread", () => {
		fc.assert(
			fc.property(anyRun, anyRun, (one, other) => {
				const runs = [timelineRun(names, one), timelineRun({ ...names, tree: "series-v2" }, other)];
				const model = foreign(chromeTimeline({ guest: "invd", hz: HZ, runs }));
				for (const [at, run] of runs.entries()) {
					const process = model.processes.find(({ id }) => id === at + 1)!;
					expect(process.name).toBe(`${run.tree} on vmx, emerald-rapids`);
					const thread = process.threads.find(({ name }) => name === "run loop");
					const slices = run.spans.filter(
						({ lane, toCycles, fromCycles }) => lane === "run loop" && toCycles > fromCycles,
					);
					const events = (thread?.events ?? []).filter((event) => event.isComplete() && event.duration > 0);
					expect(events.map(({ name }) => name)).toEqual(slices.map(({ name }) => name));
					for (const event of events) {
						if (event.parent === undefined) continue;
						expect(event.start).toBeGreaterThanOrEqual(event.parent.start - 1e-9);
						expect(event.end).toBeLessThanOrEqual(event.parent.end + 1e-9);
					}
				}
			}),
			{ numRuns: 60 },
		);
	});

	it("has microseconds from 0, and the cycles that they are made of", () => {
		fc.assert(
			fc.property(anyRun, (run) => {
				const { traceEvents } = chromeTimeline({ guest: "invd", hz: HZ, runs: [timelineRun(names, run)] });
				for (const { ph, ts, dur = 0, args } of traceEvents) {
					if (ph === "M") continue;
					expect(ts).toBeGreaterThanOrEqual(0);
					expect(ts).toBeCloseTo((Number(args.fromCycles) * 1e6) / HZ, 5);
					if (ph === "X") expect(dur).toBeCloseTo((Number(args.cycles) * 1e6) / HZ, 5);
				}
			}),
			{ numRuns: 60 },
		);
	});

	it("has a thread for each lane and each register, in the order in which they are drawn", () => {
		const [run] = fc.sample(anyRun, { numRuns: 1, seed: 5 });
		const { traceEvents } = chromeTimeline({ guest: "invd", hz: HZ, runs: [timelineRun(names, run!)] });
		const threads = traceEvents.filter(({ name }) => name === "thread_name").map(({ args }) => args.name);
		expect(threads).toEqual([...SPAN_LANES, "XCR0"]);
	});
});
