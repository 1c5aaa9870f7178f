/**
 * The kernel's side of the FPU: task images, and when they are saved and restored
 * (arch/x86/kernel/fpu/core.c, arch/x86/include/asm/fpu/sched.h in v6.18).
 *
 * The rule that everything rests on: XSAVES and XRSTORS obey whatever XCR0 and IA32_XSS the processor
 * holds at that moment. Kernel code that runs while a guest's values are loaded saves too little, or
 * faults when it restores.
 */
import type { Cpu } from "../silicon/cpu/cpu.ts";
import { OP } from "../silicon/ops.ts";
import { writeXfd } from "../silicon/cpu/msr.ts";
import { XsaveImage } from "../silicon/xsave/image.ts";
import { xrstorsFrom } from "../silicon/xsave/restore.ts";
import { xsavesTo } from "../silicon/xsave/save.ts";
import { hostFault } from "./fault.ts";

/** PKRU's bit in XCR0; the kernel keeps PKRU out of task images and in `Task.pkru`. */
const XFEATURE_MASK_PKRU = 1 << 9;

/** A task's (or a guest's) saved extended state: `struct fpstate`. */
export class FpState {
	readonly image = new XsaveImage();
	/** Components that the kernel saves and restores in this image. */
	readonly features: number;
	/** IA32_XFD while this image is loaded. */
	xfd = 0;

	/**
	 * @param features XCR0 | IA32_XSS components the image holds
	 */
	constructor(features: number) {
		this.features = features;
		// fpstate_init(): the compacted format with all of the image's components, all of them initial.
		this.image.setCompacted(features);
	}
}

/** The kernel's FPU bookkeeping of one CPU. */
export class FpuCpu {
	/** xfd_state: what IA32_XFD is taken to hold, so that it need not be read. */
	xfdState = 0;
	/** in_kernel_fpu: kernel code uses the registers, and interrupts may not. */
	inKernelFpu = false;
	/** A section between fpregs_lock() and fpregs_unlock() runs: softirqs are off, which hard interrupts can tell. */
	locked = false;
}

/** Features that images of guests hold on this processor: everything enabled but PKRU. */
export function kernelFeatures(xcr0: number, xss: number): number {
	return (xcr0 | xss) & ~XFEATURE_MASK_PKRU;
}

/** xfd_update_state(): IA32_XFD for an image, if it is not taken to be there already. */
export function xfdUpdateState(cpu: Cpu, fpu: FpuCpu, fpstate: FpState): void {
	if (fpstate.xfd === fpu.xfdState) return;
	cpu.op(OP["wrmsr(ia32_xfd)"]);
	hostFault(cpu, writeXfd(cpu, fpstate.xfd));
	fpu.xfdState = fpstate.xfd;
}

/** save_fpregs_to_fpstate(): XSAVES. The processor saves what XCR0 and IA32_XSS let it save, and no more. */
export function saveFpregs(cpu: Cpu, fpstate: FpState): void {
	cpu.op(OP.xsaves);
	xsavesTo(cpu, fpstate.image, fpstate.features & (cpu.xcr0 | cpu.xss));
}

/** restore_fpregs_from_fpstate(): IA32_XFD for the image, then XRSTORS. */
export function restoreFpregs(cpu: Cpu, fpu: FpuCpu, fpstate: FpState): void {
	xfdUpdateState(cpu, fpu, fpstate);
	cpu.op(OP.xrstors);
	hostFault(cpu, xrstorsFrom(cpu, fpstate.image, fpstate.features & (cpu.xcr0 | cpu.xss)));
}
