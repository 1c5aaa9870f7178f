import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { Ajv } from "ajv";
import { Profile } from "pprof-format";
import { describe, expect, it } from "vitest";
import { findTree } from "../../src/kvm/trees/trees.ts";
import { bySymbol, nodeName, stackOf, totals } from "../../src/profile/call-tree.ts";
import { explainSymbol } from "../../src/profile/explain-symbol.ts";
import { foldedText } from "../../src/profile/exports/folded.ts";
import { pprofBytes } from "../../src/profile/exports/pprof.ts";
import { speedscopeFile } from "../../src/profile/exports/speedscope.ts";
import { layoutFlame } from "../../src/profile/flame.ts";
import { FRAME } from "../../src/profile/frames.ts";
import { Pmu } from "../../src/profile/pmu.ts";
import { record, type RecordOptions } from "../../src/profile/record.ts";
import { reportRows, viewTree } from "../../src/profile/report.ts";
import { flameSvg } from "../../src/profile/svg.ts";
import { inlinedSymbols } from "../../src/profile/symbols.ts";
import { findWorkload } from "../../src/profile/workloads/workloads.ts";
import { defaultModel } from "../../src/review/review.ts";
import type { Vendor } from "../../src/silicon/models/model.ts";

function run(guest: string, tree: string, vendor: Vendor, rest: Partial<RecordOptions> = {}) {
	return record({
		workload: findWorkload(guest),
		tree: findTree(tree),
		vendor,
		model: defaultModel(vendor),
		iterations: 500,
		periodCycles: 499,
		...rest,
	});
}

const share = (rows: readonly { symbol: string; overheadPercent: number }[], name: string) =>
	rows.find((row) => row.symbol === name)?.overheadPercent ?? 0;

describe("cycles are charged to call stacks", () => {
	for (const vendor of ["vmx", "svm"] as const) {
		it(`all of them, on ${vendor}: the sum is the time that the CPU's clock went on`, () => {
			const { calls, cyclesByCpu } = run("hlt", "v6.18", vendor, { exact: true, iterations: 50 });
			const sum = calls.cycles.reduce((total, cycles) => total + cycles, 0);
			expect(Math.abs(sum - cyclesByCpu[0]!)).toBeLessThan(1);
		});
	}

	it("watching changes nothing: the same exits in the same cycles", () => {
		const off = run("mixed", "v6.18", "vmx", { profile: false });
		const on = run("mixed", "v6.18", "vmx", { exact: true });
		expect(on.cyclesByCpu).toEqual(off.cyclesByCpu);
		expect(on.exits).toBe(off.exits);
	});

	it("kvm_load_guest_xsave_state is called from vmx_vcpu_run in v6.18, its successor from vcpu_enter_guest in the series", () => {
		const caller = (tree: string, name: string) => {
			const { calls } = run("invd", tree, "vmx", { exact: true });
			const node = calls.parent.findIndex((_, at) => nodeName(calls, at) === name);
			return stackOf(calls, node).at(-2);
		};
		expect(caller("v6.18", "kvm_load_guest_xsave_state")).toBe("vmx_vcpu_run");
		expect(caller("series-v2", "kvm_load_guest_xfeatures")).toBe("vcpu_enter_guest");
	});
});

