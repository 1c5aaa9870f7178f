import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { diffTrees } from "../../../src/kvm/flow/diff.ts";
import { type Tree, flow, leave, loop, step, walk, when } from "../../../src/kvm/flow/flow.ts";
import { type Edit, applyPatches, insert, move, remove, replace } from "../../../src/kvm/flow/patch.ts";
import { v618 } from "../../../src/kvm/trees/base.ts";
import { findTree } from "../../../src/kvm/trees/trees.ts";

const patched = (base: Tree, ...edits: Edit[]) =>
	applyPatches(base, [{ title: "test", source: "", edits }], "test", "");

const nothing = () => {};

/** A small function with a guard and a loop: a b if(g){c d} loop{e} f. */
const small: Tree = {
	...v618,
	name: "small",
	flows: new Map([
		[
			"f",
			flow("f", "x86.c", [
				step("a", nothing),
				step("b", nothing),
				when("g", () => true, [step("c", nothing), step("d", nothing)]),
				loop("l", [step("e", nothing)]),
				step("z", nothing),
			]),
		],
	]),
};

describe("the difference of two trees", () => {
	it("sees a step that moved within one function", () => {
		expect(diffTrees(small, patched(small, move("a", "f", "f", { after: "z" }))).changes).toEqual([
			{ change: "moved", step: "a", from: { flow: "f", after: "" }, to: { flow: "f", after: "z" } },
		]);
	});

	it("sees a step that moved out of a guard, and says which", () => {
		expect(diffTrees(small, patched(small, move("c", "f", "f", { before: "g" }))).changes).toEqual([
			{
				change: "moved",
				step: "c",
				from: { flow: "f", within: "if g", after: "" },
				to: { flow: "f", after: "b" },
			},
		]);
	});

	it("sees a step that moved into a loop", () => {
		expect(diffTrees(small, patched(small, move("z", "f", "f", { after: "e" }))).changes).toEqual([
			{
				change: "moved",
				step: "z",
				from: { flow: "f", after: "l" },
				to: { flow: "f", within: "loop l", after: "e" },
			},
		]);
	});

	it("sees a step that stayed when the guard around it went", () => {
		const tree = patched(small, move("d", "f", "f", { after: "g" }), remove("g", "f"));
		expect(diffTrees(small, tree).changes.map(({ change }) => change)).toEqual(["moved", "removed"]);
	});

	it("sees a step whose code was replaced under the same name", () => {
		const tree = patched(
			small,
			replace(
				"b",
				"f",
				step("b", () => void 0),
			),
		);
		expect(diffTrees(small, tree).changes).toEqual([
			{ change: "replaced", step: "b", in: { flow: "f", after: "a" } },
		]);
	});

	it("sees a step that is done twice as inserted, not as moved", () => {
		const tree = patched(small, insert(step("a", nothing), "f", { at: "end" }));
		expect(diffTrees(small, tree).changes.map(({ change }) => change)).toEqual(["inserted"]);
	});

	it("says for patch 2 that both #MC handlers on entry went to the shared function", () => {
		const { changes } = diffTrees(v618, findTree("series-v2:2"));
		const places = changes.map((change) => change.change === "moved" && [change.from.flow, change.to.flow]);
		expect(places.sort()).toEqual([
			["tdx_vcpu_run", "vmx_handle_exit_irqoff"],
			["vmx_vcpu_run", "vmx_handle_exit_irqoff"],
		]);
	});

	it("does not take the early return of a new function for one that moved", () => {
		const { changes } = diffTrees(v618, findTree("series-v2"));
		expect(changes.filter((change) => "step" in change && change.step === "guest_state_protected")).toEqual(
			[],
		);
	});

	it("is found for every step of the base that is moved to the end of its function", () => {
		const places = [...v618.flows.values()].flatMap((one) =>
			one.body
				.slice(0, -1)
				.filter(({ kind }) => kind === "step")
				.map(({ name }) => ({ flow: one.name, name })),
		);
		const unique = places.filter(({ flow: name, name: node }) => {
			const named = [...walk(v618.flows.get(name)!.body)].filter((one) => one.name === node);
			return named.length === 1;
		});
		expect(unique.length).toBeGreaterThan(50);
		fc.assert(
			fc.property(fc.constantFrom(...unique), ({ flow: name, name: node }) => {
				const { changes } = diffTrees(v618, patched(v618, move(node, name, name, { at: "end" })));
				// LCS may see "X went behind Y" as "Y went before X" when they are neighbours.
				expect(changes).toHaveLength(1);
				expect(changes[0]!.change).toBe("moved");
			}),
			{ seed: 618, numRuns: 200 },
		);
	});

	it("is empty where two series share their patches", () => {
		expect(diffTrees(findTree("series-v1:1"), findTree("series-v2:1")).changes).toEqual([]);
	});

	it("names a return that was put in", () => {
		const tree = patched(small, insert(leave("early"), "f", { before: "b" }));
		expect(diffTrees(small, tree).changes).toEqual([
			{ change: "inserted", step: "return early", to: { flow: "f", after: "a" } },
		]);
	});
});
