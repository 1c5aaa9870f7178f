/**
 * The guest's CPU as QEMU's -cpu words it: a model, and features that are added or taken away. Nothing is offered that
 * the host does not have.
 *
 *     applyGuestCpu(vcpu, parseGuestCpu("qemu64,+x2apic,-pcid"));
 */
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

type Register = "eax" | "ebx" | "ecx" | "edx";
type Place = readonly [leaf: number, subleaf: number, register: Register, bit: number];

// biome-ignore format: one row a register
const NAMES: readonly (readonly [leaf: number, subleaf: number, register: Register, names: Readonly<Record<string, number>>])[] = [
	[1, 0, "edx", { fpu: 0, de: 2, pse: 3, tsc: 4, msr: 5, pae: 6, mce: 7, cx8: 8, apic: 9, sep: 11, mtrr: 12, pge: 13, mca: 14, cmov: 15, pat: 16, pse36: 17, clflush: 19, mmx: 23, fxsr: 24, sse: 25, sse2: 26 }],
	[1, 0, "ecx", { sse3: 0, pclmulqdq: 1, ssse3: 9, fma: 12, cx16: 13, pcid: 17, "sse4.1": 19, "sse4.2": 20, x2apic: 21, movbe: 22, popcnt: 23, "tsc-deadline": 24, aes: 25, xsave: 26, avx: 28, f16c: 29, rdrand: 30, hypervisor: 31 }],
	[7, 0, "ebx", { fsgsbase: 0, "tsc-adjust": 1, bmi1: 3, avx2: 5, smep: 7, bmi2: 8, erms: 9, invpcid: 10, rdseed: 18, adx: 19, smap: 20, clflushopt: 23, clwb: 24, "sha-ni": 29 }],
	[7, 0, "ecx", { umip: 2, pku: 3, vaes: 9, vpclmulqdq: 10, la57: 16, rdpid: 22, pks: 31 }],
	[7, 0, "edx", { "md-clear": 10, serialize: 14, "spec-ctrl": 26, stibp: 27, "flush-l1d": 28, ssbd: 31, "arch-capabilities": 29 }],
	[0xd, 1, "eax", { xsaveopt: 0, xsavec: 1, xgetbv1: 2, xsaves: 3 }],
	[0x8000_0001, 0, "edx", { syscall: 11, nx: 20, fxsr_opt: 25, pdpe1gb: 26, rdtscp: 27, lm: 29 }],
	[0x8000_0008, 0, "ebx", { ibpb: 12, ibrs: 14, "amd-stibp": 15, "amd-ssbd": 24 }],
	[0x8000_0001, 0, "ecx", { lahf_lm: 0, svm: 2, abm: 5, sse4a: 6, misalignsse: 7, "3dnowprefetch": 8 }],
];

const PLACES: ReadonlyMap<string, Place> = new Map(
	NAMES.flatMap(([leaf, subleaf, register, names]) =>
		Object.entries(names).map(([name, bit]): [string, Place] => [name, [leaf, subleaf, register, bit]]),
	),
);

const BASE_64 =
	"fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat clflush mmx fxsr sse sse2 hypervisor syscall nx lm";

/** What named models have (target/i386/cpu.c of QEMU), x2APIC with them because KVM gives it to all. */
const MODELS: Readonly<Record<string, readonly string[] | null>> = {
	max: null,
	host: null,
	qemu64: `${BASE_64} pse36 sse3 cx16 x2apic lahf_lm`.split(" "),
	Opteron_G1: `${BASE_64} sse3 x2apic`.split(" "),
	IvyBridge:
		`${BASE_64} pse36 sse3 pclmulqdq ssse3 cx16 sse4.1 sse4.2 x2apic popcnt tsc-deadline aes xsave avx f16c rdrand fsgsbase smep erms xsaveopt rdtscp lahf_lm`.split(
			" ",
		),
	"Skylake-Server": null,
};

/** Reads a -cpu string. @throws GuestCpuError for a model that is not known */
export function parseGuestCpu(text: string): GuestCpu {
	const [model = "", ...words] = text.split(",").map((word) => word.trim());
	if (!(model in MODELS)) {
		throw new GuestCpuError(`-cpu ${model}: no such model here; there are ${Object.keys(MODELS).join(", ")}`);
	}
	const features = new Map<string, boolean>();
	const properties = new Map<string, string>();
	for (const word of words) {
		const equals = word.indexOf("=");
		if (word.startsWith("+") || word.startsWith("-")) features.set(word.slice(1), word.startsWith("+"));
		else if (equals < 0) properties.set(word, "on");
		else {
			const [name, value] = [word.slice(0, equals), word.slice(equals + 1)];
			if (PLACES.has(name)) features.set(name, value === "on");
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
		if (place[0] !== leaf || place[1] !== subleaf || place[2] !== register) continue;
		if (!offers(cpu, name)) mask |= 1 << place[3];
	}
	return mask;
}

/** The vendor's twelve letters as EBX, EDX, ECX of leaf 0. */
function vendorWords(name: string): readonly [ebx: number, edx: number, ecx: number] {
	const view = new DataView(new TextEncoder().encode(name.padEnd(12, "\0")).buffer);
	return [view.getUint32(0, true), view.getUint32(4, true), view.getUint32(8, true)];
}

function changed(cpu: GuestCpu, entry: CpuidEntry): CpuidEntry {
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
	// Without XSAVE there is no leaf 0DH.
	if (entry.leaf === 0xd && !offers(cpu, "xsave")) return { ...entry, eax: 0, ebx: 0, ecx: 0, edx: 0 };
	return result;
}

/** KVM_SET_CPUID2 with what the CPU leaves of a vCPU's table. */
export function applyGuestCpu(v: Vcpu, cpu: GuestCpu): void {
	const entries = v.cpuid.map((entry) => changed(cpu, entry));
	v.cpuid.length = 0;
	v.cpuid.push(...entries);
}
