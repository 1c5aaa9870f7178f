/**
 * The feature bits of CPUID, one row a bit (SDM Vol. 2A, CPUID; APM Vol. 3, appendix E). What a processor reports, which
 * encodings it decodes and what QEMU's -cpu calls them all come from here.
 *
 * A row names the instructions that the bit tells of by iced-x86's `CpuidFeature`. All of them are implemented, and they
 * raise #UD on a model that does not offer the bit (test/silicon/cpu/cpuid-features.test.ts).
 */
import type { CpuModel } from "../models/model.ts";

/** Output registers of CPUID. */
export type CpuidRegister = "eax" | "ebx" | "ecx" | "edx";

/** One bit of CPUID. */
export interface CpuidFeatureBit {
	/** QEMU's name, which mostly is the one in /proc/cpuinfo. */
	readonly name: string;
	readonly leaf: number;
	readonly subleaf: number;
	readonly register: CpuidRegister;
	readonly bit: number;
	/** Whether processors of a model have it. */
	readonly offered: (model: CpuModel) => boolean;
	/** Instructions that come with it: names of iced-x86's `CpuidFeature`. */
	readonly instructions: readonly string[];
}

const all = () => true;
const intel = ({ vendorString }: CpuModel) => vendorString === "GenuineIntel";
const amd = ({ vendorString }: CpuModel) => vendorString === "AuthenticAMD";
const pku = ({ features }: CpuModel) => features.pku;
const pks = ({ features }: CpuModel) => features.pks;
const la57 = ({ features }: CpuModel) => features.la57;
const cetSs = ({ features }: CpuModel) => features.cetSs;
const cetIbt = ({ features }: CpuModel) => features.cetIbt;
const xsaves = ({ features }: CpuModel) => features.xsaves;
const xfd = ({ features }: CpuModel) => features.xfd !== 0;
const vmx = ({ vendors }: CpuModel) => vendors.includes("vmx");
const svm = ({ vendors }: CpuModel) => vendors.includes("svm");

type Row = readonly [
	name: string,
	bit: number,
	offered: (model: CpuModel) => boolean,
	...instructions: string[],
];
type Word = readonly [leaf: number, subleaf: number, register: CpuidRegister, rows: readonly Row[]];

