import { describe, expect, it } from "vitest";
import { walk } from "../../../src/kvm/flow/flow.ts";
import { applyEdit } from "../../../src/kvm/flow/patch.ts";
import { treePath } from "../../../src/kvm/flow/path.ts";
import { v618 } from "../../../src/kvm/trees/base.ts";
import { VENDORS } from "../../../src/silicon/models/model.ts";

describe("the flows of a tree as one path", () => {
	it.each(VENDORS)("begin at KVM_RUN and reach %s's VM entry within the fastpath loop", (vendor) => {
		const rows = treePath(v618, vendor);
		expect(rows[0]).toMatchObject({ kind: "function", name: "kvm_arch_vcpu_ioctl_run", end: rows.length });
		const loop = rows.findIndex(({ kind, name }) => kind === "loop" && name === "fastpath");
		const run = rows.findIndex(({ op }) => op === "vcpu_run");
		expect(loop).toBeGreaterThan(0);
		expect(run).toBeGreaterThan(loop);
		expect(run).toBeLessThan(rows[loop]!.end);
	});

	it("name every node as a patch file does: a move of it before itself applies", () => {
		for (const row of treePath(v618, "vmx")) {
			if (row.reference === "") continue;
			const { flow, reference } = row;
			const moved = applyEdit(v618, { edit: "move", node: reference, from: flow, to: flow, at: "end" });
			const names = (tree: typeof v618) =>
				[...walk(tree.flows.get(flow)!.body)].map(({ name }) => name).sort();
			expect(names(moved)).toEqual(names(v618));
		}
	});
});
