/**
 * A counter of perf's counts on the host, and not in a guest that its event excludes.
 *
 * VMX switches IA32_PERF_GLOBAL_CTRL where the controls of VM entry and VM exit say so. KVM writes both values before each entry,
 * since perf may have started or stopped something since the last one: with those of then, `perf record` counts the guest's
 * cycles as the host's, and its overflows are taken for the host's; or what perf has stopped counts on behind the exit, and what it
 * has started does not.
 *
 * Not covered: counters of guests, which they do not have in hardware here; AMD's, which are the host's by a bit of their own;
 * TDs, for which the TDX module decides.
 */
import * as L from "../../silicon/cpu/layout.ts";
import { OP } from "../../silicon/ops.ts";
import type { Property } from "./property.ts";

const hex = (value: number) => `0x${value.toString(16)}`;

export const hostCounters: Property = {
	name: "host-counters",
	title: "counters of perf's count on the host, and not in guests that they exclude",
	degree: "violation",
	ops: ["sti", "switch_to", "user_transition"],
	onOp({ machine: { cpu, kernel } }, op) {
		if (op === OP.sti && !cpu.gif) return null;
		const { globalCtrl } = kernel.perf;
		const loaded = cpu.readNumber(L.PERF_GLOBAL_CTRL);
		return loaded === globalCtrl
			? null
			: `IA32_PERF_GLOBAL_CTRL is ${hex(loaded)}, perf set it to ${hex(globalCtrl)}`;
	},
	onGuestEntry({ machine: { cpu, vcpu } }) {
		if (vcpu.vmx === null) return null;
		const loaded = cpu.readNumber(L.PERF_GLOBAL_CTRL);
		return loaded === 0
			? null
			: `the guest enters with IA32_PERF_GLOBAL_CTRL ${hex(loaded)}: counters of the host's that exclude it count there`;
	},
};
