import { describe, expect, it } from "vitest";
import { DEFAULT_CONFIGURATION, parseConfiguration } from "../../src/check/configuration.ts";
import type { Injection } from "../../src/check/types.ts";
import { programImage } from "../../src/guests/program-image.ts";
import { findTree } from "../../src/kvm/trees/trees.ts";
import { summaryOf } from "../../src/profile/timeline/bands.ts";
import type { TimelineRun } from "../../src/profile/timeline/timeline.ts";
import { recordTimeline, type TimelineOptions } from "../../src/review/timeline.ts";
import type { Vendor } from "../../src/silicon/models/model.ts";
import { defaultModel } from "../../src/silicon/models/models.ts";

const EXITS = 4;

function runsOf(
	guest: string | null,
	vendor: Vendor,
	trees: readonly string[],
	more: Partial<TimelineOptions> = {},
): readonly TimelineRun[] {
	const model = defaultModel(vendor);
	return recordTimeline({
		guest: guest ?? "script",
		image: guest === null ? null : programImage(guest),
		targets: trees.map((tree) => ({ tree: findTree(tree), vendor, model })),
		configuration: DEFAULT_CONFIGURATION,
		schedule: [],
		exits: EXITS,
		skip: "loop",
		...more,
	}).runs;
}

const changes = ({ bands }: TimelineRun, register: string) =>
	summaryOf(bands.find(({ name }) => name === register)!).changes;

describe("the picture of the series", () => {
	it.each(["vmx", "svm"] as const)(
		"on %s: the band of the guest's XCR0 flickers at every exit in v6.18, and does not in series-v2",
		(vendor) => {
			const [base, series] = runsOf("invd", vendor, ["v6.18", "series-v2"]);
			expect(changes(base!, "XCR0")).toBe(2 * EXITS);
			expect(changes(series!, "XCR0")).toBe(0);
			expect(series!.frames.endCycles).toBeLessThan(base!.frames.endCycles);
		},
	);

	it("has nested flows as slices: vcpu_run, vcpu_enter_guest, the fastpath loop, vmx_vcpu_run, an op", () => {
		const [run] = runsOf("invd", "vmx", ["v6.18"]);
		const around: string[] = [];
		const found = run!.spans
			.filter(({ lane }) => lane === "run loop")
			.some(({ name, depth }) => {
				around.length = depth;
				around.push(name);
				return name === "xsetbv";
			});
		expect(found).toBe(true);
		const order = ["vcpu_run", "vcpu_enter_guest", "fastpath loop", "vmx_vcpu_run", "xsetbv"];
		expect(around.filter((name) => order.includes(name))).toEqual(order);
	});
});

describe("a window of a run", () => {
	it("begins in the guest's loop, and has as many exits as were asked for", () => {
		const [run] = runsOf("cpuid", "vmx", ["v6.18"]);
		expect(run!.frames.stays.map(({ reason }) => reason)).toEqual(Array(EXITS).fill("CPUID"));
		expect(run!.spans.find(({ kind }) => kind === "instruction")!.name).toContain("rdtsc");
	});

	it("takes the same cycles as a run that nobody looks at", () => {
		const [short] = runsOf("invd", "vmx", ["v6.18"], { exits: 3 });
		const [long] = runsOf("invd", "vmx", ["v6.18"], { exits: 4 });
		const last = long!.frames.stays.slice(-2).map(({ toCycles }) => toCycles);
		expect(long!.frames.endCycles - short!.frames.endCycles).toBeCloseTo(last[1]! - last[0]!, 6);
	});

	it("is empty where the guest ends before it", () => {
		expect(() =>
			runsOf("invd", "vmx", ["v6.18"], { skip: 50, exits: 1, image: programImage("compute") }),
		).toThrow(/before the part/);
	});
});

describe("events of a schedule", () => {
	it("show where they arrive, and the handler that takes them", () => {
		const schedule: Injection[] = [{ event: "nmi", at: 57 }];
		const [run] = runsOf(null, "vmx", ["v6.18"], { schedule, exits: 20 });
		const events = run!.spans.filter(({ lane }) => lane === "events");
		expect(events.map(({ kind }) => kind)).toEqual(expect.arrayContaining(["arrival", "handler"]));
		expect(events.map(({ name }) => name)).toEqual(expect.arrayContaining(["NMI arrives", "exc_nmi"]));
	});

	it("show debug registers and MSRs of the guest as its own while they are loaded", () => {
		const model = defaultModel("svm");
		const configuration = parseConfiguration("debugRegs=used,msrs=own", "svm", model);
		const [run] = runsOf(null, "svm", ["v6.18"], { configuration, exits: 20 });
		for (const register of ["DR", "LSTAR", "TSC_AUX"]) {
			const { cycles } = summaryOf(run!.bands.find(({ name }) => name === register)!);
			expect(cycles).toBeGreaterThan(0);
		}
	});
});
