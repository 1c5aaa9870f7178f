import { beforeAll, describe, expect, it } from "vitest";
import { treePath } from "../../src/kvm/flow/path.ts";
import { findTree } from "../../src/kvm/trees/trees.ts";
import { type Survey, surveyTree } from "../../src/review/survey.ts";
import { defaultModel } from "../../src/silicon/models/models.ts";
import type { Vendor } from "../../src/silicon/models/model.ts";
import { align, withoutTheSame } from "../../src/web/loop/align.ts";
import {
	type OutlineRow,
	laneSegments,
	outline,
	passedRows,
	visibleRows,
} from "../../src/web/loop/outline.ts";

const NONE = new Set<number>();

describe("the bands beside the path", () => {
	let survey: Survey;
	const pathOf = (spec: string, vendor: Vendor) => {
		const tree = findTree(spec);
		survey = surveyTree(tree, vendor, defaultModel(vendor));
		return outline(treePath(tree, vendor), survey);
	};
	let all: OutlineRow[];
	beforeAll(() => {
		all = pathOf("v6.18", "vmx");
	});
	const laneAt = (row: OutlineRow, name: string) =>
		row.lanes[survey.lanes.findIndex((lane) => lane.name === name)];
	const named = (rows: readonly OutlineRow[], name: string) => rows.find(({ row }) => row.name === name)!;

	// No AMD processor of the models has AMX, which IA32_XFD is for.
	it.each([
		["vmx", ["XCR0", "XSS", "PKRU", "XFD", "DR", "IF", "preempt"]],
		["svm", ["XCR0", "XSS", "PKRU", "DR", "IF", "GIF", "preempt"]],
	] as const)("of %s are of what VM entry does not switch, and of the flags", (vendor, names) => {
		const tree = findTree("v6.18");
		expect(surveyTree(tree, vendor, defaultModel(vendor)).lanes.map(({ name }) => name)).toEqual(names);
	});

	it("hold at vcpu_enter_guest() what held in front of it: interrupts and preemption are on", () => {
		for (const lane of ["IF", "preempt"]) {
			expect(laneAt(named(all, "vcpu_enter_guest"), lane)).toBe("on");
			expect(laneAt(all.find(({ entersGuest }) => entersGuest)!, lane)).toBe("off");
		}
	});

	it("hold at the beginning what KVM_RUN leaves behind", () => {
		expect(all[0]!.row.name).toBe("kvm_arch_vcpu_ioctl_run");
		for (const lane of ["IF", "preempt"]) expect(laneAt(all[0]!, lane)).toBe("on");
		expect(laneAt(all[0]!, "XCR0")).toBe("host");
	});

	it("are the same at a line, whether the lines above it are drawn or not", () => {
		const patched = pathOf("series-v2", "vmx");
		const other = visibleRows(patched, passedRows(patched), NONE);
		const own = visibleRows(all, passedRows(all), NONE);
		const short = withoutTheSame(align(own, other), 2).slots.flatMap(({ left }) => left ?? []);
		expect(short.length).toBeLessThan(own.length / 2);
		for (const row of short) expect(row.lanes).toEqual(all[row.index]!.lanes);
	});

	it("hold behind a folded line what holds behind its end", () => {
		const { index, row } = named(all, "preempt_disable");
		const heart = named(all, "vcpu_run");
		expect(index).toBeGreaterThan(heart.index);
		const folded = visibleRows(all, null, new Set([heart.index]));
		expect(named(folded, "vcpu_run").lanes).toEqual(all[heart.row.end - 1]!.lanes);
		expect(folded.some((one) => one.row === row)).toBe(false);
	});

	it("are drawn as stretches without gaps, each of one value", () => {
		const rows = visibleRows(all, passedRows(all), NONE);
		const segments = laneSegments(rows, survey.lanes.length);
		for (let lane = 0; lane < survey.lanes.length; lane++) {
			const own = segments.filter((one) => one.lane === lane);
			expect(own[0]!.from).toBe(0);
			expect(own.at(-1)!.to).toBe(rows.length - 1);
			for (const [at, { from, value }] of own.entries()) {
				if (at > 0) expect([from, value !== own[at - 1]!.value]).toEqual([own[at - 1]!.to + 1, true]);
				expect(rows[from]!.lanes[lane]).toBe(value);
			}
		}
	});
});
