import { describe, expect, it } from "vitest";
import { findTree } from "../../src/kvm/trees/trees.ts";
import { record } from "../../src/profile/record.ts";
import { longEventsText, statText } from "../../src/profile/stat.ts";
import { addEvent, STAT_EVENTS, type StatEvent, StatRecorder } from "../../src/profile/stat-recorder.ts";
import type { ExitStat } from "../../src/profile/tracepoints.ts";
import { TraceRecorder } from "../../src/profile/tracepoints.ts";
import { findWorkload } from "../../src/profile/workloads/workloads.ts";
import { defaultModel } from "../../src/review/review.ts";
import type { Machine } from "../../src/kvm/api/kvm.ts";
import type { Vendor } from "../../src/silicon/models/model.ts";

const ALL = { vcpu: null, durationCycles: Number.POSITIVE_INFINITY };

function run(workload: string, vendor: Vendor, onMachine: (machine: Machine) => void, iterations = 50) {
	return record({
		workload: findWorkload(workload),
		tree: findTree("v6.18"),
		vendor,
		model: defaultModel(vendor),
		iterations,
		profile: false,
		onMachine,
	});
}

const statsOf = (entries: readonly (readonly [string, readonly number[]])[]): ExitStat[] => {
	const stats = new Map<string, ExitStat>();
	for (const [reason, cycles] of entries) for (const one of cycles) addEvent(stats, reason, one);
	return [...stats.values()];
};

describe("reenter stat", () => {
	for (const vendor of ["vmx", "svm"] as const) {
		it(`takes the time from each kvm_exit to the kvm_entry behind it, on ${vendor}`, () => {
			const recorder = new StatRecorder(ALL);
			run("mixed", vendor, (machine) => recorder.attach(machine));
			const tracer = new TraceRecorder(1e6, new Set(["kvm_entry", "kvm_exit"]));
			run("mixed", vendor, (machine) => tracer.attach(machine));
			const expected = new Map<string, number[]>();
			for (const [at, event] of tracer.events.entries()) {
				const next = tracer.events[at + 1];
				if (event.kind !== "kvm_exit" || next?.kind !== "kvm_entry") continue;
				expected.set(event.reason!, [...(expected.get(event.reason!) ?? []), next.cycles - event.cycles]);
			}
			expect(expected.size).toBeGreaterThan(3);
			expect([...recorder.stats.values()]).toEqual(statsOf([...expected]));
		});
	}

	it("--vcpu: what the vCPUs have adds up to what all have", () => {
		const recorders = [null, 0, 1].map((vcpu) => {
			const recorder = new StatRecorder({ ...ALL, vcpu });
			run("halt-poll", "vmx", (machine) => recorder.attach(machine), 20);
			return recorder;
		});
		const samples = recorders.map(({ stats }) =>
			[...stats.values()].reduce((sum, stat) => sum + stat.samples, 0),
		);
		expect(samples[1]).toBeGreaterThan(0);
		expect(samples[2]).toBeGreaterThan(0);
		expect(samples[1]! + samples[2]!).toBe(samples[0]);
	});

	it("--duration lists what takes longer, but no HLT", () => {
		const tscHz = defaultModel("vmx").tscHz;
		const recorder = new StatRecorder({ vcpu: null, durationCycles: 2000 });
		run("timer-userspace", "vmx", (machine) => recorder.attach(machine), 10);
		const expected = [...recorder.stats.values()].filter(
			({ reason, maxCycles }) => reason !== "HLT" && maxCycles > 2000,
		);
		expect(new Set(recorder.long.map(({ reason }) => reason))).toEqual(
			new Set(expected.map(({ reason }) => reason)),
		);
		expect(recorder.stats.get("HLT")!.maxCycles).toBeGreaterThan(2000);
		expect(longEventsText(recorder.long.slice(0, 1), tscHz)).toMatch(
			/^\d+ VM 0, vcpu 0: [A-Z_]+ event took \d+usec\n$/,
		);
	});

	for (const [workload, event, keys] of [
		["mmio", "mmio", /^0x[0-9a-f]+:[RW]$/],
		["mmio-kernel", "mmio", /^0x[0-9a-f]+:[RW]$/],
		["pio", "ioport", /^0x[0-9a-f]+:(PIN|POUT)$/],
		["rdmsr", "msr", /^0x[0-9a-f]+:[RW]$/],
		["wrmsr-tscdeadline", "msr", /^0x6e0:W$/],
	] as const)
		it(`--event ${event} of ${workload}: each access once, and never longer than its exit`, () => {
			const recorders = ([event, "vmexit"] as const).map((one) => {
				const recorder = new StatRecorder({ ...ALL, event: one });
				run(workload, "vmx", (machine) => recorder.attach(machine));
				return recorder;
			});
			const accesses = [...recorders[0]!.stats.values()];
			const most = accesses.reduce((best, one) => (one.samples > best.samples ? one : best));
			expect(most.reason).toMatch(keys);
			expect(most.samples).toBeGreaterThanOrEqual(50);
			const longest = Math.max(...[...recorders[1]!.stats.values()].map(({ maxCycles }) => maxCycles));
			for (const { minCycles, maxCycles } of accesses) {
				expect(minCycles).toBeGreaterThan(0);
				expect(maxCycles).toBeLessThanOrEqual(longest);
			}
		});

	it("has perf's head for each event", () => {
		for (const [event, head] of Object.entries(STAT_EVENTS))
			expect(statText([], { hz: null, event: event as StatEvent })).toContain(
				`${head.padStart(20)}    Samples`,
			);
	});

	it("orders by samples, or by the average time, as perf's -k does", () => {
		const stats = statsOf([
			["HLT", [10, 10, 10]],
			["IO", [25]],
		]);
		const order = (key: "sample" | "time") =>
			[...statText(stats, { hz: null, key }).matchAll(/^ +(HLT|IO) /gm)].map((match) => match[1]);
		expect(order("sample")).toEqual(["HLT", "IO"]);
		expect(order("time")).toEqual(["IO", "HLT"]);
	});

	it("prints perf's columns: shares, least, greatest and average time, and the deviation of the mean", () => {
		const text = statText(statsOf([["HLT", [1000, 3000]]]), { hz: 1e9, vcpu: 1 });
		expect(text).toContain("Analyze events for all VMs, VCPU 1:");
		// The deviation of the mean of 1 and 3 is 1, of a mean of 2.
		expect(text).toMatch(/ HLT +2 +100\.00% +100\.00% +1\.00us +3\.00us +2\.00us \( \+- +50\.00% \)/);
		expect(text).toContain("Total Samples:2, Total events handled time:4.00us.");
	});
});
