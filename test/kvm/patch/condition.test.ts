import { describe, expect, it } from "vitest";
import { createMachine } from "../../../src/kvm/api/kvm.ts";
import { compileTree } from "../../../src/kvm/flow/compile.ts";
import { diffTrees } from "../../../src/kvm/flow/diff.ts";
import type { Guard, Step } from "../../../src/kvm/flow/flow.ts";
import type { ConditionDocument, NodeDocument } from "../../../src/kvm/patch/document.ts";
import { applyPatchFile } from "../../../src/kvm/patch/patch-file.ts";
import { KVM_REQ } from "../../../src/kvm/requests.ts";
import { v618 } from "../../../src/kvm/trees/base.ts";
import { defaultModel } from "../../../src/review/review.ts";
import { EXIT_REASON } from "../../../src/silicon/vmx/controls.ts";

function read(nodes: readonly NodeDocument[], into = "vcpu_run") {
	const edits = nodes.map((insert) => ({ insert, into, at: "start" }));
	const document = { name: "mine", fields: ["is_loaded", "last"], edits };
	return applyPatchFile({ document, locate: () => "mine.json" }, v618, []);
}

const nodeOf = (node: NodeDocument, into?: string) =>
	read([node], into).flows.get(into ?? "vcpu_run")!.body[0]!;
const test = (when: ConditionDocument) => (nodeOf({ if: "c", when, then: [] }) as Guard).test;

const { vcpu } = createMachine({
	model: defaultModel("vmx"),
	vendor: "vmx",
	tree: compileTree(v618, "vmx"),
	ramBytes: 2 << 20,
});

describe("a condition of a patch file", () => {
	it("is that of a known guard, and of several", () => {
		vcpu.mpState = 0;
		expect(test("kvm_vcpu_running")(vcpu)).toBe(true);
		expect(test({ not: "kvm_vcpu_running" })(vcpu)).toBe(false);
		expect(test({ all: ["kvm_vcpu_running", "is_td_vcpu"] })(vcpu)).toBe(false);
		expect(test({ any: ["kvm_vcpu_running", "is_td_vcpu"] })(vcpu)).toBe(true);
	});

	it("compares what KVM has at hand", () => {
		vcpu.xcr0 = 7;
		expect(test({ value: "guest XCR0", is: 7 })(vcpu)).toBe(true);
		expect(test({ value: "guest XCR0", is: "host XCR0" })(vcpu)).toBe(false);
		expect(test({ value: "mode" })(vcpu)).toBe(false);
	});

	it("names the last exit as trace events do, in either case, and a request", () => {
		vcpu.vt.exitReason = EXIT_REASON.invd;
		expect(["INVD", "invd", "HLT"].map((exit) => test({ exit })(vcpu))).toEqual([true, true, false]);
		vcpu.requests = KVM_REQ.TLB_FLUSH;
		expect(test({ request: "KVM_REQ_TLB_FLUSH" })(vcpu)).toBe(true);
		expect(test({ request: "EVENT" })(vcpu)).toBe(false);
	});

	it("asks a field of the patch's own, which is 0 until a step assigns it", () => {
		vcpu.xcr0 = 7;
		const isLast = test({ value: "last", is: "guest XCR0" });
		expect(isLast(vcpu)).toBe(false);
		(nodeOf({ assign: "last", to: "guest XCR0" }) as Step).run(vcpu);
		expect(isLast(vcpu)).toBe(true);
		vcpu.xcr0 = 3;
		expect(isLast(vcpu)).toBe(false);
	});

	it("is equal to itself, read twice, and not to another", () => {
		const tree = (is: number) =>
			read([
				{
					if: "c",
					when: { all: ["is_td_vcpu", { not: { value: "last", is } }] },
					then: [{ assign: "last", to: is }],
				},
			]);
		expect(diffTrees(tree(1), tree(1)).changes).toEqual([]);
		expect(diffTrees(tree(1), tree(2)).changes).not.toEqual([]);
	});
});

describe("a name that several flows have", () => {
	it("is the one of the flow that is changed", () => {
		const here = nodeOf("guest XCR0 differs", "kvm_load_host_xsave_state");
		const known = v618.flows
			.get("kvm_load_host_xsave_state")!
			.body.flatMap((node) => (node.kind === "if" ? node.then : []));
		expect(known).toContainEqual(here);
		expect(nodeOf("guest_state_loaded", "tdx_prepare_switch_to_guest")).toEqual(
			v618.flows.get("tdx_prepare_switch_to_guest")!.body[0],
		);
	});
});
