/**
 * SPEC_CTRL, the bases and SYSCALL's registers are the host's when the host relies on them: SPEC_CTRL and the GS base
 * when interrupts are enabled and at a context switch, all of them in user space.
 *
 * The kernel finds its per-CPU data by the GS base. User space enters the kernel by SYSCALL through LSTAR, and reads
 * its CPU's number from TSC_AUX. KVM leaves a guest's values in these for as long as nobody needs them.
 *
 * Not covered: STAR and the like of 32-bit user space (CSTAR, SYSENTER).
 */
import type { Machine } from "../../kvm/api/kvm.ts";
import * as L from "../../silicon/cpu/layout.ts";
import { segmentAt } from "../../silicon/cpu/segments.ts";
import { OP } from "../../silicon/ops.ts";
import type { Property } from "./property.ts";

const FS_BASE = segmentAt(L.FS) + L.SEG_BASE;
const GS_BASE = segmentAt(L.GS) + L.SEG_BASE;

// biome-ignore format: one row a register
/** What only user space needs: name, place, and the host's value. */
const USER: readonly (readonly [string, number, (machine: Machine) => bigint])[] = [
	["STAR",           L.STAR,           ({ kernel }) => kernel.userMsrs.star],
	["LSTAR",          L.LSTAR,          ({ kernel }) => kernel.userMsrs.lstar],
	["FMASK",          L.SFMASK,         ({ kernel }) => kernel.userMsrs.sfmask],
	["TSC_AUX",        L.TSC_AUX,        ({ kernel }) => kernel.userMsrs.tscAux],
	["FS base",        FS_BASE,          ({ kernel }) => kernel.current.fsBase],
	["KERNEL_GS_BASE", L.KERNEL_GS_BASE, ({ kernel }) => kernel.current.userGsBase],
];

export const hostMsrs: Property = {
	name: "host-msrs",
	title: "SPEC_CTRL, the bases and SYSCALL's registers are the host's when the host relies on them",
	degree: "violation",
	ops: ["sti", "switch_to", "user_transition"],
	onOp({ machine }, op) {
		const { cpu, kernel } = machine;
		if (op === OP.sti && !cpu.gif) return null;
		if (cpu.read32(L.SPEC_CTRL) !== kernel.specCtrl)
			return `SPEC_CTRL is 0x${cpu.read32(L.SPEC_CTRL).toString(16)}, the host's is 0x${kernel.specCtrl.toString(16)}`;
		if (cpu.read64(GS_BASE) !== kernel.gsBase)
			return `the GS base is 0x${cpu.read64(GS_BASE).toString(16)}, not this CPU's`;
		if (op !== OP.user_transition) return null;
		for (const [name, field, host] of USER) {
			const want = host(machine);
			const loaded = cpu.read64(field);
			if (loaded !== want)
				return `user space runs with ${name} 0x${loaded.toString(16)}, the host's is 0x${want.toString(16)}`;
		}
		return null;
	},
};
