/** CPUID's feature bits and the instructions that they tell of agree, in both directions. */
import { describe, expect, it } from "vitest";
import { CET } from "../../../src/silicon/cpu/cet.ts";
import { CR4, EFER } from "../../../src/silicon/cpu/control.ts";
import type { Cpu } from "../../../src/silicon/cpu/cpu.ts";
import { cpuid } from "../../../src/silicon/cpu/cpuid.ts";
import {
	bitOfInstructions,
	CPUID_FEATURES,
	type CpuidRegister,
	featureWord,
} from "../../../src/silicon/cpu/cpuid-features.ts";
import { VECTOR } from "../../../src/silicon/cpu/fault.ts";
import * as L from "../../../src/silicon/cpu/layout.ts";
import { MachineMemory } from "../../../src/silicon/machine.ts";
import { emeraldRapids } from "../../../src/silicon/models/emerald-rapids.ts";
import type { CpuModel } from "../../../src/silicon/models/model.ts";
import { turin } from "../../../src/silicon/models/turin.ts";
import { contextChanged } from "../../../src/silicon/paging/tlb.ts";
import { createProcessor } from "../../../src/silicon/processor.ts";
import { Code, CpuidFeature, Instruction } from "iced-x86";
import { AT, enterLongMode, hypervisor, poke64, RAM } from "../machine-code.ts";
import { allEncodings, Assembler, canBeMade, type Encoding } from "../translate/encodings.ts";
import { Random } from "../translate/random.ts";

/** Instructions of any x86-64 processor, which no bit tells of. */
const BASELINE = /^(INTEL\d.*|X64|MULTIBYTENOP)$/;
/** Intel's processors have SYSENTER in all modes of protection, AMD's only outside of long mode (APM Vol. 3, SYSENTER). */
const NOT_IN_LONG_MODE_ON_AMD = new Set<number>([Code.Sysenter, Code.Sysexitd, Code.Sysexitq]);

/** #UD without a control of VMX's that nobody has here, "enable VM functions" (SDM Vol. 3C, 26.5.6.2). */
const NEEDS_A_CONTROL = new Set<number>([Code.Vmfunc]);

/** CET's instructions among the hint NOPs, which no processor refuses (test/silicon/cet/). */
const HINTS = new Set<number>([Code.Rdsspd_r32, Code.Rdsspq_r64, Code.Endbr32, Code.Endbr64]);

function featuresOf(code: number): string[] {
	const instruction = new Instruction();
	instruction.code = code;
	const names = Array.from(instruction.cpuidFeatures(), (feature) => CpuidFeature[feature]!);
	instruction.free();
	return names;
}

/** Encodings in 64-bit mode, each with the bits that tell of it; without those that no row tells of. */
const told = allEncodings(true)
	.filter(({ bitnesses, code }) => bitnesses.includes(64) && !HINTS.has(code) && !NEEDS_A_CONTROL.has(code))
	.map((encoding) => ({ encoding, names: featuresOf(encoding.code) }))
	.filter(({ names }) => names.some((name) => bitOfInstructions(name) !== undefined))
	.filter(({ names }) => names.every((name) => BASELINE.test(name) || bitOfInstructions(name) !== undefined));

/** Of any x86-64 processor too, or hints that those without the feature take for NOPs. */
const UNTOLD_BASELINE = new Set([
	"PAUSE",
	"RDPMC",
	"CPUID",
	"PREFETCHW",
	"PREFETCHWT1",
	"PREFETCHITI",
	"CLDEMOTE",
]);
/** Encodings of groups that no row tells of, as far as they can be assembled. */
const untold = allEncodings(true)
	.filter(({ bitnesses, code }) => bitnesses.includes(64) && !HINTS.has(code))
	.filter(canBeMade)
	.filter(({ code }) =>
		featuresOf(code).some(
			(name) => !BASELINE.test(name) && !UNTOLD_BASELINE.has(name) && bitOfInstructions(name) === undefined,
		),
	);

/** The bits of CR4 that enable instructions. */
function enables({ features }: CpuModel): number {
	return CR4.OSXMMEXCPT | CR4.FSGSBASE | (features.pku ? CR4.PKE : 0) | (features.cetSs ? CR4.CET : 0);
}

/** A processor in 64-bit mode with all its features enabled, in a guest whose hypervisor intercepts what can be. */
function machineOf(model: CpuModel): Cpu {
	const cpu = createProcessor(new MachineMemory(1, RAM), model);
	enterLongMode(cpu);
	cpu.write32(L.CR4, cpu.read32(L.CR4) | enables(model));
	cpu.write32(L.S_CET, CET.SH_STK_EN | CET.WR_SHSTK_EN);
	cpu.write32(L.EFER, cpu.read32(L.EFER) | EFER.SCE);
	cpu.writeNumber(L.XCR0, model.features.xcr0);
	cpu.guest = hypervisor({ instruction: () => true });
	contextChanged(cpu);
	return cpu;
}

