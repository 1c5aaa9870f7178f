/** The workloads by name. Every guest program is one too, alone on its machine. */
import { PROGRAMS } from "../../guests/programs.ts";
import { hint } from "../../kvm/flow/patch.ts";
import { ProfileError } from "../errors.ts";
import { LINUX_BOOT } from "./linux.ts";
import type { Workload } from "./workload.ts";
import { startMainLoop } from "./main-loop.ts";
import { startZapper } from "./zapper.ts";

const GUEST_ITERATIONS = 20_000;

const VMS = ["vmx", "svm"] as const;
const MIB = 2 ** 20;
/** What a Linux guest runs with, and patch 3 measures: OSXSAVE set, an XCR0 and an XSS unlike the host's. */
const SWAPS = { osxsave: true, quiet: true } as const;
/** The host of the mail's tables, CONFIG_HZ=1000: they have no `write_ibpb`, which would be first of the third. */
const SEED_HOST = { vmscape: "off", tickHz: 1000 } as const;
/** kvm.halt_poll_ns, Linux' default. */
const HALT_POLL_NS = 200_000;
/** Pages of each vCPU in guests/mmu-stress.c. */
const REGION_BYTES = 64 * 4096;
/** Fitted to the first table: turns of halt-poll's loop before it wakes the other. */
const WAKE_WORK_TURNS = 3500;
/** By the second table's ratio of its two slow paths. */
const STRESS_VCPUS = 16;
/** Fitted to the second table's first row: a vCPU's turns between two faults. */
const STRESS_WORK_TURNS = 450;
/** Time in user space between two calls that take memory away. Assumed. */
const ZAP_PAUSE_CYCLES = 4000;
/** Fitted to the third table's last row: files that the VMM's main loop polls. */
const POLLED_FILES = 8;

/** Workloads that are more than a guest in a loop. */
export const WORKLOADS: readonly Workload[] = [
	{
		name: "halt-poll",
		label:
			"pairs of vCPUs that halt and wake each other by IPIs, with KVM's halt polling: the seed's first table",
		guest: "halt-poll",
		perfTop: true,
		vendors: VMS,
		vcpus: 2,
		iterations: 1000,
		parameters: { ...SWAPS, workTurns: WAKE_WORK_TURNS },
		kernel: { ...SEED_HOST, kvm: { haltPollNs: HALT_POLL_NS } },
	},
	{
		name: "mmu-stress",
		label: "vCPUs fault memory in while a thread takes it away, all for mmu_lock: the seed's second table",
		guest: "mmu-stress",
		evicts: true,
		streams: true,
		perfTop: true,
		vendors: VMS,
		vcpus: STRESS_VCPUS,
		moreCpus: 1,
		iterations: 20,
		guestRamBytes: 32 * MIB,
		hugePages: false,
		parameters: { ...SWAPS, workTurns: STRESS_WORK_TURNS },
		kernel: { ...SEED_HOST, kvm: { tdpMmu: false } },
		start: (machine) =>
			startZapper(machine, {
				gpa: 16 * MIB,
				bytes: machine.vm.vcpus.length * REGION_BYTES,
				rangeBytes: REGION_BYTES,
				pauseCycles: ZAP_PAUSE_CYCLES,
			}),
	},
	{
		name: "timer-userspace",
		label:
			"a timer, exits to user space and a thread of the VMM that polls, without halt polling: the seed's third table",
		guest: "timer-userspace",
		evicts: true,
		perfTop: true,
		vendors: VMS,
		vcpus: 1,
		moreCpus: 1,
		iterations: 1000,
		parameters: SWAPS,
		kernel: SEED_HOST,
		start: (machine) => startMainLoop(machine, { files: POLLED_FILES }),
	},
	{
		name: "invd",
		label: "INVD in a tight loop, handled in the fastpath: the one that the series' mail says gains",
		guest: "invd",
		vendors: VMS,
		vcpus: 1,
		iterations: GUEST_ITERATIONS,
		parameters: SWAPS,
	},
	{
		name: "pkeys",
		label: "a program that guards memory for each piece of work by protection keys (WRPKRU)",
		guest: "pkeys",
		vendors: VMS,
		vcpus: 4,
		iterations: 200,
		guestRamBytes: 32 * MIB,
		parameters: { ...SWAPS, pke: true, pkru: 8 },
	},
	{
		name: "page-permissions",
		label: "the same by page permissions: the entry's write bit, INVLPG, and a shoot-down by IPIs",
		guest: "pkeys",
		vendors: VMS,
		vcpus: 4,
		iterations: 200,
		guestRamBytes: 32 * MIB,
		parameters: SWAPS,
	},
];

/** All names that `findWorkload` takes. */
export function workloadNames(): string[] {
	return [...new Set([...WORKLOADS, ...PROGRAMS].map(({ name }) => name))];
}

/**
 * A workload by its name.
 * @throws ProfileError with the nearest name if there is none
 */
export function findWorkload(name: string): Workload {
	const workload = WORKLOADS.find((one) => one.name === name);
	if (workload !== undefined) return workload;
	const program = PROGRAMS.find((one) => one.name === name);
	if (program === undefined) {
		const names = [...workloadNames(), LINUX_BOOT];
		throw new ProfileError(`no workload "${name}"${hint(name, names)}; there are ${names.join(", ")}`);
	}
	return {
		name,
		label: program.description,
		guest: name,
		vendors: program.vendors,
		vcpus: 1,
		iterations: GUEST_ITERATIONS,
		parameters: { osxsave: true },
	};
}
