import { describe, expect, it } from "vitest";
import { programImage } from "../../../src/guests/program-image.ts";
import { createMachine, createSilicon } from "../../../src/kvm/api/kvm.ts";
import { Vmm } from "../../../src/kvm/api/vmm.ts";
import { compileTree } from "../../../src/kvm/flow/compile.ts";
import { findTree } from "../../../src/kvm/trees/trees.ts";
import { OP_NAMES } from "../../../src/silicon/ops.ts";
import { defaultModel } from "../../../src/review/review.ts";

/** Runs a guest of 100 INVDs. @returns cycles and op counts at its end */
function run(vendor: "vmx" | "svm", name: string, traced: boolean) {
	const model = defaultModel(vendor);
	const tree = compileTree(findTree(name), vendor, traced);
	const machine = createMachine({ model, vendor, tree, silicon: createSilicon(model) });
	const vmm = new Vmm(machine);
	vmm.load(programImage("invd"), { parameters: { iterations: 100, osxsave: true } });
	const seen = new Set<string>();
	machine.vcpu.nodeObserver = {
		onNode: (_v, place) => {
			if (place.node.kind === "step") seen.add(place.node.name);
		},
	};
	vmm.run();
	return { cycles: machine.cpu.cycles, counts: [...machine.cpu.opCounts], seen };
}

describe.each(["vmx", "svm"] as const)("a tree compiled for %s", (vendor) => {
	it.each(["v6.18", "series-v2"])("%s takes the same cycles and ops traced and untraced", (name) => {
		const plain = run(vendor, name, false);
		const traced = run(vendor, name, true);
		expect(traced.cycles).toBe(plain.cycles);
		expect(traced.counts).toEqual(plain.counts);
		expect(plain.counts[OP_NAMES.indexOf("code")]).toBeGreaterThan(0);
	});

	it("reports steps of which only the instructions count, as it does all others", () => {
		expect(run(vendor, "v6.18", true).seen).toContain("kvm_wait_lapic_expire");
		expect(run(vendor, "v6.18", false).seen.size).toBe(0);
	});
});
