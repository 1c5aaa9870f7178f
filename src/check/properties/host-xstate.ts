/**
 * XCR0, IA32_XSS and PKRU are the host's whenever the host relies on them.
 *
 * XSAVES and XRSTORS of the kernel obey XCR0 | IA32_XSS, so a context switch or a kernel_fpu_begin() under the
 * guest's values saves too little, or faults. PKRU rules what the kernel may touch of user memory, and what
 * user space may touch of its own. A guest's memory is user memory: KVM finds it by the memory slots. It does so with
 * interrupts on; what the fastpath looks up under kvm->srcu is the kernel's own.
 *
 * Not covered: reads of user memory by a perf NMI.
 */
import { OP } from "../../silicon/ops.ts";
import type { Property } from "./property.ts";

const hex = (value: number) => `0x${(value >>> 0).toString(16)}`;

export const hostXstate: Property = {
	name: "host-xstate",
	title: "XCR0, XSS and PKRU are the host's at context switches, FPU saves and restores, and in user space",
	degree: "violation",
	ops: ["xsaves", "xrstors", "switch_to", "user_transition", "srcu_dereference"],
	onOp({ machine: { cpu, kernel } }, op) {
		const { userPkru } = kernel.current;
		const isUsers = !cpu.model.features.pku || cpu.pkru === userPkru;
		if (op === OP.srcu_dereference) {
			if (isUsers || !cpu.interruptFlag) return null;
			return `KVM accesses the guest's memory with PKRU ${hex(cpu.pkru)}, not user space's ${hex(userPkru)}`;
		}
		if (cpu.xcr0 !== kernel.xcr0) return `XCR0 is ${hex(cpu.xcr0)}, not the host's ${hex(kernel.xcr0)}`;
		if (cpu.xss !== kernel.xss) return `IA32_XSS is ${hex(cpu.xss)}, not the host's ${hex(kernel.xss)}`;
		if (op === OP.user_transition && !isUsers)
			return `PKRU is ${hex(cpu.pkru)}, not user space's ${hex(userPkru)}`;
		return null;
	},
};
