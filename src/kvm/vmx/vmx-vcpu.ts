/** The VMX part of a vCPU (`struct vcpu_vmx`), and what VMX vCPUs and TDs share (`struct vcpu_vt`). */
import { Vmcs } from "../../silicon/vmx/vmcs.ts";

/** `struct vcpu_vt`: the last exit, for either kind of vCPU. */
export class VtVcpu {
	/** Full exit reason, with bit 31 for a failed VM entry. */
	exitReason = 0;
	/** VM-exit interruption information; read from the VMCS when first wanted. */
	exitIntrInfo = 0;
	exitQualification = 0;
}

export class VmxVcpu {
	readonly vmcs = new Vmcs();
	/** VM-entry instruction failed (VMfail). */
	fail = false;
	idtVectoringInfo = 0;
	/** Guest IA32_SPEC_CTRL. */
	specCtrl = 0;
	/** Guest TSC at which the preemption timer shall fire; -1: not armed. */
	hvDeadlineTsc = -1;
	/** The timer's VMCS field holds its maximum, so that it never fires. */
	hvTimerSoftDisabled = false;
	guestStateLoaded = false;
	/** What the VMCS has as HOST_CR3 and HOST_CR4. */
	hostCr3 = 0;
	hostCr4 = 0;
	virtualNmiBlocked = false;
}
