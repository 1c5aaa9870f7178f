/**
 * At every VM entry IA32_XFD and IA32_XFD_ERR are what the guest is owed.
 *
 * A guest that once set XFD writes it without exits, and reads XFD_ERR without exits in its #NM handler. KVM reads both
 * back behind the exit, before an interrupt's use of the FPU or a context switch can load other values.
 *
 * Not covered: TDs.
 */
import { CR4 } from "../../silicon/cpu/control.ts";
import * as L from "../../silicon/cpu/layout.ts";
import { owedRegisters } from "./owed-registers.ts";

// biome-ignore format: one row a register
export const guestXfd = owedRegisters(
	"guest-xfd",
	"at VM entry XFD and XFD_ERR are the guest's",
	[
		{ register: "IA32_XFD",     field: L.XFD,     initial: 0, visible: ({ cpu }) => cpu.model.features.xfd !== 0 && (cpu.read32(L.CR4) & CR4.OSXSAVE) !== 0 },
		{ register: "IA32_XFD_ERR", field: L.XFD_ERR, initial: 0, visible: ({ cpu, vcpu }) => cpu.model.features.xfd !== 0 && vcpu.xfdNoWriteIntercept },
	],
);
