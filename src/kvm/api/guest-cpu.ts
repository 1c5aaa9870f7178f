/**
 * The guest's CPU as QEMU's -cpu words it: a model, and features that are added or taken away. Nothing is offered that
 * the host does not have.
 *
 *     applyGuestCpu(vcpu, parseGuestCpu("qemu64,+x2apic,-pcid"));
 */
import {
	CPUID_FEATURES,
	type CpuidFeatureBit,
	type CpuidRegister as Register,
} from "../../silicon/cpu/cpuid-features.ts";
import { standardSize } from "../../silicon/cpu/state-components.ts";
import type { CpuModel } from "../../silicon/models/model.ts";
import { kvmVcpuAfterSetCpuid } from "../emulate/cpuid.ts";
import type { CpuidEntry, Vcpu } from "../vcpu.ts";

export interface GuestCpu {
	/** A model, by QEMU's name. */
	readonly model: string;
	/** Features by QEMU's name; true to add. */
	readonly features: ReadonlyMap<string, boolean>;
	/** Other properties, `vendor` and `phys-bits` among them. */
	readonly properties: ReadonlyMap<string, string>;
}

/** A -cpu string cannot be understood, in one line. */
export class GuestCpuError extends Error {
	override readonly name = "GuestCpuError";
}

type Place = Pick<CpuidFeatureBit, "name" | "leaf" | "subleaf" | "register" | "bit">;

/** Bits that KVM adds to the processor's: the local APIC's, and what it emulates. */
const OF_KVM: readonly Place[] = [
	{ name: "x2apic", leaf: 1, subleaf: 0, register: "ecx", bit: 21 },
	{ name: "tsc-deadline", leaf: 1, subleaf: 0, register: "ecx", bit: 24 },
	{ name: "hypervisor", leaf: 1, subleaf: 0, register: "ecx", bit: 31 },
	{ name: "tsc-adjust", leaf: 7, subleaf: 0, register: "ebx", bit: 1 },
];

const PLACES: ReadonlyMap<string, Place> = new Map(
	[...CPUID_FEATURES, ...OF_KVM].map((place) => [place.name, place]),
);

const BASE_64 =
	"fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat clflush mmx fxsr sse sse2 hypervisor syscall nx lm";

/** What named models have (target/i386/cpu.c of QEMU), x2APIC with them because KVM gives it to all. */
const MODELS: Readonly<Record<string, readonly string[] | null>> = {
	max: null,
	host: null,
	qemu64: `${BASE_64} pse36 sse3 cx16 x2apic lahf-lm`.split(" "),
	Opteron_G1: `${BASE_64} sse3 x2apic`.split(" "),
	IvyBridge:
		`${BASE_64} pse36 sse3 pclmulqdq ssse3 cx16 sse4.1 sse4.2 x2apic popcnt tsc-deadline aes xsave avx f16c rdrand fsgsbase smep erms xsaveopt rdtscp lahf-lm`.split(
			" ",
		),
	"Skylake-Server": null,
};

/** Reads a -cpu string. @throws GuestCpuError for a model that is not known */
export function parseGuestCpu(text: string): GuestCpu {
	const [model = "", ...words] = text.split(",").map((word) => word.trim());
	const featureOf = (name: string) => name.replaceAll("_", "-");
	if (!(model in MODELS)) {
		throw new GuestCpuError(`-cpu ${model}: no such model here; there are ${Object.keys(MODELS).join(", ")}`);
	}
	const features = new Map<string, boolean>();
	const properties = new Map<string, string>();
	for (const word of words) {
		const equals = word.indexOf("=");
		if (word.startsWith("+") || word.startsWith("-"))
			features.set(featureOf(word.slice(1)), word.startsWith("+"));
		else if (equals < 0) properties.set(word, "on");
		else {
			const [name, value] = [word.slice(0, equals), word.slice(equals + 1)];
			if (PLACES.has(featureOf(name))) features.set(featureOf(name), value === "on");
			else properties.set(name, value);
		}
	}
	return { model, features, properties };
}

