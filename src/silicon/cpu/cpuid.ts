/**
 * CPUID (SDM Vol. 2A, CPUID; APM Vol. 3, appendix E), from the model and from what this machine implements.
 *
 * The feature bits are those of cpuid-features.ts, with the few that follow a control register. AVX-512 and AMX are absent
 * from leaves 1 and 7, because guest code with them is not executed; their XSAVE state components are there in leaf 0DH
 * with all that XSAVE and XRSTOR do to them.
 */
import { CR4 } from "./control.ts";
import type { Cpu } from "./cpu.ts";
import { featureWord } from "./cpuid-features.ts";
import * as L from "./layout.ts";
import { compactedSize, STATE_COMPONENTS, standardOffset, standardSize } from "./state-components.ts";

/** What CPUID returns; unsigned 32-bit numbers. */
export interface CpuidResult {
	readonly eax: number;
	readonly ebx: number;
	readonly ecx: number;
	readonly edx: number;
}

const NOTHING: CpuidResult = { eax: 0, ebx: 0, ecx: 0, edx: 0 };

const bits = (...numbers: number[]) => numbers.reduce((mask, bit) => mask | (1 << bit), 0) >>> 0;

/** Bits of leaf 1 EDX that AMD's leaf 80000001H EDX repeats (APM Vol. 3, appendix E.4.2). */
const AMD_REPEATED_EDX = 0x0183_f3ff;

function result(eax: number, ebx: number, ecx: number, edx: number): CpuidResult {
	return { eax: eax >>> 0, ebx: ebx >>> 0, ecx: ecx >>> 0, edx: edx >>> 0 };
}

/** Four characters as a little-endian number. */
function chars(text: string, at: number): number {
	let value = 0;
	for (let i = 0; i < 4; i++) value |= (text.charCodeAt(at + i) || 0) << (8 * i);
	return value;
}

/**
 * Carries out CPUID on a processor.
 * @param leaf EAX, unsigned
 * @param subleaf ECX, unsigned
 */
export function cpuid(cpu: Cpu, leaf: number, subleaf: number): CpuidResult {
	const { model } = cpu;
	const intel = model.vendorString === "GenuineIntel";
	const maxLeaf = intel ? 0x16 : 0x10;
	switch (leaf) {
		case 0: {
			const name = model.vendorString;
			return result(maxLeaf, chars(name, 0), chars(name, 8), chars(name, 4));
		}
		case 1:
			return leaf1(cpu);
		case 4:
			return intel ? cacheLeaf(subleaf) : NOTHING;
		case 5:
			// MONITOR lines of 64 bytes; MWAIT's extensions, interrupts end it though they are masked.
			return result(64, 64, 3, 0);
		case 6:
			// ARAT: the APIC timer never stops.
			return result(4, 0, 0, 0);
		case 7:
			return subleaf === 0 ? leaf7(cpu) : NOTHING;
		case 0xb:
			return topology(cpu, subleaf);
		case 0xd:
			return extendedState(cpu, subleaf);
		case 0x15:
			// TSC frequency = crystal × EBX / EAX; a crystal of 25 MHz.
			return intel ? result(1, Math.round(model.tscHz / 25e6), 25e6, 0) : NOTHING;
		case 0x16:
			return intel ? result(Math.round(model.tscHz / 1e6), Math.round(model.tscHz / 1e6), 100, 0) : NOTHING;
		case 0x80000000: {
			if (intel) return result(0x80000008, 0, 0, 0);
			const name = model.vendorString;
			return result(0x80000021, chars(name, 0), chars(name, 8), chars(name, 4));
		}
		case 0x80000001:
			return result(
				intel ? 0 : model.signature,
				0,
				featureWord(model, leaf, 0, "ecx"),
				featureWord(model, leaf, 0, "edx") | (intel ? 0 : featureWord(model, 1, 0, "edx") & AMD_REPEATED_EDX),
			);
		case 0x80000002:
		case 0x80000003:
		case 0x80000004: {
			const at = (leaf - 0x80000002) * 16;
			const title = model.title;
			return result(chars(title, at), chars(title, at + 4), chars(title, at + 8), chars(title, at + 12));
		}
		case 0x80000006:
			return result(0, 0, 0x08008040, 0);
		case 0x80000007:
			return result(0, 0, 0, bits(8));
		case 0x80000008:
			return result(
				model.features.physicalAddressBits | ((model.features.la57 ? 57 : 48) << 8),
				featureWord(model, leaf, 0, "ebx"),
				0,
				0,
			);
		case 0x8000000a:
			return svmLeaf(cpu);
		default:
			return NOTHING;
	}
}

