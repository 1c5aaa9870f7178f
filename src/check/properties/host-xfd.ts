/**
 * IA32_XFD goes with the FPU registers whenever the kernel saves or restores them, the kernel's note of it is true, and
 * IA32_XFD_ERR is clear before interrupts are enabled.
 *
 * XSAVES takes what XFD disables for initial: with another XFD than the registers' own, AMX state is lost, or state
 * that nobody may have is saved; XRSTORS of it raises #NM in the kernel. The kernel does not read XFD, it keeps a note
 * per CPU (xfd_state) and writes only when that differs. The #NM handler of a task takes XFD_ERR for its own.
 *
 * Not covered: an NMI's or #MC's handler, neither of which uses the FPU.
 */
import * as L from "../../silicon/cpu/layout.ts";
import { OP } from "../../silicon/ops.ts";
import type { Property } from "./property.ts";

const hex = (value: number) => `0x${(value >>> 0).toString(16)}`;

/** Word 0: the guest's XFD may have changed at its exit and KVM has not written it since; 1: what it was there. */
export const hostXfd: Property = {
	name: "host-xfd",
	title:
		"XFD goes with the FPU registers that are saved and restored; XFD_ERR is clear when interrupts are enabled",
	degree: "violation",
	words: 2,
	onGuestExit({ machine: { cpu } }, memory) {
		memory[0] = 1;
		memory[1] = cpu.xfd;
	},
	onGuestWrite(_context, register, _value, memory) {
		if (register === "IA32_XFD") memory[0] = 0;
	},
	ops: ["sti", "user_transition", "xsaves", "xrstors"],
	onOp({ machine: { cpu, kernel, vcpu } }, op, memory) {
		if (cpu.model.features.xfd === 0) return null;
		if ((op === OP.sti || op === OP.user_transition) && cpu.read32(L.XFD_ERR) !== 0)
			return `XFD_ERR is ${hex(cpu.read32(L.XFD_ERR))}, left behind by the guest`;
		if (op !== OP.xsaves && op !== OP.xrstors) return null;
		const { fpstate } = kernel.current;
		const isGuests = fpstate === vcpu.guestFpu && memory[0] !== 0 && !vcpu.guestStateProtected;
		const want = isGuests ? memory[1]! : fpstate.xfd;
		if (cpu.xfd !== want) return `XFD is ${hex(cpu.xfd)}, the registers' own is ${hex(want)}`;
		if (kernel.fpu.xfdState !== cpu.xfd)
			return `the kernel takes XFD for ${hex(kernel.fpu.xfdState)}, it is ${hex(cpu.xfd)}`;
		return null;
	},
};