/** Whether the CPU offers a feature that has a name here. */
function offers(cpu: GuestCpu, name: string): boolean {
	const said = cpu.features.get(name);
	if (said !== undefined) return said;
	const model = MODELS[cpu.model];
	return model === null || model === undefined || model.includes(name);
}

/** Bits of a register that the CPU takes away. */
function hidden(cpu: GuestCpu, leaf: number, subleaf: number, register: Register): number {
	let mask = 0;
	for (const [name, place] of PLACES) {
		if (place.leaf !== leaf || place.subleaf !== subleaf || place.register !== register) continue;
		if (!offers(cpu, name)) mask |= 1 << place.bit;
	}
	return mask;
}

/** The vendor's twelve letters as EBX, EDX, ECX of leaf 0. */
function vendorWords(name: string): readonly [ebx: number, edx: number, ecx: number] {
	const view = new DataView(new TextEncoder().encode(name.padEnd(12, "\0")).buffer);
	return [view.getUint32(0, true), view.getUint32(4, true), view.getUint32(8, true)];
}

function changed(cpu: GuestCpu, entry: CpuidEntry, model: CpuModel): CpuidEntry {
	const subleaf = entry.subleaf ?? 0;
	const keep = (register: Register) => (entry[register] & ~hidden(cpu, entry.leaf, subleaf, register)) >>> 0;
	const result = { ...entry, eax: keep("eax"), ebx: keep("ebx"), ecx: keep("ecx"), edx: keep("edx") };
	const vendor = cpu.properties.get("vendor");
	if (vendor !== undefined && (entry.leaf === 0 || entry.leaf === 0x8000_0000)) {
		const [ebx, edx, ecx] = vendorWords(vendor);
		return { ...result, ebx, edx, ecx };
	}
	const bits = cpu.properties.get("phys-bits");
	if (bits !== undefined && entry.leaf === 0x8000_0008) {
		return { ...result, eax: (result.eax & ~0xff) | (Number(bits) & 0xff) };
	}
	return entry.leaf === 0xd ? extendedState(cpu, result, model) : result;
}

/** State components that go with a feature: AVX and AVX-512 with the first, PKRU. */
const COMPONENTS: readonly (readonly [feature: string, mask: number])[] = [
	["avx", 0xe4],
	["pku", 0x200],
];
/** CET_U and CET_S of IA32_XSS, which go with either half of CET. */
const CET_COMPONENTS = 0x1800;

/** Leaf 0DH without the state of features that the CPU takes away; without XSAVE there is none of it. */
function extendedState(cpu: GuestCpu, entry: CpuidEntry, model: CpuModel): CpuidEntry {
	const nothing = { ...entry, eax: 0, ebx: 0, ecx: 0, edx: 0 };
	if (!offers(cpu, "xsave")) return nothing;
	// A named model has none but those of its features: x87, SSE, AVX, PKRU.
	let gone = MODELS[cpu.model] === null ? 0 : ~0x207;
	for (const [feature, mask] of COMPONENTS) if (!offers(cpu, feature)) gone |= mask;
	if (!offers(cpu, "shstk") && !offers(cpu, "ibt")) gone |= CET_COMPONENTS;
	const subleaf = entry.subleaf ?? 0;
	const eax = (entry.eax & ~gone) >>> 0;
	if (subleaf === 0) return { ...entry, eax, ecx: standardSize(model, eax) };
	if (subleaf === 1) return { ...entry, ecx: offers(cpu, "xsaves") ? (entry.ecx & ~gone) >>> 0 : 0 };
	return (gone & (1 << subleaf)) !== 0 ? nothing : entry;
}

/** KVM_SET_CPUID2 with what the CPU leaves of a vCPU's table. */
export function applyGuestCpu(v: Vcpu, cpu: GuestCpu): void {
	const entries = v.cpuid.map((entry) => changed(cpu, entry, v.cpu.model));
	v.cpuid.length = 0;
	v.cpuid.push(...entries);
	kvmVcpuAfterSetCpuid(v);
}