/**
 * Runs one instance of an encoding.
 * @param intercepted whether a hypervisor takes what can be intercepted
 * @returns the vector that it raises, or -1
 */
function vectorOf(cpu: Cpu, encoding: Encoding, seed: number, intercepted = true): number {
	const surroundings = {
		bitness: 64,
		rip: BigInt(AT.code),
		target: BigInt(AT.data),
		bases: Array(6).fill(0n),
	} as const;
	const random = new Random(seed);
	let instance = null;
	for (let tries = 0; instance === null && tries < 20; tries++) {
		instance = new Assembler(random).make(encoding, surroundings);
	}
	if (instance === null) throw new Error(`no instance of ${encoding.name}`);
	enterLongMode(cpu);
	cpu.write32(L.CR4, cpu.read32(L.CR4) | enables(cpu.model));
	cpu.guest = hypervisor({ instruction: () => intercepted });
	for (let index = 0; index < 16; index++) cpu.setGpr(index, instance.pinned.get(index) ?? 0n);
	if (!instance.pinned.has(L.RSP)) cpu.setGpr(L.RSP, BigInt(AT.stack));
	cpu.write32(L.MXCSR, 0x1f80);
	cpu.memory.onCodeWrite(AT.code >> 12);
	poke64(cpu, AT.code + 16, 0x9090909090909090n);
	cpu.memory.u8.set(instance.bytes, cpu.memory.ramBase + AT.code);
	cpu.write64(L.RIP, BigInt(AT.code));
	cpu.write32(L.FAULT, 0);
	cpu.executeOne(cpu);
	return cpu.read32(L.FAULT) === 0 ? -1 : cpu.read32(L.FAULT_VECTOR);
}

const offers = (model: CpuModel, code: number) =>
	featuresOf(code).every((name) => bitOfInstructions(name)?.offered(model) ?? true);

/** Models that lack what both built-in ones have. */
const poor: CpuModel = {
	...turin,
	name: "poor",
	vendors: [],
	features: { ...turin.features, pku: false, xsaves: false, cetSs: false },
};

describe.each([turin, emeraldRapids, poor])("$name", (model) => {
	const cpu = machineOf(model);

	it("carries out every instruction whose feature bit it reports, and raises #UD for one whose bit it does not", () => {
		const wrong: string[] = [];
		for (const { encoding } of told) {
			if (model.vendorString === "AuthenticAMD" && NOT_IN_LONG_MODE_ON_AMD.has(encoding.code)) continue;
			// A gather whose registers are not three is #UD on any processor.
			const seeds = /_vm(32|64)[xy]_/.test(encoding.name) ? [1, 2, 3, 4, 5, 6, 7, 8] : [7];
			const isUndefined = seeds.every((seed) => vectorOf(cpu, encoding, seed) === VECTOR.UD);
			if (isUndefined === offers(model, encoding.code)) wrong.push(encoding.name);
		}
		expect(wrong).toEqual([]);
	});

	it("raises #UD for every instruction that no row tells of, since no bit of it is reported", () => {
		const carriedOut = untold.filter((encoding) => vectorOf(cpu, encoding, 7, false) !== VECTOR.UD);
		expect(carriedOut.map(({ name }) => name)).toEqual([]);
	});

	it("reports exactly the bits of the table that it offers", () => {
		cpu.write32(L.CR4, 0);
		for (const { name, leaf, subleaf, register, bit, offered } of CPUID_FEATURES) {
			const reported = (cpuid(cpu, leaf, subleaf)[register] >>> bit) & 1;
			expect(`${name} ${reported}`).toBe(`${name} ${offered(model) ? 1 : 0}`);
		}
		for (const [leaf, registers] of [
			[1, ["ecx", "edx"]],
			[7, ["ebx", "ecx", "edx"]],
			[0x8000_0001, ["ecx"]],
		] as const) {
			for (const register of registers as readonly CpuidRegister[]) {
				expect(cpuid(cpu, leaf, 0)[register]).toBe(featureWord(model, leaf, 0, register));
			}
		}
	});
});

it("all names of instruction groups are iced-x86's", () => {
	const known: Readonly<Record<string, unknown>> = CpuidFeature;
	for (const { instructions } of CPUID_FEATURES) {
		for (const name of instructions) expect(typeof known[name]).toBe("number");
	}
});

it("the bits of what glibc and Linux require of x86-64 are there", () => {
	for (const name of [
		"FPU",
		"CX8",
		"CMOV",
		"FXSR",
		"SSE",
		"SSE2",
		"SYSCALL",
		"AVX2",
		"FMA",
		"BMI2",
		"MOVBE",
	]) {
		expect(bitOfInstructions(name)?.offered(turin)).toBe(true);
	}
});
