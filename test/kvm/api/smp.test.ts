import { describe, expect, it } from "vitest";
import type { Machine } from "../../../src/kvm/api/kvm.ts";
import { writeGuestPhysical } from "../../../src/kvm/emulate/guest-memory.ts";
import { OP } from "../../../src/silicon/ops.ts";
import { guestBytes, guestWord, hex, severalCpus, VENDORS, type VmVendor } from "../support/machines.ts";

// RBX = 180000H: a lock, the last time read, how often time went back, CPUs that are done, length of the log, and
// 190000H the log. Each CPU, RDI times: takes the lock, reads the time, compares, logs its number, drops the lock.
const CLOCKS =
	"bb00001800b801000000870385c07409f390b801000000ebf10f3148c1e2204809d0483b4308730448ff431048894308488b4b2048ff43204088b40b00000100c7030000000048ffcf75baf048ff431848837b180272f985f67504b000e6f4f4ebfd";

// RDI times: takes the next place of the log at 190000H by LOCK XADD and writes its number there.
const ORDER =
	"bb00001800b801000000f0480fc143204088b4030000010048ffcf75e8f048ff0385f6750bf3904c391372f9b000e6f4f4ebfd";

// INIT and then SIPI with vector 8 to all others by the xAPIC's ICR; exits when 9000H has 0800H.
const START_OTHERS =
	"bb0000e0fec783f0000000ff010000c7830003000000450c00c7830003000008460c00f39066813c2500900000000875f2b000e6f4f4";
// 16-bit, at 8000H: stores CS to 9000H, then halts.
const REAL_MODE = "8cc8a30090f4ebfd";

// Sums RDI, RDI - 1, … 1 with a CPUID every 64, to 180008H + 8 * RSI; the first exits when all R10 are done.
const SUM =
	"31c04d31c04989f94d01c841f6c13f750431c00fa249ffc975eebb000018004c8944f308f048ff0385f6750ef390488b034c39d072f6b000e6f4f4ebfd";
const ITERATIONS = 20_000;
const SUM_OF_ITERATIONS = BigInt((ITERATIONS * (ITERATIONS + 1)) / 2);

function order(vendor: VmVendor, seed: number) {
	const { machine, vmm } = severalCpus({
		vendor,
		vcpus: 2,
		seed,
		code: ORDER,
		iterations: 8000,
		startAll: true,
	});
	expect(vmm.run(50_000_000)).toEqual({ kind: "exit", code: 0 });
	const cycles = machine.processors.map(({ cpu }) => cpu.cycles);
	return { log: guestBytes(machine, 0x19_0000, 16_000), cycles };
}

const sums = (machine: Machine) => machine.vm.vcpus.map(({ id }) => guestWord(machine, 0x18_0008 + 8 * id));

describe.each(VENDORS)("two vCPUs on %s", (vendor) => {
	it("never see the time stamp counter go back, whichever of them reads it", () => {
		const { machine, vmm } = severalCpus({
			vendor,
			vcpus: 2,
			code: CLOCKS,
			iterations: 2000,
			startAll: true,
		});
		expect(vmm.run(50_000_000)).toEqual({ kind: "exit", code: 0 });
		expect(guestWord(machine, 0x18_0020)).toBe(4000n);
		expect(guestWord(machine, 0x18_0010)).toBe(0n);
	});

	it("take turns as the seed says: the same one gives the same bytes, another one another order", () => {
		const first = order(vendor, 7);
		expect(order(vendor, 7)).toEqual(first);
		expect(order(vendor, 8).log).not.toEqual(first.log);
		expect(first.log.filter((id) => id === 1).length).toBe(8000);
	});

	it("start by INIT and SIPI: in real mode, in the page that the vector names", () => {
		const { machine, vmm } = severalCpus({ vendor, vcpus: 2, code: START_OTHERS });
		writeGuestPhysical(machine.vm, 0x8000, hex(REAL_MODE));
		expect(vmm.run(1_000_000)).toEqual({ kind: "exit", code: 0 });
		expect(machine.vm.vcpus[1]!.stat.haltExits).toBe(1);
	});

	it("halt the machine when both sleep and no timer is set", () => {
		const { vmm } = severalCpus({ vendor, vcpus: 2, code: "f4ebfd", startAll: true });
		expect(vmm.run(1_000_000)).toEqual({ kind: "halted" });
	});

	it("see a request of each other's before they are in the guest again", () => {
		const { machine, vmm } = severalCpus({
			vendor,
			vcpus: 2,
			code: SUM,
			iterations: ITERATIONS,
			startAll: true,
		});
		vmm.run(20_000);
		const flushes = () => machine.vm.vcpus.map(({ requests }) => requests);
		machine.vm.mmu.zap();
		expect(flushes()).toEqual([1, 1]);
		expect(vmm.run(5_000_000)).toEqual({ kind: "exit", code: 0 });
		expect(sums(machine)).toEqual([SUM_OF_ITERATIONS, SUM_OF_ITERATIONS]);
	});
});

describe.each(VENDORS)("threads on %s", (vendor) => {
	it("go on on another CPU when they are moved, and nothing of the guest is lost", () => {
		const { machine, vmm } = severalCpus({ vendor, vcpus: 1, cpus: 2, code: SUM, iterations: 100_000 });
		const { kernels, vcpu, smp } = machine;
		const visited: number[] = [];
		for (let move = 0; move < 10; move++) {
			expect(vmm.run(5_000).kind).toBe("budget");
			visited.push(vcpu.cpu.index);
			smp!.migrate(vcpu.thread!, kernels[1 - vcpu.cpu.index]!);
		}
		expect(vmm.run(5_000_000)).toEqual({ kind: "exit", code: 0 });
		expect(visited).toEqual([0, 1, 0, 1, 0, 1, 0, 1, 0, 1]);
		expect(sums(machine)).toEqual([(100_000n * 100_001n) / 2n]);
		if (vendor === "vmx") {
			// Each move takes the VMCS from the CPU that it was on.
			const cleared = machine.processors.reduce((sum, { cpu }) => sum + cpu.opCounts[OP.vmclear]!, 0);
			expect(cleared).toBe(10);
		}
	});

	it("share one CPU by time slices", () => {
		const { machine, vmm } = severalCpus({
			vendor,
			vcpus: 3,
			cpus: 1,
			code: SUM,
			iterations: 400_000,
			startAll: true,
		});
		expect(vmm.run(50_000_000)).toEqual({ kind: "exit", code: 0 });
		const sum = (400_000n * 400_001n) / 2n;
		expect(sums(machine)).toEqual([sum, sum, sum]);
		expect(machine.cpu.opCounts[OP.switch_to]).toBeGreaterThan(3);
	});
});
