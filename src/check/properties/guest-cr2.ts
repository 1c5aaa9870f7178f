/**
 * At every VM entry CR2 is what the guest is owed.
 *
 * VMX switches it neither way, SVM by the VMCB. A page fault of the host's user space, or of another task, leaves its address
 * there: a guest that reads CR2 behind an exit would take it for the address of its own fault.
 *
 * Not covered: TDs and SEV-ES guests.
 */
import * as L from "../../silicon/cpu/layout.ts";
import { owedRegisters } from "./owed-registers.ts";

export const guestCr2 = owedRegisters("guest-cr2", "at VM entry CR2 is the guest's", [
	{ register: "CR2", field: L.CR2, initial: 0, visible: () => true },
]);
