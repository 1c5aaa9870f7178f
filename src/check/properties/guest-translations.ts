/**
 * A vCPU that enters its guest on a CPU drops the translations that this CPU may hold from before: from when the vCPU was
 * there last, or another one had its VPID or ASID, and from before guest memory was unmapped.
 *
 * Processors keep a guest's translations across VM exits, and KVM invalidates those of the CPU where the vCPU runs alone. A
 * guest that goes on with stale ones elsewhere reads and writes memory that may have become somebody else's.
 *
 * Not covered: TDs, for which the TDX module does it (TDH.MEM.TRACK); the translations themselves: in a check there are none at
 * any VM entry, so that no two states differ by them.
 */
import type { Property } from "./property.ts";
import { leavesAtOnce } from "./guest-entry.ts";

/** The property's word: a bit a CPU, set while what it holds of the guest is as KVM's tables are. */
const FRESH = 0;

export const guestTranslations: Property = {
	name: "guest-translations",
	title: "the guest runs on no translations from before it came to this CPU",
	degree: "violation",
	words: 1,
	onFlush({ machine: { cpu } }, memory) {
		memory[FRESH] = memory[FRESH]! | (1 << cpu.number);
	},
	onEvent(_context, event, memory) {
		if (event === "zap") memory[FRESH] = 0;
	},
	onGuestEntry(context, memory) {
		const { cpu, vcpu } = context.machine;
		if (vcpu.tdx !== null || (memory[FRESH]! & (1 << cpu.number)) !== 0 || leavesAtOnce(context)) return null;
		return `the guest runs on CPU ${cpu.number}, whose translations of it were not dropped`;
	},
};
