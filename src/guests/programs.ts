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

import { image as empty } from "./images/empty.ts";
import { image as mmio } from "./images/mmio.ts";
import { image as mmioKernel } from "./images/mmio-kernel.ts";
import { image as movCr8 } from "./images/mov-cr8.ts";
import { image as pageFault } from "./images/page-fault.ts";
import { image as pioKernel } from "./images/pio-kernel.ts";
import { image as selfIpi } from "./images/self-ipi.ts";
import { image as haltPoll } from "./images/halt-poll.ts";
import { image as mmuStress } from "./images/mmu-stress.ts";
import { image as pkeys } from "./images/pkeys.ts";
import { image as timerUserspace } from "./images/timer-userspace.ts";
/** Kinds of virtual machines. */
export type GuestVendor = "vmx" | "svm" | "tdx";

export interface GuestProgram {
	readonly name: string;
	/** One line. */
	readonly description: string;
	readonly vendors: readonly GuestVendor[];
	/**
	 * What one iteration makes the vCPU do: exits handled in the fastpath, in the kernel, in user space. Null where
	 * that depends on the processor: then an iteration is what is counted.
	 */
	readonly exitsPerIteration: {
		readonly fastpath: number;
		readonly kernel: number;
		readonly user: number;
	} | null;
	readonly base64: string;
}

const VMS = ["vmx", "svm"] as const;
const TDS = ["tdx"] as const;

function program(
	name: string,
	description: string,
	vendors: readonly GuestVendor[],
	exits: readonly [fastpath: number, kernel: number, user: number] | null,
	base64: string,
): GuestProgram {
	const exitsPerIteration = exits === null ? null : { fastpath: exits[0], kernel: exits[1], user: exits[2] };
	return { name, description, vendors, exitsPerIteration, base64 };
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
	program("empty",             "no exits: an empty loop",                                      VMS, [0, 0, 0], empty),
	program("pio-kernel",        "IN from the PIC: handled in the kernel",                       VMS, [0, 1, 0], pioKernel),
	program("mmio",              "a read with no memory behind it: handled in user space",       VMS, [0, 0, 1], mmio),
	program("mmio-kernel",       "a read of the local APIC's page: handled in the kernel",       VMS, [0, 1, 0], mmioKernel),
	program("mov-cr8",           "MOV to and from CR8",                                          VMS, null,      movCr8),
	program("page-fault",        "a write to a new page",                                        VMS, [0, 1, 0], pageFault),
	program("self-ipi",          "an x2APIC self-IPI and its interrupt",                         VMS, null,      selfIpi),
	program("timer-userspace",   "a timer, a port in user space, a doorbell, and HLT",        VMS, null,      timerUserspace),
	program("td-mixed",          "a TD: CPUID, a hypercall and I/O by TDG.VP.VMCALL",            TDS, [0, 2, 1], tdMixed),
	program("td-cpuid",          "a TD: CPUID by TDG.VP.VMCALL",                                 TDS, [0, 1, 0], tdCpuid),
	program("td-vmcall",         "a TD: a hypercall to KVM by TDG.VP.VMCALL",                    TDS, [0, 1, 0], tdVmcall),
];

// biome-ignore format: a table
/** Programs for machines with several processors and more memory: profile/workloads/ makes those. */
const WORKLOAD_PROGRAMS: readonly GuestProgram[] = [
	program("halt-poll",         "pairs of processors that halt and wake each other by IPIs",    VMS, null,      haltPoll),
	program("mmu-stress",        "every processor writes to its pages, which the host takes away", VMS, null,    mmuStress),
	program("pkeys",             "guards memory by protection keys or by page permissions",      VMS, null,      pkeys),
];

/** The program of this name, or undefined. */
export function findProgram(name: string): GuestProgram | undefined {
	return [...PROGRAMS, ...WORKLOAD_PROGRAMS].find((candidate) => candidate.name === name);
}

/** A program's ELF file. */
export function programBytes({ base64 }: GuestProgram): Uint8Array {
	const text = atob(base64);
	return Uint8Array.from(text, (char) => char.charCodeAt(0));
}
