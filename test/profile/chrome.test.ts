import type { TraceEvent } from "@tracerbench/trace-event";
import { buildModel } from "@tracerbench/trace-model";
import { describe, expect, it } from "vitest";
import { totals } from "../../src/profile/call-tree.ts";
import { chromeProfile } from "../../src/profile/exports/chrome.ts";
import { record } from "../../src/profile/record.ts";
import { findWorkload } from "../../src/profile/workloads/workloads.ts";
import { findTree } from "../../src/kvm/trees/trees.ts";
import { defaultModel } from "../../src/silicon/models/models.ts";

const model = defaultModel("vmx");
const { calls, periodCycles } = record({
	workload: findWorkload("invd"),
	tree: findTree("v6.18"),
	vendor: "vmx",
	model,
	iterations: 500,
	exact: true,
});

describe("a profile as Chrome's JSON", () => {
	it.each([
		["cycles", 1],
		["samples", periodCycles],
	] as const)(
		"of %s has the callers around what they call, and all cycles once",
		(weight, cyclesPerWeight) => {
			const file = chromeProfile(calls, "invd", weight, { hz: model.tscHz, cyclesPerWeight });
			const trace = buildModel(file.traceEvents as unknown as TraceEvent[]);
			const [process] = trace.processes;
			const [thread] = process!.threads;
			const events = thread!.events.filter((event) => event.isComplete());
			const whole = totals(calls, weight)[0]! * cyclesPerWeight;
			const outermost = events.filter(({ parent }) => parent === undefined);
			const sum = outermost.reduce((all, { args }) => all + Number(args.cycles), 0);
			expect(sum).toBeCloseTo(whole, 0);
			expect(trace.end).toBeCloseTo((whole * 1e6) / model.tscHz, 3);
			const entry = events.find(({ name }) => name === "vcpu_enter_guest");
			expect(entry?.parent?.name).toBe("vcpu_run");
		},
	);

	it("has times whose sums are exact: no slice ends behind the begin of the next, for readers that add ts and dur", () => {
		const { traceEvents } = chromeProfile(calls, "invd", "samples", {
			hz: model.tscHz,
			cyclesPerWeight: 4999,
		});
		const slices = traceEvents.filter(({ ph }) => ph === "X");
		for (const { ts, dur } of slices) {
			expect(Number.isInteger(ts * 2 ** 20)).toBe(true);
			expect(Number.isInteger(dur! * 2 ** 20)).toBe(true);
			const inside = slices.filter((other) => other.ts > ts && other.ts < ts + dur!);
			for (const other of inside) expect(other.ts + other.dur!).toBeLessThanOrEqual(ts + dur!);
		}
	});
});
