/**
 * At every VM entry SPEC_CTRL, KERNEL_GS_BASE, TSC_AUX and SYSCALL's registers are what the guest is owed.
 *
 * VMX switches none of them. SVM's VMLOAD switches all but TSC_AUX, and SPEC_CTRL where the processor virtualizes it.
 * A guest that runs with the host's SPEC_CTRL is slower or less protected than it asked for; the others it can read, or
 * jump through.
 *
 * Not covered: TDs and SEV-ES guests. SYSCALL's registers count only while EFER.SCE is set in IA-32e mode.
 */
import { EFER } from "../../silicon/cpu/control.ts";
import * as L from "../../silicon/cpu/layout.ts";
import type { Machine } from "../../kvm/api/kvm.ts";
import { owedRegisters } from "./owed-registers.ts";

const SYSCALL = EFER.SCE | EFER.LMA;
const always = () => true;
const hasSyscall = ({ cpu }: Machine) => (cpu.read32(L.EFER) & SYSCALL) === SYSCALL;

// biome-ignore format: one row a register
export const guestMsrs = owedRegisters(
	"guest-msrs",
	"at VM entry SPEC_CTRL, KERNEL_GS_BASE, TSC_AUX and SYSCALL's registers are the guest's",
	[
		{ register: "IA32_SPEC_CTRL",      field: L.SPEC_CTRL,      initial: 0, visible: always },
		{ register: "IA32_KERNEL_GS_BASE", field: L.KERNEL_GS_BASE, initial: 0, visible: always },
		{ register: "IA32_TSC_AUX",        field: L.TSC_AUX,        initial: 0, visible: always },
		{ register: "IA32_STAR",           field: L.STAR,           initial: 0, visible: hasSyscall },
		{ register: "IA32_LSTAR",          field: L.LSTAR,          initial: 0, visible: hasSyscall },
		{ register: "IA32_FMASK",          field: L.SFMASK,         initial: 0, visible: hasSyscall },
	],
);
