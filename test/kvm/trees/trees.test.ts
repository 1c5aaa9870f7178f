import { describe, expect, it } from "vitest";
import { compileTree } from "../../../src/kvm/flow/compile.ts";
import { walk } from "../../../src/kvm/flow/flow.ts";
import { BUILT_IN_TREES, findTree } from "../../../src/kvm/trees/trees.ts";

describe("built-in trees", () => {
	it.each(BUILT_IN_TREES.map(({ name }) => name))("%s compiles for every vendor", (name) => {
		for (const vendor of ["vmx", "svm", "tdx"] as const) {
			expect(compileTree(findTree(name), vendor).ioctlRun).toBeTypeOf("function");
			expect(compileTree(findTree(name), vendor, true).places.length).toBeGreaterThan(80);
		}
	});

	it("take each patch of the series by itself, where it does not build on another", () => {
		for (const spec of [
			"series-v2:1",
			"series-v2:2",
			"series-v2:3",
			"series-v2:1-3",
			"series-v2:1,3",
			"series-v1:2",
			"series-v2:3-4",
		]) {
			expect(() => compileTree(findTree(spec), "vmx")).not.toThrow();
		}
	});

	it("name every step once in its flow, so that patches can refer to it", () => {
		for (const { name } of BUILT_IN_TREES) {
			for (const flow of findTree(name).flows.values()) {
				const names = [...walk(flow.body)]
					.filter(({ kind }) => kind === "step" || kind === "if")
					.map((node) => node.name);
				const twice = names.filter((step, at) => names.indexOf(step) !== at && !step.includes("differs"));
				expect(twice, `${name}: ${flow.name}`).toEqual([]);
			}
		}
	});

	it.each([
		["series-v3", /no tree "series-v3"; did you mean "series-v/],
		["series-v2:5", /patches are numbered 1 to 4/],
		["series-v2:3-1", /patches are numbered/],
		["series-v2:x", /patches are numbered/],
		["v6.18:1", /no tree/],
	])("%s is refused in one line", (spec, message) => {
		expect(() => findTree(spec)).toThrow(message);
	});
});
