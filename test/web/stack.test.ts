import { describe, expect, it } from "vitest";
import { findTree } from "../../src/kvm/trees/trees.ts";
import { opCost } from "../../src/kvm/flow/custom-op.ts";
import { measureCost } from "../../src/review/cost.ts";
import { defaultModel } from "../../src/silicon/models/models.ts";
import { readCosts, segments, total, writeCosts } from "../../src/web/cost/stack.ts";

describe("an exit's cycles by op", () => {
	it.each(["vmx", "svm"] as const)("add up to what was measured on %s", (vendor) => {
		const tree = findTree("series-v2");
		const model = defaultModel(vendor);
		const cost = measureCost({ guest: "cpuid", tree, vendor, model });
		const parts = segments(cost, (op) => opCost(tree, model, op).cycles);
		expect(total(parts)).toBeCloseTo(cost.cyclesPerExit, 0);
	});

	it("follow a cost that is changed, and the address keeps the change", () => {
		const changed = readCosts("xsetbv:100,wrmsr(ia32_xss):0,nonsense,pkru:-1");
		expect(writeCosts(changed)).toBe("xsetbv:100,wrmsr(ia32_xss):0");
	});
});
