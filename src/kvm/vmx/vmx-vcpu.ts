/** The VMX part of a vCPU (`struct vcpu_vmx`), and what VMX vCPUs and TDs share (`struct vcpu_vt`). */
import { HostInvariant } from "../../host/errors.ts";
import * as L from "../../silicon/cpu/layout.ts";
import type { Apicv } from "./posted-intr.ts";
import { Vmcs } from "../../silicon/vmx/vmcs.ts";

/** `struct vcpu_vt`: the last exit, for either kind of vCPU. */
export class VtVcpu {
	/** Full exit reason, with bit 31 for a failed VM entry. */
	exitReason = 0;
	/** VM-exit interruption information; read from the VMCS when first wanted. */
	exitIntrInfo = 0;
	exitQualification = 0;
}

/** vmx_uret_msrs_list, as far as they are loaded for guests in long mode; CSTAR never is on Intel. */
const USER_RETURN_FIELDS = [L.SFMASK, L.LSTAR, L.TSC_AUX, L.STAR] as const;

export class VmxVcpu {
	readonly vmcs = new Vmcs();
	/** loaded_vmcs->launched: the next entry is by VMRESUME. */
	launched = false;
	/** VM-entry instruction failed (VMfail). */
	fail = false;
	/** One of VMX_RESULT: what the last VM entry began with. */
	entryResult = 0;
	idtVectoringInfo = 0;
	/** Guest IA32_SPEC_CTRL. */
	specCtrl = 0;
	/** Guest TSC at which the preemption timer shall fire; -1: not armed. */
	hvDeadlineTsc = -1;
	/** The timer's VMCS field holds its maximum, so that it never fires. */
	hvTimerSoftDisabled = false;
	guestStateLoaded = false;
	/** vmx->guest_uret_msrs: what the guest wants in STAR, LSTAR, SYSCALL_MASK and TSC_AUX, and whether it is there. */
	readonly userReturnMsrs = USER_RETURN_FIELDS.map((field) => ({ field, value: 0n }));
	guestUretMsrsLoaded = false;
	/** Of the guest, while it is not in the processor. */
	guestKernelGsBase = 0n;
	hostKernelGsBase = 0n;
	/** What the VMCS has as HOST_FS_BASE and HOST_GS_BASE. */
	hostFsBase = 0n;
	hostGsBase = 0n;
	/** What the VMCS has as HOST_CR3 and HOST_CR4. */
	hostCr3 = 0;
	hostCr4 = 0;
	/** loaded_vmcs->nmi_known_unmasked: GUEST_INTERRUPTIBILITY_INFO need not be read for it. */
	nmiKnownUnmasked = false;
	/** Null without kvm_intel.enable_apicv. */
	apicv: Apicv | null = null;
}

/** to_vmx(). @throws HostInvariant for a TD's vCPU, whose memory is laid out otherwise */
export function toVmx({ vmx }: { readonly vmx: VmxVcpu | null }): VmxVcpu {
	if (vmx === null) throw new HostInvariant("to_vmx() of a vCPU that is no VMX guest's");
	return vmx;
}
