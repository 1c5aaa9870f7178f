import { expect, test } from "vitest";
import { programImage } from "../../src/guests/program-image.ts";
import { createMachine } from "../../src/kvm/api/kvm.ts";
import { Vmm } from "../../src/kvm/api/vmm.ts";
import { findTree } from "../../src/kvm/trees/trees.ts";
import { measureCost } from "../../src/review/cost.ts";
import { savedIn } from "../../src/review/saved.ts";
import { MODELS } from "../../src/silicon/models/models.ts";

const from = findTree("v6.18");
const to = findTree("series-v2");

test.each([
	["turin", "svm"],
	["emerald-rapids", "vmx"],
] as const)(
	"on %s a run's INVDs are priced as the fastpath's, and its port as an exit that leaves",
	(name, vendor) => {
		const model = MODELS[name]!;
		const machine = createMachine({ model, vendor, tree: from });
		const vmm = new Vmm(machine);
		vmm.load(programImage("invd"), { parameters: { iterations: 50, osxsave: true, quiet: true } });
		expect(vmm.run()).toEqual({ kind: "exit", code: 0 });
		const { rows, savedCycles } = savedIn({ vcpus: machine.vm.vcpus, from, to, model, vendor });
		const invd = (tree: typeof from) => measureCost({ guest: "invd", tree, vendor, model }).cyclesPerExit;
		const fast = rows.find((row) => row.path === "fastpath" && row.swaps.osxsave)!;
		expect(fast.exits).toBeGreaterThanOrEqual(50);
		expect(fast.savedCyclesPerExit).toBeCloseTo(invd(from) - invd(to), 1);
		expect(
			rows.filter((row) => row.path === "slow").reduce((sum, row) => sum + row.exits, 0),
		).toBeGreaterThan(0);
		const total = rows.reduce((sum, row) => sum + row.exits * row.savedCyclesPerExit, 0);
		expect(savedCycles).toBe(Math.round(total));
		expect(rows.reduce((sum, row) => sum + row.exits, 0)).toBe(
			[...machine.vcpu.stat.byReason.values()].reduce((sum, count) => sum + count, 0),
		);
	},
);
