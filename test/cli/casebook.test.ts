import { describe, expect, it } from "vitest";
import { reenter } from "./memory-io.ts";

describe("reenter casebook", () => {
	it("tells a case: its story, what is violated before the fix, that the tree behind it holds", async () => {
		const { code, out } = await reenter(["casebook", "dr6-reentry"]);
		expect(code).toBe(0);
		expect(out).toMatch(/c2fee09fc167/);
		expect(out).toMatch(/before: guest-debug-registers/);
		expect(out).toMatch(/behind the fix: holds/);
	});

	it("gives a case as JSON, one entry a vendor", async () => {
		const { out } = await reenter(["casebook", "dr6-reentry", "--json"]);
		const { cases } = JSON.parse(out);
		expect(cases.map(({ vendor }: { vendor: string }) => vendor)).toEqual(["vmx", "svm"]);
		expect(cases[0].before.detail).toContain("DR6");
		expect(cases[0].behind).toEqual([]);
	});

	it("'s trees can be given to any command", async () => {
		const { code, out } = await reenter(["diff", "xfd-xstate-before", "xfd-xstate-after"]);
		expect(code).toBe(0);
		expect(out).toContain("fpu_update_guest_xfd");
	});

	it("prints two test points a case and vendor, as TAP and as JUnit XML", async () => {
		const tap = await reenter(["casebook", "predictor-mark", "--format", "tap"]);
		expect(tap.code).toBe(0);
		expect(tap.out).toContain("1..6");
		expect(tap.out).toContain(
			"ok 1 - predictor-mark on vmx: predictor-barrier is reported before 2f8f173413f1",
		);
		expect(tap.out).toContain("ok 6 - predictor-mark on tdx: nothing is reported behind 2f8f173413f1");
		const junit = await reenter(["casebook", "predictor-mark", "--format", "junit"]);
		expect(junit.out).toContain('<testsuites name="reenter casebook" tests="6" failures="0">');
	});
});
