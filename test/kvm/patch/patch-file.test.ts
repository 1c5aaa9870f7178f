import { describe, expect, it } from "vitest";
import { createMachine } from "../../../src/kvm/api/kvm.ts";
import { compileTree } from "../../../src/kvm/flow/compile.ts";
import { diffTrees } from "../../../src/kvm/flow/diff.ts";
import { type Tree, walk } from "../../../src/kvm/flow/flow.ts";
import { onlyReached, selectVendor, vendorNames } from "../../../src/kvm/flow/vendor-module.ts";
import type { PatchDocument } from "../../../src/kvm/patch/document.ts";
import { applyPatchFile } from "../../../src/kvm/patch/patch-file.ts";
import { v618 } from "../../../src/kvm/trees/base.ts";
import { findTree } from "../../../src/kvm/trees/trees.ts";
import { measureCost } from "../../../src/review/cost.ts";
import { customOpId } from "../../../src/silicon/ops.ts";
import { defaultModel } from "../../../src/review/review.ts";

const apply = (document: unknown, base: Tree = v618) =>
	applyPatchFile({ document, locate: () => "mine.json:7" }, base, [findTree("dedup")]);
const patch = (document: Omit<PatchDocument, "name">, base?: Tree) =>
	apply({ name: "mine", ...document }, base);
const names = (tree: Tree, flow: string) => [...walk(tree.flows.get(flow)!.body)].map(({ name }) => name);