function leaf1(cpu: Cpu): CpuidResult {
	const { model } = cpu;
	const osxsave = (cpu.read32(L.CR4) & CR4.OSXSAVE) === 0 ? 0 : bits(27);
	return result(
		model.signature,
		// Initial APIC id, one logical processor, CLFLUSH line of 64 bytes.
		(cpu.index << 24) | (1 << 16) | (8 << 8),
		featureWord(model, 1, 0, "ecx") | osxsave,
		featureWord(model, 1, 0, "edx"),
	);
}

function leaf7(cpu: Cpu): CpuidResult {
	const { model } = cpu;
	const ospke = (cpu.read32(L.CR4) & CR4.PKE) === 0 ? 0 : bits(4);
	const word = (register: "ebx" | "ecx" | "edx") => featureWord(model, 7, 0, register);
	return result(0, word("ebx"), word("ecx") | ospke, word("edx"));
}

/** Deterministic cache parameters: 48 KiB L1D, 32 KiB L1I, 2 MiB L2. */
function cacheLeaf(subleaf: number): CpuidResult {
	// EBX: line size - 1 in 11:0, ways - 1 in 31:22.
	if (subleaf === 0) return result(0x121, (11 << 22) | 63, 63, 0);
	if (subleaf === 1) return result(0x122, (7 << 22) | 63, 63, 0);
	if (subleaf === 2) return result(0x143, (15 << 22) | 63, 2047, 0);
	return NOTHING;
}

/** One thread a core, all in one package. */
function topology(cpu: Cpu, subleaf: number): CpuidResult {
	if (subleaf === 0) return result(0, 1, 0x100, cpu.index);
	if (subleaf === 1) return result(8, 1, 0x201, cpu.index);
	return result(0, 0, subleaf & 0xff, cpu.index);
}

function extendedState(cpu: Cpu, subleaf: number): CpuidResult {
	const { model } = cpu;
	const { features } = model;
	if (subleaf === 0) {
		return result(features.xcr0, standardSize(model, cpu.xcr0), standardSize(model, features.xcr0), 0);
	}
	if (subleaf === 1) {
		return result(
			featureWord(model, 0xd, 1, "eax"),
			compactedSize(cpu.xcr0 | cpu.xss),
			features.xsaves ? features.xss : 0,
			0,
		);
	}
	const component = STATE_COMPONENTS.find((candidate) => candidate.index === subleaf);
	if (component === undefined) return NOTHING;
	const offered = component.supervisor ? features.xss : features.xcr0;
	if ((offered & (1 << component.index)) === 0) return NOTHING;
	const xfd = (features.xfd & (1 << component.index)) !== 0;
	return result(
		component.bytes,
		component.supervisor ? 0 : standardOffset(model, component),
		(component.supervisor ? 1 : 0) | (component.aligned ? 2 : 0) | (xfd ? 4 : 0),
		0,
	);
}

/** SVM revision and features: NP, LBRV, NRIPS, VSPEC_CTRL, VNMI. */
function svmLeaf(cpu: Cpu): CpuidResult {
	const { features, vendors } = cpu.model;
	if (!vendors.includes("svm")) return NOTHING;
	const edx =
		bits(0) |
		(features.lbrv ? bits(1) : 0) |
		(features.nrips ? bits(3) : 0) |
		(features.vSpecCtrl ? bits(20) : 0) |
		(features.vnmi ? bits(25) : 0);
	return result(1, 0x8000, 0, edx);
}
