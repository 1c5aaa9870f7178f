import { describe, expect, it } from "vitest";
import { runCheck } from "../../../src/check/check.ts";
import { DEFAULT_CONFIGURATION } from "../../../src/check/configuration.ts";
import { findTree } from "../../../src/kvm/trees/trees.ts";
import { defaultModel } from "../../../src/silicon/models/models.ts";
import type { ShareQuestion } from "../../../src/web/worker/api.ts";
import { concludeCheck, shareCheck } from "../../../src/web/worker/check.ts";

const TARGET = { tree: "series-v1", patch: "", vendor: "tdx", cpu: "", configuration: "" } as const;
const share = (part: number, parts: number, of: Omit<ShareQuestion, "part" | "parts"> = TARGET) =>
	structuredClone(shareCheck({ ...of, part, parts }));

describe("a check in shares", () => {
	it("has the verdict, the counterexamples and the bounds of one search, in whatever order the shares are done", () => {
		const { verdict, violations, findings, sometimes, bounds } = runCheck({
			tree: findTree("series-v1"),
			base: findTree("v6.18"),
			vendor: "tdx",
			model: defaultModel("tdx"),
			mceHandler: "task-work",
			configuration: DEFAULT_CONFIGURATION,
			eventsMax: 1,
		});
		const shares = [3, 0, 2, 1].flatMap((part) => share(part, 4));
		const { check } = concludeCheck(TARGET, shares);
		// A state that two shares come to is told apart twice.
		const { states: _, pruned: __, ...own } = check.bounds;
		const { states: ___, pruned: ____, ...whole } = bounds;
		expect(own).toEqual(whole);
		const { sometimes: reached } = check;
		expect(Object.keys(reached).sort()).toEqual(Object.keys(sometimes).sort());
		expect({ verdict: check.verdict, violations: check.violations, findings: check.findings }).toEqual({
			verdict,
			violations,
			findings,
		});
		expect(verdict).toBe("violated");
	});

	it("leaves out a factor that the vendor does not have, and says so; one that nobody has is refused", () => {
		const of = { ...TARGET, tree: "v6.18", configuration: "apicv=on,pkru=host" };
		const { check, without } = concludeCheck(of, share(0, 1, of));
		expect(without).toEqual(["apicv=on"]);
		expect(check.bounds.searches[0]?.configurations).toEqual(["pkru=host"]);
		expect(() => share(0, 1, { ...of, configuration: "colour=red" })).toThrow(/no factor "colour"/);
	});
});