describe("a patch file", () => {
	it("says in JSON all that the built-in series says: version 1's patch 2", () => {
		const tree = patch({
			flows: [
				{
					name: "vt_handle_exit_irqoff",
					file: "vmx/main.c",
					body: [
						"MCE_DURING_VMENTRY",
						{ if: "is_td_vcpu", then: [{ return: "without vmx_handle_exit_irqoff" }] },
						"vmx_handle_exit_irqoff",
					],
				},
			],
			edits: [
				{ remove: "MCE_DURING_VMENTRY", from: "vmx_vcpu_run" },
				{ remove: "MCE_DURING_VMENTRY", from: "tdx_vcpu_run" },
				{ set: "handle_exit_irqoff", of: "kvm_intel", to: "vt_handle_exit_irqoff" },
			],
		});
		expect(diffTrees(tree, findTree("series-v1:2")).changes).toEqual([]);
	});

	it("applies the patches of a series in turn, each to what stands before it", () => {
		const tree = patch({
			patches: [
				{ title: "1", edits: [{ move: "clgi", from: "svm_vcpu_run", to: "vcpu_enter_guest", at: "start" }] },
				{ title: "2", edits: [{ remove: "clgi", from: "vcpu_enter_guest" }] },
			],
		});
		expect([...tree.flows.keys()].flatMap((flow) => names(tree, flow))).not.toContain("clgi");
	});

	it("drops a guard: what it guards is done always, or never", () => {
		const drop = (as: "always" | "never") =>
			patch({ edits: [{ dropGuard: "hw_breakpoint_active", in: "vcpu_enter_guest", as }] });
		expect(names(drop("always"), "vcpu_enter_guest")).toContain("hw_breakpoint_restore");
		expect(names(drop("never"), "vcpu_enter_guest")).not.toContain("hw_breakpoint_restore");
		expect(names(drop("always"), "vcpu_enter_guest")).not.toContain("hw_breakpoint_active");
		const step = () =>
			patch({ edits: [{ dropGuard: "preempt_disable", in: "vcpu_enter_guest", as: "never" }] });
		expect(step).toThrow(/vcpu_enter_guest's "preempt_disable" is a step, no guard/);
	});

	it("does what its ops do: preemption that it enables is enabled", () => {
		const tree = patch({
			edits: [{ insert: { op: "preempt_enable" }, into: "vcpu_enter_guest", before: "fastpath" }],
		});
		const cost = () => measureCost({ guest: "invd", tree, vendor: "vmx", model: defaultModel("vmx") });
		expect(cost).toThrow(/preempt_enable\(\) without preempt_disable/);
	});

	it("compares equal with itself, read twice", () => {
		const read = () =>
			patch({
				edits: [
					{
						insert: { step: "s", does: ["rdtsc", { op: "wrpkru", value: "host" }] },
						into: "vcpu_run",
						at: "start",
					},
				],
			});
		expect(diffTrees(read(), read()).changes).toEqual([]);
	});

	it("has its functions run as steps and guards, in the order given", () => {
		const seen: string[] = [];
		const tree = patch({
			edits: [
				{
					insert: {
						if: "first run",
						test: () => seen.length === 0,
						then: [{ step: "note", does: [() => void seen.push("does")], run: () => void seen.push("run") }],
					},
					into: "kvm_arch_vcpu_ioctl_run",
					at: "start",
				},
			],
		});
		measureCost({ guest: "invd", tree, vendor: "vmx", model: defaultModel("vmx") });
		expect(seen).toEqual(["does", "run"]);
	});

	it("names file, step and error when its own code slips, and does not take that for a verdict", () => {
		const slip = () => {
			throw new TypeError("v.vmx.nothing is undefined");
		};
		const tree = patch({ edits: [{ insert: { step: "mine", run: slip }, into: "vcpu_run", at: "start" }] });
		expect(() => measureCost({ guest: "invd", tree, vendor: "vmx", model: defaultModel("vmx") })).toThrow(
			/^mine.json:7.*step "mine" threw TypeError: v.vmx.nothing is undefined$/,
		);
	});
});

describe("an op of a patch's own", () => {
	const tree = patch({
		ops: [{ name: "doorbell", symbol: "ring", cycles: { turin: 100, default: 40 } }],
		edits: [{ insert: "doorbell step", into: "vcpu_enter_guest", before: "kvm_x86_ops.vcpu_run" }],
		flows: [{ name: "doorbell step", body: [{ op: "doorbell", instructions: 0 }] }],
	});
	it.each([
		["vmx", 40],
		["svm", 100],
	] as const)("costs on %s what the patch says: %d cycles", (vendor, cycles) => {
		const model = defaultModel(vendor);
		const before = measureCost({ guest: "invd", tree: v618, vendor, model });
		const after = measureCost({ guest: "invd", tree, vendor, model });
		expect(after.cyclesPerExit - before.cyclesPerExit).toBeCloseTo(cycles, 1);
		expect(after.opsPerExit.doorbell).toBe(1);
		expect(after.cyclesByOrigin.assumed - before.cyclesByOrigin.assumed).toBeCloseTo(cycles, 1);
	});

	it("costs nothing where time stands still", () => {
		const model = defaultModel("vmx");
		const free = Object.fromEntries(
			Object.entries(model.costs).map(([name, cost]) => [name, { ...cost, cycles: 0 }]),
		) as typeof model.costs;
		const { cpu } = createMachine({ model: { ...model, costs: free }, vendor: "vmx", tree });
		expect(cpu.costs[customOpId("doorbell")]).toBe(0);
		expect(createMachine({ model, vendor: "vmx", tree }).cpu.costs[customOpId("doorbell")]).toBe(40);
	});

	it("costs nothing in a tree that does not have it", () => {
		const model = defaultModel("vmx");
		expect(
			measureCost({ guest: "invd", tree: v618, vendor: "vmx", model }).opsPerExit.doorbell,
		).toBeUndefined();
	});
});

describe("a vendor module of a patch's own", () => {
	const tree = patch({
		flows: [
			{
				name: "pv_vcpu_run",
				body: [
					{ op: "rdtsc" },
					{ call: "svm_vcpu_run", keep: "exit_fastpath" },
					{ return: "svm_vcpu_run()", value: "exit_fastpath" },
				],
			},
		],
		vendors: [{ name: "pv-svm", basedOn: "svm", ops: { vcpu_run: "pv_vcpu_run" } }],
	});

	it("is loaded by its name, and leaves the vendor that it is based on as it is", () => {
		expect(vendorNames(tree)).toEqual(["vmx", "svm", "tdx", "pv-svm"]);
		const { tree: loaded, vendor } = selectVendor(tree, "pv-svm")!;
		expect(vendor).toBe("svm");
		const model = defaultModel("svm");
		const own = measureCost({ guest: "invd", tree: loaded, vendor, model });
		const svm = measureCost({ guest: "invd", tree, vendor, model });
		expect(own.module).toBe("pv-svm");
		expect(own.opsPerExit.rdtsc).toBe((svm.opsPerExit.rdtsc ?? 0) + 1);
		// The fastpath result is handed on: the exit stays in the loop.
		expect(own.opsPerExit.user_transition).toBe(svm.opsPerExit.user_transition);
	});

	it("is compared with the vendor that it is based on", () => {
		const own = onlyReached(selectVendor(tree, "pv-svm")!);
		const { changes } = diffTrees(onlyReached({ tree: v618, vendor: "svm" }), own);
		expect(changes.map(({ change }) => change).sort()).toEqual(["flow added", "op"]);
	});

	it("compiles, traced and not", () => {
		const { tree: loaded, vendor } = selectVendor(tree, "pv-svm")!;
		for (const traced of [true, false]) expect(() => compileTree(loaded, vendor, traced)).not.toThrow();
	});
});

const edit = (one: unknown) => ({ name: "mine", edits: [one] });
const inserted = (node: unknown) => edit({ insert: node, into: "vcpu_run", at: "start" });

describe("a mistake in a patch file is one line with the place and the likely mend", () => {
	it.each<[string, unknown, string]>([
		[
			"a step that is not there",
			edit({ remove: "clgj", from: "svm_vcpu_run" }),
			'edit 1: svm_vcpu_run has no step "clgj"; did you mean "clgi"?',
		],
		[
			"a step of another flow",
			edit({ remove: "clgi", from: "vmx_vcpu_run" }),
			'edit 1: vmx_vcpu_run has no step "clgi"; it is in svm_vcpu_run',
		],
		[
			"a flow that is not there",
			edit({ remove: "clgi", from: "svm_vcpu_runn" }),
			'edit 1: there is no flow svm_vcpu_runn; did you mean "svm_vcpu_run"?',
		],
		[
			"an anchor that is not there",
			edit({ move: "clgi", from: "svm_vcpu_run", to: "vmx_vcpu_run", before: "stgi" }),
			'edit 1: vmx_vcpu_run has no step "stgi"; it is in svm_vcpu_run',
		],
		[
			"no anchor",
			edit({ move: "clgi", from: "svm_vcpu_run", to: "svm_vcpu_run" }),
			'edit 1 needs one of "before", "after" and "at"; it has 0',
		],
		[
			"two anchors",
			edit({ move: "clgi", from: "svm_vcpu_run", to: "svm_vcpu_run", at: "end", after: "stgi" }),
			'edit 1 needs one of "before", "after" and "at"; it has 2',
		],
		[
			"a misspelt key",
			edit({ remove: "clgi", form: "svm_vcpu_run" }),
			'edit 1: there is no "form" here; did you mean "from"?',
		],
		["a missing key", edit({ remove: "clgi" }), 'edit 1: "from" is missing'],
		[
			"a missing node",
			edit({ insert: "clgi", into: "vcpu_run", at: "start", by: 1 }),
			'edit 1: there is no "by" here; did you mean "at"?',
		],
		[
			"a wrong type",
			edit({ remove: 5, from: "svm_vcpu_run" }),
			'edit 1: "remove" is a number; it must be a string',
		],
		[
			"a wrong word",
			edit({ move: "clgi", from: "svm_vcpu_run", to: "svm_vcpu_run", at: "top" }),
			'edit 1: "at" is "top"; it is one of "start", "end"',
		],
		["an edit of no kind", edit({ mov: "clgi" }), '"removeFlow", "set"; did you mean "move"?'],
		[
			"an edit of two kinds",
			edit({ remove: "clgi", move: "clgi", from: "x" }),
			'edit 1 has both "remove" and "move"; it does one thing',
		],
		["an edit that is none", edit("clgi"), "edit 1 is a string, not an object"],
		[
			"a step of no known tree",
			inserted("WRPKRU(guets)"),
			'edit 1: no step or flow "WRPKRU(guets)" in any known tree; did you mean "WRPKRU(guest)"?',
		],
		[
			"a name that stands for two things",
			inserted("guest PKRU differs"),
			'"guest PKRU differs" stands for 2 things; write "kvm_load_guest_xsave_state/guest PKRU differs" or "kvm_load_host_xsave_state/guest PKRU differs"',
		],
		["a name in capitals", edit({ remove: "CLGI", from: "svm_vcpu_run" }), 'did you mean "clgi"?'],
		[
			"a flow as C calls it",
			edit({ remove: "clgi", from: "svm_vcpu_run()" }),
			'there is no flow svm_vcpu_run(); did you mean "svm_vcpu_run"?',
		],
		[
			"a step of another base",
			edit({ remove: "kvm_load_guest_pkru", from: "vcpu_enter_guest" }),
			'vcpu_enter_guest has no step "kvm_load_guest_pkru"; dedup has it: is "base" right?',
		],
		[
			"a node that goes next to itself",
			edit({ move: "clgi", from: "svm_vcpu_run", to: "svm_vcpu_run", after: "clgi" }),
			'edit 1: "clgi" cannot go next to itself',
		],
		[
			"a node that goes into itself",
			edit({
				move: "is_nmi",
				from: "vmx_vcpu_enter_exit",
				to: "vmx_vcpu_enter_exit",
				after: "vmx_handle_nmi",
			}),
			'edit 1: "is_nmi" cannot go next to "vmx_handle_nmi", which is in it',
		],
		[
			"a node behind a return",
			edit({ move: "clgi", from: "svm_vcpu_run", to: "svm_vcpu_run", at: "end" }),
			'edit 1: "clgi" would stand behind "return exit_fastpath" in svm_vcpu_run, and is never come to there',
		],
		[
			"a field that is not declared",
			inserted({ assign: "is_loaded", to: 1 }),
			'edit 1: there is no field "is_loaded"; "fields" names those of the patch',
		],
		[
			"a value that is not there",
			inserted({ if: "c", when: { value: "guest XCR" }, then: [] }),
			'edit 1: there is no value "guest XCR"; did you mean "guest XCR0"?; "fields" names those of the patch',
		],
		[
			"an exit that is not there",
			inserted({ if: "c", when: { exit: "INVDD" }, then: [] }),
			'edit 1: there is no exit "INVDD"; did you mean "INVD"?',
		],
		[
			"a request that is not there",
			inserted({ if: "c", when: { all: [{ request: "TLB_FLUHS" }] }, then: [] }),
			'edit 1: there is no request "TLB_FLUHS"; did you mean "KVM_REQ_TLB_FLUSH"?',
		],
		[
			"a condition of no kind",
			inserted({ if: "c", when: { nott: "is_td_vcpu" }, then: [] }),
			'edit 1, "when" has none of "not", "all", "any", "value", "exit", "request"; did you mean "not"?',
		],
		[
			"a guard that is not there, within a condition",
			inserted({ if: "c", when: { not: "is_td_vcp" }, then: [] }),
			'edit 1: no step or flow "is_td_vcp" in any known tree; did you mean "is_td_vcpu"?',
		],
		[
			"a field that is called as a value is",
			{ name: "mine", fields: ["mode"], edits: [{ remove: "clgi", from: "svm_vcpu_run" }] },
			'"mode" is a value that is there already',
		],
		[
			"an op that is not there",
			inserted({ op: "wrmsrr" }),
			'edit 1: there is no op wrmsrr; did you mean "wrmsr"?',
		],
		[
			"an op without its value",
			inserted({ op: "xsetbv" }),
			'edit 1: op xsetbv needs "value": "guest" or "host"',
		],
		[
			"an op with a value that it does not load",
			inserted({ op: "sti", value: "host" }),
			"edit 1: op sti loads no value",
		],
		[
			"an op that a name does not do",
			inserted({ op: "vmresume" }),
			"edit 1: op vmresume cannot be done by its name alone; insert a step that does it",
		],
		[
			"an op within a step",
			inserted({ step: "s", does: ["rdtsc", "rdtcs"] }),
			'edit 1: there is no op rdtcs; did you mean "rdtsc"?',
		],
		[
			"a guard without a condition",
			inserted({ if: "is_td_vcpuu", then: [] }),
			'edit 1 has no "when" or "test": no step or flow "is_td_vcpuu" in any known tree; did you mean "is_td_vcpu"?',
		],
		[
			"a node deep inside",
			inserted({ if: "is_td_vcpu", then: [{ loop: "l", body: [{ stepp: 1 }] }] }),
			"edit 1, then 1, body 1 has none of",
		],
		["a missing list", inserted({ if: "is_td_vcpu" }), 'edit 1: "then" is missing'],
		[
			"a call of nothing",
			inserted({ call: "vmx_vcpu_runn" }),
			'edit 1: there is no flow vmx_vcpu_runn; did you mean "vmx_vcpu_run"?',
		],
		[
			"a member that kvm_x86_ops has not",
			inserted({ callOp: "vcpu_runs" }),
			'edit 1: kvm_x86_ops has no member vcpu_runs here; did you mean "vcpu_run"?',
		],
		[
			"a break without its loop",
			inserted({ break: "fastpth" }),
			'vcpu_run has "break fastpth" but no such loop',
		],
		[
			"a flow that is there already",
			{ name: "mine", flows: [{ name: "vcpu_run", body: [] }] },
			"flow 1: a flow vcpu_run is there already",
		],
		["a flow without a body", { name: "mine", flows: [{ name: "f" }] }, 'flow 1: "body" is missing'],
		[
			"a flow still called",
			edit({ removeFlow: "vmx_vcpu_run" }),
			"edit 1: vt_vcpu_run still calls vmx_vcpu_run",
		],
		[
			"a flow that kvm_x86_ops has",
			edit({ removeFlow: "vt_vcpu_run" }),
			"kvm_intel's vcpu_run is vt_vcpu_run, which is not there",
		],
		[
			"a member set to nothing",
			edit({ set: "vcpu_run", of: "kvm_intel", to: "pv_run" }),
			"edit 1: there is no flow pv_run",
		],
		[
			"a member that is none",
			edit({ set: "vcpu_rum", of: "kvm_intel", to: "vcpu_run" }),
			'kvm_x86_ops has no member vcpu_rum here; did you mean "vcpu_run"?',
		],
		[
			"an op defined twice",
			{
				name: "mine",
				ops: [
					{ name: "a", cycles: 1 },
					{ name: "a", cycles: 2 },
				],
			},
			"op 2: an op a is there already",
		],
		[
			"an op that the CPU has",
			{ name: "mine", ops: [{ name: "xsetbv", cycles: 1 }] },
			"op 1: an op xsetbv is there already",
		],
		[
			"an op that costs less than nothing",
			{ name: "mine", ops: [{ name: "a", cycles: -1 }] },
			'op 1: "cycles": it is less than 0',
		],
		["an op without a cost", { name: "mine", ops: [{ name: "a" }] }, 'op 1: "cycles" is missing'],
		[
			"a vendor that is there already",
			{ name: "mine", vendors: [{ name: "svm", basedOn: "svm", ops: {} }] },
			"vendor 1: a vendor svm is there already",
		],
		[
			"a vendor on no hardware",
			{ name: "mine", vendors: [{ name: "pv", basedOn: "arm", ops: {} }] },
			'"basedOn" is "arm"; it is one of "vmx", "svm", "tdx"',
		],
		[
			"a vendor's flow that is not there",
			{ name: "mine", vendors: [{ name: "pv", basedOn: "svm", ops: { vcpu_run: "svm_vcpu_rum" } }] },
			'vendor 1: there is no flow svm_vcpu_rum; did you mean "svm_vcpu_run"?',
		],
		[
			"a vendor's member that is none",
			{ name: "mine", vendors: [{ name: "pv", basedOn: "svm", ops: { run: "svm_vcpu_run" } }] },
			"vendor 1: kvm_x86_ops has no member run here",
		],
		["no name", { edits: [] }, '"name" is missing'],
		["a name with a blank", { name: "my idea", edits: [] }, '"name": a name is letters, digits'],
		["no edit", { name: "mine" }, "it changes nothing: it needs at least one edit"],
		["no document", null, "mine.json:7 is null, not an object"],
		["a list", [], "mine.json:7 is a list, not an object"],
		[
			"an edit of a patch of a series",
			{
				name: "mine",
				patches: [{ title: "1" }, { title: "2", edits: [{ remove: "clgj", from: "svm_vcpu_run" }] }],
			},
			'patch 2, edit 1: svm_vcpu_run has no step "clgj"',
		],
		["a patch without a title", { name: "mine", patches: [{ edits: [] }] }, 'patch 1: "title" is missing'],
	])("%s", (_what, document, message) => {
		let said = "";
		try {
			apply(document);
		} catch (error) {
			said = (error as Error).message;
		}
		expect(said).toMatch(/^mine\.json:7/);
		expect(said).toContain(message);
		expect(said).not.toContain("\n");
	});

	it("a name that stands for two steps of one flow", () => {
		const twice = patch({ edits: [{ insert: "clgi", into: "svm_vcpu_run", after: "stgi" }] });
		expect(() => patch({ edits: [{ remove: "clgi", from: "svm_vcpu_run" }] }, twice)).toThrow(
			'svm_vcpu_run has 2 steps "clgi"; write "clgi#1" for the first, "clgi#2" for the second',
		);
		const once = patch({ edits: [{ remove: "clgi#2", from: "svm_vcpu_run" }] }, twice);
		expect(diffTrees(v618, once).changes).toEqual([]);
	});
});