// biome-ignore format: one row a bit
const WORDS: readonly Word[] = [
	[1, 0, "edx", [
		["fpu",              0, all,    "FPU", "FPU287", "FPU387"],
		["de",               2, all],
		["pse",              3, all],
		["tsc",              4, all,    "TSC"],
		["msr",              5, all,    "MSR"],
		["pae",              6, all],
		["mce",              7, all],
		["cx8",              8, all,    "CX8"],
		["apic",             9, all],
		["sep",             11, all,    "SEP"],
		["mtrr",            12, all],
		["pge",             13, all],
		["mca",             14, all],
		["cmov",            15, all,    "CMOV"],
		["pat",             16, all],
		["clflush",         19, all,    "CLFSH"],
		["mmx",             23, all,    "MMX"],
		["fxsr",            24, all,    "FXSR"],
		["sse",             25, all,    "SSE"],
		["sse2",            26, all,    "SSE2"],
	]],
	[1, 0, "ecx", [
		["sse3",             0, all,    "SSE3"],
		["pclmulqdq",        1, all,    "PCLMULQDQ"],
		["monitor",          3, all,    "MONITOR"],
		["vmx",              5, vmx,    "VMX"],
		["ssse3",            9, all,    "SSSE3"],
		["fma",             12, all,    "FMA"],
		["cx16",            13, all,    "CMPXCHG16B"],
		["pcid",            17, all],
		["sse4.1",          19, all,    "SSE4_1"],
		["sse4.2",          20, all,    "SSE4_2"],
		["movbe",           22, all,    "MOVBE"],
		["popcnt",          23, all,    "POPCNT"],
		["tsc-deadline",    24, intel],
		["aes",             25, all,    "AES"],
		["xsave",           26, all,    "XSAVE"],
		["avx",             28, all,    "AVX"],
		["f16c",            29, all,    "F16C"],
		["rdrand",          30, all,    "RDRAND"],
	]],
	[7, 0, "ebx", [
		["fsgsbase",         0, all,    "FSGSBASE"],
		["bmi1",             3, all,    "BMI1"],
		["avx2",             5, all,    "AVX2"],
		["fdp-excptn-only",  6, intel],
		["smep",             7, all],
		["bmi2",             8, all,    "BMI2"],
		["erms",             9, all],
		["invpcid",         10, all,    "INVPCID"],
		["zero-fcs-fds",    13, intel],
		["rdseed",          18, all,    "RDSEED"],
		["adx",             19, all,    "ADX"],
		["smap",            20, all,    "SMAP"],
		["clflushopt",      23, all,    "CLFLUSHOPT"],
		["clwb",            24, all,    "CLWB"],
		["sha-ni",          29, all,    "SHA"],
	]],
	[7, 0, "ecx", [
		["umip",             2, all],
		["pku",              3, pku,    "PKU"],
		["shstk",            7, cetSs,  "CET_SS"],
		["vaes",             9, all,    "VAES"],
		["vpclmulqdq",      10, all,    "VPCLMULQDQ"],
		["la57",            16, la57],
		["rdpid",           22, all,    "RDPID"],
		["pks",             31, pks],
	]],
	[7, 0, "edx", [
		["md-clear",        10, intel],
		["serialize",       14, intel,  "SERIALIZE"],
		["ibt",             20, cetIbt, "CET_IBT"],
		["spec-ctrl",       26, intel],
	]],
	[0xd, 1, "eax", [
		["xsaveopt",         0, all,    "XSAVEOPT"],
		["xsavec",           1, all,    "XSAVEC"],
		["xgetbv1",          2, all],
		["xsaves",           3, xsaves, "XSAVES"],
		["xfd",              4, xfd],
	]],
	[0x8000_0001, 0, "ecx", [
		["lahf-lm",          0, all],
		["svm",              2, svm,    "SVM", "SKINIT_or_SVM"],
		["abm",              5, all,    "LZCNT"],
		["3dnowprefetch",    8, all],
	]],
	[0x8000_0001, 0, "edx", [
		["syscall",         11, all,    "SYSCALL"],
		["nx",              20, all],
		["mmxext",          22, amd],
		["pdpe1gb",         26, all],
		["rdtscp",          27, all,    "RDTSCP"],
		["lm",              29, all],
	]],
	[0x8000_0008, 0, "ebx", [
		["rdpru",            4, amd,    "RDPRU"],
		["wbnoinvd",         9, all,    "WBNOINVD"],
		["ibpb",            12, amd],
		["ibrs",            14, amd],
		["amd-stibp",       15, amd],
		["amd-ssbd",        24, amd],
	]],
];

/** All bits that some model has, and does not follow the processor's state. */
export const CPUID_FEATURES: readonly CpuidFeatureBit[] = WORDS.flatMap(([leaf, subleaf, register, rows]) =>
	rows.map(([name, bit, offered, ...instructions]) => ({
		name,
		leaf,
		subleaf,
		register,
		bit,
		offered,
		instructions,
	})),
);

const words = new WeakMap<CpuModel, Map<string, number>>();

/** The feature bits of an output register on processors of a model; unsigned. */
export function featureWord(model: CpuModel, leaf: number, subleaf: number, register: CpuidRegister): number {
	let ofModel = words.get(model);
	if (ofModel === undefined) {
		ofModel = new Map();
		words.set(model, ofModel);
		for (const row of CPUID_FEATURES) {
			if (!row.offered(model)) continue;
			const key = `${row.leaf}.${row.subleaf}.${row.register}`;
			ofModel.set(key, ((ofModel.get(key) ?? 0) | (1 << row.bit)) >>> 0);
		}
	}
	return ofModel.get(`${leaf}.${subleaf}.${register}`) ?? 0;
}

/** The bit that tells of a group of instructions. @param name of iced-x86's `CpuidFeature` */
export function bitOfInstructions(name: string): CpuidFeatureBit | undefined {
	return byInstructions.get(name);
}

const byInstructions = new Map(CPUID_FEATURES.flatMap((row) => row.instructions.map((name) => [name, row])));

/** The bit of a name. @param name QEMU's @throws TypeError if no row has it */
export function featureBit(name: string): CpuidFeatureBit {
	const row = byName.get(name);
	if (row === undefined) throw new TypeError(`no CPUID feature is named ${name}`);
	return row;
}

const byName = new Map(CPUID_FEATURES.map((row) => [row.name, row]));
