/**
 * At every VM entry DR0-DR3, DR6 and DR7 are what the guest is owed.
 *
 * VM entry switches DR7 alone (and DR6 on SVM). The guest sees the others when MOV to and from them does not exit, as
 * after its first access, and feels DR0-DR3 when its DR7 enables breakpoints. What it wrote stands in the hardware at
 * the exit; a copy that was made before a fastpath re-entry is stale behind it.
 *
 * Not covered: debuggers in user space that own the registers (KVM_SET_GUEST_DEBUG), SEV-ES guests and TDs, and what
 * a breakpoint that is hit puts into DR6, since translated code hits none.
 */
import * as L from "../../silicon/cpu/layout.ts";
import { EXIT_CODE } from "../../silicon/svm/exit-codes.ts";
import { CPU_BASED } from "../../silicon/vmx/controls.ts";
import { O } from "../../silicon/vmx/fields.ts";
import type { Machine } from "../../kvm/api/kvm.ts";
import { owedRegisters } from "./owed-registers.ts";

const DR7_ENABLES = 0xff;

/** MOV to and from debug registers does not exit: by the hardware's controls, not by what KVM thinks. */
function isPassedThrough({ vcpu }: Machine): boolean {
	if (vcpu.vmx !== null)
		return (vcpu.vmx.vmcs.u32[O.CPU_BASED_VM_EXEC_CONTROL >> 2]! & CPU_BASED.movDrExiting) === 0;
	return vcpu.svm !== null && !vcpu.svm.vmcb.intercepted(EXIT_CODE.drReadBase + 6);
}

const watched = (machine: Machine) =>
	isPassedThrough(machine) || (machine.cpu.read32(L.DR7) & DR7_ENABLES) !== 0;

// biome-ignore format: one row a register
export const guestDebugRegisters = owedRegisters(
	"guest-debug-registers",
	"at VM entry the debug registers are the guest's",
	[
		{ register: "DR0", field: L.DR0,      initial: 0, visible: watched },
		{ register: "DR1", field: L.DR0 + 8,  initial: 0, visible: watched },
		{ register: "DR2", field: L.DR0 + 16, initial: 0, visible: watched },
		{ register: "DR3", field: L.DR0 + 24, initial: 0, visible: watched },
		{ register: "DR6", field: L.DR6,      initial: 0xffff_0ff0, visible: isPassedThrough },
		{ register: "DR7", field: L.DR7,      initial: 0x400, visible: () => true },
	],
);
