/** kvm_before_interrupt() and kvm_after_interrupt() (arch/x86/kvm/x86.h, v6.18): what runs between came in the guest. */
import { step } from "../flow/flow.ts";

export const kvmBeforeInterrupt = step(
	"kvm_before_interrupt",
	(v) => {
		v.kernel.guestContext.handlingEvent = true;
	},
	2,
);

export const kvmAfterInterrupt = step(
	"kvm_after_interrupt",
	(v) => {
		v.kernel.guestContext.handlingEvent = false;
	},
	1,
);
