import { describe, expect, it } from "vitest";
import { compileTree } from "../../../src/kvm/flow/compile.ts";
import { diffTrees } from "../../../src/kvm/flow/diff.ts";
import { FlowError } from "../../../src/kvm/flow/errors.ts";
import { walk } from "../../../src/kvm/flow/flow.ts";
import { applyPatches, move, remove } from "../../../src/kvm/flow/patch.ts";
import { applyPatchFile } from "../../../src/kvm/patch/patch-file.ts";
import { v618 } from "../../../src/kvm/trees/base.ts";
import { findTree } from "../../../src/kvm/trees/trees.ts";

const patched = (...edits: Parameters<typeof applyPatches>[1][number]["edits"]) =>
	applyPatches(v618, [{ title: "test", source: "", edits }], "test", "");

const namesOf = (tree: typeof v618, flow: string) =>
	[...walk(tree.flows.get(flow)!.body)].map(({ name }) => name);

const file = (edits: unknown[], base = "v6.18") =>
	applyPatchFile({ document: { name: "mine", base, edits }, locate: () => "mine.json" }, findTree(base), [
		findTree("dedup"),
	]);

describe("a patch", () => {
	it("moves a step with what is inside it", () => {
		const tree = patched(
			move("EXTERNAL_INTERRUPT", "vmx_handle_exit_irqoff", "vcpu_enter_guest", { after: "fastpath" }),
		);
		const names = namesOf(tree, "vcpu_enter_guest");
		expect(names[names.indexOf("EXTERNAL_INTERRUPT") + 1]).toBe("handle_external_interrupt_irqoff");
		expect(namesOf(tree, "vmx_handle_exit_irqoff")).not.toContain("handle_external_interrupt_irqoff");
	});

	it("leaves the tree that it was applied to as it was", () => {
		const before = namesOf(v618, "vcpu_enter_guest");
		patched(remove("clgi", "svm_vcpu_run"));
		expect(namesOf(v618, "vcpu_enter_guest")).toEqual(before);
		expect(namesOf(v618, "svm_vcpu_run")).toContain("clgi");
	});

	it("does not apply when its step, anchor or flow is not there, and names the nearest", () => {
		expect(() => patched(remove("clgj", "svm_vcpu_run"))).toThrow(
			/svm_vcpu_run has no step "clgj"; did you mean "clgi"/,
		);
		expect(() => patched(move("clgi", "svm_vcpu_run", "svm_vcpu_run", { before: "nowhere at all" }))).toThrow(
			/no step "nowhere/,
		);
		expect(() => patched(remove("clgi", "svm_vcpu_runn"))).toThrow(
			/no flow svm_vcpu_runn; did you mean "svm_vcpu_run"/,
		);
		expect(() => patched(remove("clgi", "svm_vcpu_run"))).not.toThrow();
	});

	it("cannot remove a function that is still called", () => {
		expect(() => patched({ edit: "removeFlow", flow: "kvm_load_guest_xsave_state" })).toThrow(/still calls/);
	});

	it("does not compile when a break has lost its loop", () => {
		const tree = patched(move("not REENTER_GUEST", "vcpu_enter_guest", "svm_vcpu_run", { at: "end" }));
		expect(() => compileTree(tree, "svm")).toThrow(FlowError);
	});
});

describe("a patch file", () => {
	it("is ten lines that move a swap", () => {
		const tree = file([
			{ remove: "kvm_load_guest_xsave_state", from: "vmx_vcpu_run" },
			{ insert: "kvm_load_guest_xsave_state", into: "vcpu_enter_guest", before: "fastpath" },
		]);
		expect(namesOf(tree, "vcpu_enter_guest")).toContain("kvm_load_guest_xsave_state");
	});

	it.each([
		[
			[{ move: "clgi", from: "svm_vcpu_run", to: "svm_vcpu_run" }],
			/edit 1 needs one of "before", "after" and "at"/,
		],
		[[{ mov: "clgi" }], /edit 1 has none of "move".*did you mean "move"/],
		[
			[{ insert: "WRPKRU(guets)", into: "svm_vcpu_run", at: "end" }],
			/no step or flow "WRPKRU\(guets\)".*WRPKRU\(guest\)/,
		],
		[[{ remove: "gone", from: "svm_vcpu_run" }], /^mine.json: edit 1: svm_vcpu_run has no step "gone"/],
		[[], /at least one edit/],
	])("says in one line what is wrong with %j", (edits, message) => {
		expect(() => file(edits)).toThrow(message);
	});
});

describe("the difference of two trees", () => {
	it("is empty for a tree and itself", () => {
		expect(diffTrees(v618, v618).changes).toEqual([]);
	});

	it("says for patch 1 that the #MC moved out of the loop", () => {
		expect(diffTrees(v618, findTree("series-v2:1")).changes).toEqual([
			{
				change: "moved",
				step: "#MC in guest",
				from: { flow: "svm_vcpu_run", after: "vmcb_mark_all_clean" },
				to: { flow: "svm_handle_exit_irqoff", after: "" },
			},
		]);
	});

	it("says for version 1 that kvm_intel's handle_exit_irqoff became a wrapper", () => {
		const { changes } = diffTrees(findTree("series-v2"), findTree("series-v1"));
		expect(changes).toContainEqual({ change: "flow added", flow: "vt_handle_exit_irqoff" });
		expect(changes.some(({ change }) => change === "op")).toBe(true);
	});

	it("says for patch 3 that the swap of XCR0 and XSS moved into functions of its own", () => {
		const moved = diffTrees(findTree("series-v2:1-2"), findTree("series-v2:1-3")).changes.filter(
			({ change }) => change === "moved",
		);
		expect(moved.map((change) => "to" in change && typeof change.to === "object" && change.to.flow)).toEqual([
			"kvm_load_guest_xfeatures",
			"kvm_load_host_xfeatures",
		]);
	});
});
