/** The guest programs of this project (guests/ at the repository's root), embedded as images. */
import { image as compute } from "./images/compute.ts";
import { image as cpuid } from "./images/cpuid.ts";
import { image as hlt } from "./images/hlt.ts";
import { image as invd } from "./images/invd.ts";
import { image as mixed } from "./images/mixed.ts";
import { image as pio } from "./images/pio.ts";
import { image as rdmsr } from "./images/rdmsr.ts";
import { image as tdCpuid } from "./images/td-cpuid.ts";
import { image as tdMixed } from "./images/td-mixed.ts";
import { image as tdVmcall } from "./images/td-vmcall.ts";
import { image as vmcall } from "./images/vmcall.ts";
import { image as wbinvd } from "./images/wbinvd.ts";
import { image as wrmsrTscdeadline } from "./images/wrmsr-tscdeadline.ts";
import { image as xstate } from "./images/xstate.ts";

/** Kinds of virtual machines. */
export type GuestVendor = "vmx" | "svm" | "tdx";

export interface GuestProgram {
	readonly name: string;
	/** One line. */
	readonly description: string;
	readonly vendors: readonly GuestVendor[];
	/** What one iteration makes the vCPU do: exits handled in the fastpath, in the kernel, in user space. */
	readonly exitsPerIteration: { readonly fastpath: number; readonly kernel: number; readonly user: number };
	readonly base64: string;
}

const VMS = ["vmx", "svm"] as const;
const TDS = ["tdx"] as const;

function program(
	name: string,
	description: string,
	vendors: readonly GuestVendor[],
	[fastpath, kernel, user]: readonly [number, number, number],
	base64: string,
): GuestProgram {
	return { name, description, vendors, exitsPerIteration: { fastpath, kernel, user }, base64 };
}

// biome-ignore format: a table
/** All programs. Each runs its iterations between two RDTSC and prints `<name> <cycles an iteration>`. */
export const PROGRAMS: readonly GuestProgram[] = [
	program("invd",              "INVD: handled in the fastpath",                                VMS, [1, 0, 0], invd),
	program("cpuid",             "CPUID: handled in the kernel",                                 VMS, [0, 1, 0], cpuid),
	program("wbinvd",            "WBINVD: handled in the kernel",                                VMS, [0, 1, 0], wbinvd),
	program("hlt",               "HLT until a TSC deadline interrupt",                           VMS, [2, 2, 0], hlt),
	program("pio",               "OUT to a port that nobody claims: handled in user space",      VMS, [0, 0, 1], pio),
	program("wrmsr-tscdeadline", "WRMSR of IA32_TSC_DEADLINE: handled in the fastpath",          VMS, [1, 0, 0], wrmsrTscdeadline),
	program("rdmsr",             "RDMSR of the APIC base: handled in the kernel",                VMS, [0, 1, 0], rdmsr),
	program("vmcall",            "a hypercall: handled in the kernel",                           VMS, [0, 1, 0], vmcall),
	program("compute",           "no exits: the sieve of Eratosthenes",                          VMS, [0, 0, 0], compute),
	program("xstate",            "checks its XCR0 and PKRU behind every exit",                   VMS, [1, 1, 1], xstate),
	program("mixed",             "exits of all kinds; checks its XCR0 and PKRU",                 VMS, [3, 1, 1], mixed),
	program("td-mixed",          "a TD: CPUID, a hypercall and I/O by TDG.VP.VMCALL",            TDS, [0, 2, 1], tdMixed),
	program("td-cpuid",          "a TD: CPUID by TDG.VP.VMCALL",                                 TDS, [0, 1, 0], tdCpuid),
	program("td-vmcall",         "a TD: a hypercall to KVM by TDG.VP.VMCALL",                    TDS, [0, 1, 0], tdVmcall),
];

/** The program of this name, or undefined. */
export function findProgram(name: string): GuestProgram | undefined {
	return PROGRAMS.find((candidate) => candidate.name === name);
}

/** A program's ELF file. */
export function programBytes({ base64 }: GuestProgram): Uint8Array {
	const text = atob(base64);
	return Uint8Array.from(text, (char) => char.charCodeAt(0));
}