describe("the virtual PMU", () => {
	it("takes one sample a period, wherever they fall", () => {
		const { calls, cyclesByCpu } = run("invd", "v6.18", "vmx", { exact: true, countsGuest: true });
		const samples = calls.samples.reduce((sum, count) => sum + count, 0);
		expect(Math.abs(samples - cyclesByCpu[0]! / 499)).toBeLessThan(3);
	});

	for (const vendor of ["vmx", "svm"] as const) {
		it(`samples in passing what it samples when every cycle is charged, within two in a hundred, on ${vendor}`, () => {
			const rows = (exact: boolean) =>
				reportRows(run("cpuid", "v6.18", vendor, { exact }).calls, {
					inlined: new Set(),
					weight: "samples",
					hardware: false,
				});
			const [quick, full] = [rows(false), rows(true)];
			for (const { symbol } of full)
				expect(Math.abs(share(quick, symbol) - share(full, symbol)), symbol).toBeLessThan(2);
		});
	}

	it("notes the work of a VM exit at vmx_vmexit, which then is far above its own cycles", () => {
		const { calls } = run("invd", "v6.18", "vmx", { exact: true });
		const options = { inlined: new Set<string>(), hardware: true };
		const sampled = share(reportRows(calls, { ...options, weight: "samples" }), "vmx_vmexit");
		const own = share(reportRows(calls, { ...options, weight: "cycles" }), "vmx_vmexit");
		expect(sampled).toBeGreaterThan(2.5 * own);
	});

	it("on SVM notes nothing between CLGI and STGI: the NMI waits, and svm_vcpu_run has it all", () => {
		const { calls } = run("invd", "v6.18", "svm", { exact: true });
		const rows = reportRows(calls, { inlined: new Set(), weight: "samples" });
		expect(rows[0]!.symbol).toBe("svm_vcpu_run");
		expect(share(rows, "kvm_load_guest_xsave_state")).toBe(0);
		expect(share(rows, "__svm_vcpu_run")).toBe(0);
		// Not so in the series, where the swap is outside.
		const after = reportRows(run("cpuid", "series-v2", "svm", { exact: true }).calls, { inlined: new Set() });
		expect(share(after, "kvm_load_guest_xfeatures")).toBeGreaterThan(1);
	});

	it("delivers real NMIs on request: they cost time, and make the guest exit", () => {
		const quiet = run("cpuid", "v6.18", "vmx", { exact: true });
		const nmi = run("cpuid", "v6.18", "vmx", { nmi: true, periodCycles: 9973 });
		const samples = nmi.calls.samples.reduce((sum, count) => sum + count, 0);
		expect(samples).toBeGreaterThan(20);
		expect(nmi.cyclesByCpu[0]!).toBeGreaterThan(quiet.cyclesByCpu[0]!);
		expect(
			share(reportRows(nmi.calls, { inlined: new Set(), weight: "samples" }), "vmx_vmexit"),
		).toBeGreaterThan(10);
	});

	it("holds an overflow within an instruction until the one behind it", () => {
		const pmu = new Pmu({ periodCycles: 100, skidCycles: 10, countsGuest: false });
		expect(pmu.advance(105, false, false)).toBe(0);
		expect(pmu.advance(50, false, true)).toBe(0);
		expect(pmu.advance(1, false, false)).toBe(1);
		expect(pmu.advance(1000, true, false)).toBe(0);
	});
});

describe("inlining", () => {
	it("hides a static function with one caller, and moves its cycles to the caller", () => {
		const tree = findTree("v6.18");
		const { calls } = run("invd", "v6.18", "vmx", { exact: true });
		const rows = (inlining: "none" | "kernel" | "all") =>
			reportRows(calls, { inlined: inlinedSymbols(tree, inlining), weight: "cycles" });
		expect(share(rows("none"), "vcpu_enter_guest")).toBeGreaterThan(0);
		expect(share(rows("kernel"), "vcpu_enter_guest")).toBe(0);
		expect(share(rows("kernel"), "vcpu_run")).toBeCloseTo(
			share(rows("none"), "vcpu_run") + share(rows("none"), "vcpu_enter_guest"),
			5,
		);
	});

	it("depends on the tree: kvm_load_guest_xsave_state keeps its symbol, the series' functions have none", () => {
		expect(inlinedSymbols(findTree("v6.18"), "all").has("kvm_load_guest_xsave_state")).toBe(false);
		const series = inlinedSymbols(findTree("series-v2"), "kernel");
		for (const name of ["kvm_load_guest_xfeatures", "kvm_load_host_xfeatures", "kvm_load_guest_pkru"])
			expect(series.has(name), name).toBe(true);
		// Both calls of the helper that the follow-up merges them into.
		expect(inlinedSymbols(findTree("dedup"), "kernel").has("kvm_load_xfeatures(guest)")).toBe(false);
	});

	it("keeps the sum", () => {
		const { calls } = run("invd", "v6.18", "vmx", { exact: true });
		const sum = (tree: typeof calls) => tree.cycles.reduce((total, cycles) => total + cycles, 0);
		const view = viewTree(calls, inlinedSymbols(findTree("v6.18"), "all"), false);
		expect(sum(view)).toBeCloseTo(sum(calls), 3);
	});
});

describe("--explain says why a symbol shows up", () => {
	const recording = run("invd", "v6.18", "vmx", { ops: true });
	const inlined = inlinedSymbols(findTree("v6.18"), "kernel");

	it("kvm_load_guest_xsave_state: an XSETBV and a WRMSR of IA32_XSS each call, and nothing inlined", () => {
		const explained = explainSymbol(recording, "kvm_load_guest_xsave_state", inlined);
		expect(explained.ops.map(({ what }) => what).sort()).toEqual(["wrmsr(ia32_xss)", "xsetbv"]);
		expect(explained.ops[0]!.count / explained.calls).toBeGreaterThan(0.9);
		expect(explained.callers[0]!.what).toBe("vmx_vcpu_run");
		expect(explained.skid).toBeNull();
	});

	it("vmx_vmexit: by the processor's own work, which skid puts there", () => {
		const explained = explainSymbol(recording, "vmx_vmexit", inlined);
		expect(explained.skid!.cycles / explained.skid!.count).toBeCloseTo(291, 0);
	});

	it("vcpu_enter_guest: not at all, since it is inlined into vcpu_run", () => {
		expect(explainSymbol(recording, "vcpu_enter_guest", inlined).shownAs).toBe("vcpu_run");
	});

	it("a name that was not executed gets the nearest that was", () => {
		expect(() => explainSymbol(recording, "kvm_load_guest_xsave_stat", inlined)).toThrow(
			/kvm_load_guest_xsave_state/,
		);
	});
});

