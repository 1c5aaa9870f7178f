/** What perf's sampling by PEBS costs the VM entries and VM exits of a host whose guests have a vPMU. */
import type { Cpu } from "../silicon/cpu/cpu.ts";
import { OP } from "../silicon/ops.ts";

/**
 * What switching PEBS' MSRs costs a round trip, in cycles: from 900 to 1450 on Emerald Rapids, in 7 writes of MSRs (KVM mailing
 * list, "perf/x86: Don't write PEBS_ENABLED on KVM transitions", version 3, 8 May 2026). One is a WRMSR before the entry; the
 * others are in the MSR areas, half of them of the entry and half of the exit.
 */
const PEBS_ROUND_TRIP_CYCLES = 550;

/**
 * Entry and exit load MSRs from their areas, as work of theirs.
 * @returns whether this processor has PEBS; AMD's have IBS, which nothing switches
 */
export function switchPebsMsrs({ costs }: Cpu): boolean {
	if (costs[OP.vmresume] === 0) return false;
	const each = (PEBS_ROUND_TRIP_CYCLES - costs[OP.wrmsr]!) / 2;
	for (const op of [OP.vmlaunch, OP.vmresume, OP.vmexit]) costs[op] = costs[op]! + each;
	return true;
}
