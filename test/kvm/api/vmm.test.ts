/** Guest programs from their first instruction to the exit port, on every vendor of a VM. */
import { describe, expect, test } from "vitest";
import { loadImage } from "../../../src/guests/load.ts";
import { findProgram, PROGRAMS, programBytes } from "../../../src/guests/programs.ts";
import { createMachine } from "../../../src/kvm/api/kvm.ts";
import { hostRamBytesFor, Vmm, type VmmResult } from "../../../src/kvm/api/vmm.ts";
import type { GuestParameters } from "../../../src/guests/boot.ts";
import { findTree } from "../../../src/kvm/trees/trees.ts";
import { findModel } from "../../../src/silicon/models/models.ts";

const VENDORS = [
	["vmx", "emerald-rapids"],
	["svm", "turin"],
] as const;

const FEATURES: GuestParameters = { iterations: 20, osxsave: true, pke: true, xcr0: 7, pkru: 0x5555_5550 };

function machineFor(vendor: "vmx" | "svm", model: string, tree = "v6.18") {
	return createMachine({
		model: findModel(model)!,
		vendor,
		tree: findTree(tree)!,
		ramBytes: hostRamBytesFor(2 << 20),
	});
}

function runProgram(
	vmm: Vmm,
	name: string,
	parameters: GuestParameters,
): { result: VmmResult; text: string } {
	vmm.load(loadImage(programBytes(findProgram(name)!)), { parameters });
	const result = vmm.run(5_000_000);
	return { result, text: vmm.consoleText };
}

describe.each(VENDORS)("on %s", (vendor, model) => {
	const programs = PROGRAMS.filter((program) => (program.vendors as readonly string[]).includes(vendor));

	test.each(programs.map(({ name }) => [name]))("%s prints its line and exits with 0", (name) => {
		const vmm = new Vmm(machineFor(vendor, model));
		const iterations = name === "compute" ? 1 : 20;
		const { result, text } = runProgram(vmm, name, { ...FEATURES, iterations });
		expect(result).toEqual({ kind: "exit", code: 0 });
		expect(text).toMatch(new RegExp(`^${name} \\d+\n$`));
	});

	test("the same program again gives the same figure", () => {
		const vmm = new Vmm(machineFor(vendor, model));
		runProgram(vmm, "cpuid", FEATURES);
		const first = runProgram(vmm, "cpuid", FEATURES);
		expect(runProgram(vmm, "cpuid", FEATURES)).toEqual(first);
	});

	test("exits are what the registry says, by kind", () => {
		for (const { name, exitsPerIteration } of programs) {
			if (name === "compute" || name === "hlt" || exitsPerIteration === null) continue;
			const count = (iterations: number) => {
				const machine = machineFor(vendor, model);
				runProgram(new Vmm(machine), name, { ...FEATURES, iterations });
				return machine.vcpu.stat.exits;
			};
			const { fastpath, kernel, user } = exitsPerIteration;
			// Digits printed may differ in number; each costs two exits.
			expect(Math.abs(count(60) - count(40) - 20 * (fastpath + kernel + user)), name).toBeLessThan(10);
		}
	});

	test("a guest that spins forever ends at its instruction budget", () => {
		const vmm = new Vmm(machineFor(vendor, model));
		vmm.load(loadImage(programBytes(findProgram("compute")!)), { parameters: { iterations: 1e9 } });
		expect(vmm.run(1_000_000).kind).toBe("budget");
	});

	test("a straight way through memory, without any branch, ends at its budget", () => {
		const vmm = new Vmm(machineFor(vendor, model));
		const bytes = new Uint8Array(1 << 20).fill(0x90);
		const segments = [{ gpa: 0x10_0000, bytes }];
		vmm.load({ protocol: "long-mode", entry: 0x10_0000, segments, endGpa: 0x10_0000 + bytes.length });
		const result = vmm.run(5_000);
		expect(result.kind).toBe("budget");
		expect(vmm.machine.cpu.instructions).toBeLessThan(100_000);
	});

	test("a vCPU that waits for ever while a timer ticks that cannot wake it ends at its budget", () => {
		const machine = machineFor(vendor, model);
		const vmm = new Vmm(machine);
		// APIC base: x2APIC; LVTT: periodic; TMICT: 1; hlt with interrupts off.
		const code =
			"b91b000000b8000de0fe31d20f30b932080000b82000020031d20f30b938080000b80100000031d20f30faf4ebfd";
		const bytes = Uint8Array.from(code.match(/../g)!, (byte) => Number.parseInt(byte, 16));
		const segments = [{ gpa: 0x10_0000, bytes }];
		vmm.load({ protocol: "long-mode", entry: 0x10_0000, segments, endGpa: 0x10_0000 + bytes.length });
		expect(vmm.run(100_000).kind).toBe("budget");
		expect(machine.vcpu.stat.exits).toBeLessThan(1000);
	});
});