describe("exports are what foreign programs read", () => {
	const { calls, hz } = run("invd", "v6.18", "vmx", { exact: true });
	const total = calls.cycles.reduce((sum, cycles) => sum + cycles, 0);

	it("folded stacks: the weights' sum is the total", () => {
		const lines = foldedText(calls, "cycles").trimEnd().split("\n");
		const sum = lines.reduce((so, line) => so + Number(/ (\d+)$/.exec(line)![1]), 0);
		expect(Math.abs(sum - total)).toBeLessThan(lines.length);
		expect(lines.some((line) => line.includes("vmx_vcpu_run;kvm_load_guest_xsave_state "))).toBe(true);
	});

	it("speedscope's own schema accepts the file", () => {
		const release = join(
			createRequire(import.meta.url).resolve("speedscope/package.json"),
			"../dist/release",
		);
		const schema = JSON.parse(readFileSync(join(release, "file-format-schema.json"), "utf8"));
		const validate = new Ajv({ strict: false }).compile(schema);
		const file = speedscopeFile(calls, "invd", "cycles", hz);
		expect(validate(file), JSON.stringify(validate.errors)).toBe(true);
		expect(file.profiles[0]!.endValue).toBeCloseTo(total, 1);
		expect(validate({ ...file, profiles: [{ ...file.profiles[0]!, unit: "cycles" }] })).toBe(false);
	});

	it("pprof: Datadog's reader finds the same stacks and values", () => {
		const profile = Profile.decode(pprofBytes(calls, 499));
		const strings = profile.stringTable.strings;
		expect(profile.sampleType.map(({ type }) => strings[Number(type)])).toEqual(["samples", "cycles"]);
		const values = profile.sample.reduce((sum, sample) => sum + Number(sample.value[1]), 0);
		expect(Math.abs(values - total)).toBeLessThan(calls.parent.length);
		const names = new Map(profile.function.map((one) => [Number(one.id), strings[Number(one.name)]!]));
		const locations = new Map(
			profile.location.map((one) => [Number(one.id), names.get(Number(one.line[0]!.functionId))!]),
		);
		const stacks = profile.sample.map((sample) =>
			sample.locationId
				.map((id) => locations.get(Number(id)))
				.reverse()
				.join(";"),
		);
		expect(stacks).toContain(
			"kvm_vcpu_ioctl;kvm_arch_vcpu_ioctl_run;vcpu_run;vcpu_enter_guest;vt_vcpu_run;vmx_vcpu_run;kvm_load_guest_xsave_state",
		);
	});

	it("a flame graph's boxes nest, and children do not overlap", () => {
		const layout = layoutFlame(calls, "cycles");
		const byNode = new Map(layout.boxes.map((box) => [box.node, box]));
		for (const box of layout.boxes) {
			const above = byNode.get(calls.parent[box.node]!);
			if (above === undefined) continue;
			expect(box.left).toBeGreaterThanOrEqual(above.left - 1e-9);
			expect(box.left + box.width).toBeLessThanOrEqual(above.left + above.width + 1e-9);
		}
		expect(layout.total).toBeCloseTo(totals(calls, "cycles")[0]!, 3);
		const svg = flameSvg(calls, { title: "a < b", weight: "cycles" });
		expect(svg).toContain("a &#60; b");
		expect(svg).not.toContain("<script");
	});

	it("a differential flame graph says how much a function gained or lost", () => {
		const after = run("invd", "series-v2", "vmx", { exact: true }).calls;
		const svg = flameSvg(after, { title: "t", weight: "cycles", base: { name: "v6.18", calls } });
		expect(svg).toMatch(/__vmx_vcpu_run: .*, \+/);
		expect(svg).toContain("a greater share than in v6.18");
		// The row that vanishes is not in the picture; the head names it.
		expect(svg).toMatch(
			/in v6\.18 alone: kvm_load_(guest|host)_xsave_state \d+\.\d\d %, kvm_load_(guest|host)_xsave_state/,
		);
		expect(flameSvg(calls, { title: "t", weight: "cycles", base: { name: "v6.18", calls } })).not.toContain(
			"alone:",
		);
	});
});

it("the guest, the processor's work and the functions are told apart by name", () => {
	const names = bySymbol(run("invd", "v6.18", "vmx", { exact: true }).calls, "cycles").map(
		({ name }) => name,
	);
	for (const frame of [FRAME.guest, FRAME.vmEntry, FRAME.vmExit]) expect(names).toContain(frame);
});
