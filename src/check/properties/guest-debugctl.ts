/**
 * At every VM entry IA32_DEBUGCTL has the guest's bits, and of the host's only those that stay the host's.
 *
 * SVM without LBR virtualization switches the register neither way: with the host's bits in it a bus lock, or a branch,
 * is an unexpected #DB in the guest. VMX loads it from the VMCS, where FREEZE_IN_SMM has to be the host's: an SMI that
 * hits the guest goes to SMM at once, and perf's counters must stop there.
 *
 * Not covered: TDs, whose register the TDX module switches; LBR and the PMU, which this machine does not have.
 */
import * as L from "../../silicon/cpu/layout.ts";
import { owedRegisters } from "./owed-registers.ts";
import type { Property } from "./property.ts";

/** FREEZE_IN_SMM, the host's on VMX. */
const FREEZE_IN_SMM = 1 << 14;

const own = owedRegisters("guest-debugctl", "", [
	{
		register: "IA32_DEBUGCTL",
		field: L.DEBUGCTL,
		initial: 0,
		visible: () => true,
		mask: ({ vcpu }) => (vcpu.vmx === null ? -1 : ~FREEZE_IN_SMM),
	},
]);

export const guestDebugctl: Property = {
	...own,
	title: "at VM entry DEBUGCTL has the guest's bits, and the host's FREEZE_IN_SMM",
	onGuestEntry(context, memory) {
		const wrong = own.onGuestEntry!(context, memory);
		const { cpu, kernel, vcpu } = context.machine;
		if (wrong !== null || vcpu.vmx === null) return wrong;
		if (((cpu.read32(L.DEBUGCTL) ^ kernel.perf.debugctl) & FREEZE_IN_SMM) === 0) return null;
		const state = (kernel.perf.debugctl & FREEZE_IN_SMM) === 0 ? "set" : "clear";
		return `the guest enters with DEBUGCTL.FREEZE_IN_SMM ${state}, unlike the host's: counters go on in an SMI`;
	},
};
