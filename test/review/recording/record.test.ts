import { describe, expect, it } from "vitest";
import {
	applyConfiguration,
	DEFAULT_CONFIGURATION,
	guestParameters,
	kernelOptions,
} from "../../../src/check/configuration.ts";
import type { Injection } from "../../../src/check/types.ts";
import { programImage } from "../../../src/guests/program-image.ts";
import { createMachine } from "../../../src/kvm/api/kvm.ts";
import { guestRamBytesFor, hostRamBytesFor, Vmm } from "../../../src/kvm/api/vmm.ts";
import { compileTree } from "../../../src/kvm/flow/compile.ts";
import { findTree } from "../../../src/kvm/trees/trees.ts";
import { recordRun } from "../../../src/review/recording/record.ts";
import { FRAME_KINDS, NODE_KINDS } from "../../../src/profile/timeline/frames.ts";
import { REGISTER_NAMES, type Recording } from "../../../src/review/recording/recording.ts";
import { defaultModel } from "../../../src/silicon/models/models.ts";
import { customOpId } from "../../../src/silicon/ops.ts";
import type { Vendor } from "../../../src/silicon/models/model.ts";

function record(spec: string, vendor: Vendor, guest: string | null, schedule: readonly Injection[] = []) {
	return recordRun({
		tree: findTree(spec),
		vendor,
		model: defaultModel(vendor),
		configuration: DEFAULT_CONFIGURATION,
		image: guest === null ? null : programImage(guest),
		schedule,
	});
}

const textsOf = (recording: Recording, kind: (typeof FRAME_KINDS)[number]) =>
	[...recording.text]
		.filter((_, at) => FRAME_KINDS[recording.kind[at]!] === kind)
		.map((text) => recording.texts[text]!);

describe("a recording of a run", () => {
	it("holds while the process knows an op of another tree", () => {
		customOpId("doorbell of a tree that is not recorded");
		expect(textsOf(record("v6.18", "vmx", "invd"), "op").length).toBeGreaterThan(0);
	});

	it.each(["vmx", "svm"] as const)(
		"of INVD on %s has the guest's instructions, and the exits that they cause",
		(vendor) => {
			const recording = record("v6.18", vendor, "invd");
			expect(textsOf(recording, "guest")).toContain("invd");
			expect(textsOf(recording, "step").filter((name) => name === "kvm_emulate_invd").length).toBeGreaterThan(
				0,
			);
			expect(recording.end).toBe("the guest ended with exit code 0");
			const rips = [...recording.registerSets].filter((_, at) => at % REGISTER_NAMES.length === 16);
			expect(rips.some((rip) => rip >= 0x10_0000n)).toBe(true);
		},
	);

	it("counts cycles forward, and ops as the check does", () => {
		const recording = record("v6.18", "svm", null);
		for (let at = 1; at < recording.count; at++) {
			expect(recording.cycles[at]!).toBeGreaterThanOrEqual(recording.cycles[at - 1]!);
			expect(recording.ops[at]!).toBeGreaterThanOrEqual(recording.ops[at - 1]!);
		}
		expect(recording.violations).toEqual([]);
	});

	it.each(["vmx", "svm"] as const)(
		"on %s ends at the cycle at which the run ends that nobody looks at, each step's own instructions in their place",
		(vendor) => {
			const model = defaultModel(vendor);
			const machine = createMachine({
				model,
				vendor,
				tree: compileTree(findTree("v6.18"), vendor),
				ramBytes: hostRamBytesFor(guestRamBytesFor(programImage("mixed"))),
				kernel: kernelOptions(DEFAULT_CONFIGURATION),
			});
			applyConfiguration(machine, DEFAULT_CONFIGURATION);
			const vmm = new Vmm(machine);
			vmm.load(programImage("mixed"), {
				parameters: guestParameters(DEFAULT_CONFIGURATION, model, vendor),
				commandLine: "guest",
			});
			const start = machine.cpu.cycles;
			vmm.run();
			const recording = record("v6.18", vendor, "mixed");
			expect(recording.endCycles).toBeCloseTo(machine.cpu.cycles - start, 4);
			const guards = recording.cycles.filter((_, at) => NODE_KINDS[recording.node[at]!] === "if");
			expect(new Set(guards).size).toBeGreaterThan(50);
		},
	);

	it("of series-v1 under TDX shows the interrupt that is never serviced, where the check finds it", () => {
		const quiet = record("series-v1", "tdx", null);
		const entry = quiet.kind.findIndex(
			(kind, at) => FRAME_KINDS[kind] === "op" && quiet.texts[quiet.text[at]!] === "seamcall",
		);
		const at = quiet.ops[entry]!;
		const recording = record("series-v1", "tdx", null, [{ event: "irq", at, inGuest: true }]);
		const violation = recording.violations.find(({ property }) => property === "interrupt-serviced");
		expect(violation?.callStack.length).toBeGreaterThan(0);
		expect(FRAME_KINDS[recording.kind[violation!.frame]!]).toBe("violation");
		expect(record("series-v2", "tdx", null, [{ event: "irq", at, inGuest: true }]).violations).toEqual([]);
	});

	it("asks the properties of any image: version 1 loses a TD's interrupt in td-cpuid as well, version 2 in none", () => {
		const quiet = record("series-v1", "tdx", "td-cpuid");
		expect(quiet.violations).toEqual([]);
		const entry = quiet.kind.findIndex(
			(kind, at) => FRAME_KINDS[kind] === "op" && quiet.texts[quiet.text[at]!] === "seamcall",
		);
		const irq: Injection = { event: "irq", at: quiet.ops[entry]!, inGuest: true };
		const names = (spec: string) =>
			record(spec, "tdx", "td-cpuid", [irq]).violations.map(({ property }) => property);
		expect(names("series-v1")).toContain("interrupt-serviced");
		expect(names("series-v2")).toEqual([]);
	});

	it.each(["vmx", "svm"] as const)(
		"holds upstream to nothing that it does not violate, in mixed on %s",
		(vendor) => {
			for (const event of ["irq", "nmi", "mce", "preempt", "signal"] as const)
				expect(record("v6.18", vendor, "mixed", [{ event, at: 150 }]).violations).toEqual([]);
		},
	);
});
