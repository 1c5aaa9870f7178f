/** The SVM part of a vCPU (`struct vcpu_svm`). */
import * as L from "../../silicon/cpu/layout.ts";
import { Vmcb } from "../../silicon/svm/vmcb.ts";

export class SvmVcpu {
	readonly vmcb = new Vmcb();
	/** The host save area that VMSAVE fills and VMLOAD reads around each run. */
	readonly hostVmcb = new Vmcb();
	/** Guest IA32_SPEC_CTRL; the hardware's when V_SPEC_CTRL is there. */
	specCtrl = 0;
	/** DEBUGCTL was swapped by hand for this entry. */
	debugctlSwapped = false;
	guestStateLoaded = false;
	/** IA32_TSC_AUX of the guest, a user-return MSR; what VMLOAD moves is in the VMCB. */
	readonly tscAux = [{ field: L.TSC_AUX, value: 0n }];
	nmiMasked = false;
	irqWindow = false;
}
