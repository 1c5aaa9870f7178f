/** The SVM part of a vCPU (`struct vcpu_svm`). */
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
	nmiMasked = false;
	irqWindow = false;
}
