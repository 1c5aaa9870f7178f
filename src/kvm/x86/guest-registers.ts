/** Writes of XCR0 and IA32_XFD by guests, which change more than KVM's copy of the register. */
import { xfdUpdateState } from "../../host/fpu.ts";
import { flow, step, when } from "../flow/flow.ts";

/** __kvm_set_xcr(), behind its checks (arch/x86/kvm/x86.c). The value is `argument`. */
export const kvmSetXcr = flow("__kvm_set_xcr", "x86.c", [
	step("arch.xcr0 = xcr0", (v) => {
		v.xcr0 = v.argument;
	}),
]);

/**
 * fpu_update_guest_xfd() (arch/x86/kernel/fpu/core.c). The value is `argument`. What XFD disables must not stay in the
 * image: XRSTORS of it would raise #NM in the kernel (commit b45f72177594, in v6.18's stable series).
 */
export const fpuUpdateGuestXfd = flow("fpu_update_guest_xfd", "arch/x86/kernel/fpu/core.c", [
	step("fpregs_lock", (v) => v.kernel.fpregsLock(), 1),
	step("fpstate->xfd = xfd", (v) => {
		v.guestFpu.xfd = v.argument;
	}),
	when("fpstate->in_use", (v) => v.kernel.current.fpstate === v.guestFpu, [
		step("xfd_update_state", (v) => xfdUpdateState(v.cpu, v.kernel.fpu, v.guestFpu)),
	]),
	when("TIF_NEED_FPU_LOAD (XFD)", (v) => v.kernel.current.needFpuLoad, [
		step("xfeatures &= ~xfd", (v) => {
			v.guestFpu.image.xstateBv &= ~v.argument;
		}),
	]),
	step("fpregs_unlock", (v) => v.kernel.fpregsUnlock(), 1),
]);
