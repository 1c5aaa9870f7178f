/** Snapshots of machines with several vCPUs, which are cut off in the middle of what they do with one another. */
import { describe, expect, it } from "vitest";
import { machineGraph } from "../../src/kvm/snapshot/machine-graph.ts";
import { restoreSnapshot, writeSnapshot, type SnapshotHeader } from "../../src/kvm/snapshot/snapshot.ts";
import { guestBytes, guestWord, severalCpus, VENDORS, type VmVendor } from "./support/machines.ts";

// RDI times: takes the next place of the log at 190000H by LOCK XADD of 180020H, and writes its number there. The last CPU exits.
const ORDER =
	"bb00001800b801000000f0480fc143204088b4030000010048ffcf75e8f048ff0385f6750bf3904c391372f9b000e6f4f4ebfd";
// RDI times: takes the lock at 180000H by XCHG, waiting with PAUSE, reads the time and compares it with the last, drops the lock.
const CLOCKS =
	"bb00001800b801000000870385c07409f390b801000000ebf10f3148c1e2204809d0483b4308730448ff431048894308488b4b2048ff43204088b40b00000100c7030000000048ffcf75baf048ff431848837b180272f985f67504b000e6f4f4ebfd";

function make(vendor: VmVendor, code: string) {
	const { machine, vmm } = severalCpus({ vendor, vcpus: 2, seed: 5, code, iterations: 3000, startAll: true });
	const graph = machineGraph(machine, vmm);
	const header: SnapshotHeader = {
		program: "test",
		modelHash: "0",
		model: vendor,
		vendor,
		tree: "v6.18",
		vcpus: 2,
		seed: 5,
		pit: true,
		guestRamBytes: vmm.guestRamBytes,
	};
	const seen = () => ({
		log: guestBytes(machine, 0x19_0000, 6000),
		words: [0, 8, 16, 24, 32].map((at) => guestWord(machine, 0x18_0000 + at)),
		clocks: machine.processors.map(({ cpu }) => [cpu.cycles, cpu.instructions]),
		exits: machine.vm.vcpus.map(({ stat }) => stat.exits),
	});
	return {
		run: (budget: number) => vmm.run(budget),
		save: () => writeSnapshot(machine, vmm, graph, header),
		restore: (bytes: Uint8Array) => restoreSnapshot(bytes, machine, graph, header),
		seen,
	};
}

describe.each(VENDORS)("a snapshot of two vCPUs on %s", (vendor) => {
	it.each([
		["take turns at a counter", ORDER],
		["wait for a lock and read the time", CLOCKS],
	])("that %s goes on byte for byte as the run that it was taken of", (_, code) => {
		for (const budget of [3000, 20_011]) {
			const first = make(vendor, code);
			expect(first.run(budget).kind).toBe("budget");
			const bytes = first.save();
			const second = make(vendor, code);
			second.restore(bytes);
			expect(second.seen()).toEqual(first.seen());
			expect(Buffer.compare(second.save(), bytes)).toBe(0);
			const more = first.run(5000);
			expect(second.run(5000)).toEqual(more);
			expect(Buffer.compare(second.save(), first.save())).toBe(0);
			expect(first.run(50_000_000)).toEqual({ kind: "exit", code: 0 });
			expect(second.run(50_000_000)).toEqual({ kind: "exit", code: 0 });
			expect(second.seen()).toEqual(first.seen());
			expect(Buffer.compare(second.save(), first.save()), "of a machine that has ended").toBe(0);
		}
	});
});
