/** /dev/kvm for tests, where there is one. */
import { DevKvm } from "../../src/devkvm/system.ts";
import { DevKvmUnavailable } from "../../src/devkvm/libc.ts";
import type { DevVcpu } from "../../src/devkvm/vcpu.ts";
import type { DevMemory, DevVm } from "../../src/devkvm/vm.ts";

/** Why the tests of /dev/kvm are skipped here, or null. */
export const UNAVAILABLE: string | null = (() => {
	try {
		DevKvm.open().close();
		return null;
	} catch (error) {
		if (error instanceof DevKvmUnavailable) return error.message;
		throw error;
	}
})();

/** A VM with 64 KiB of memory and a vCPU in real mode at 0:1000. */
export function realModeGuest(
	kvm: DevKvm,
	code: readonly number[],
): { vm: DevVm; memory: DevMemory; vcpu: DevVcpu } {
	const vm = kvm.createVm();
	const memory = vm.addMemory({ slot: 0, gpa: 0, bytes: 0x10000 });
	memory.bytes.set(code, 0x1000);
	const vcpu = vm.createVcpu(0);
	const sregs = vcpu.getSregs();
	sregs.cs.base = 0n;
	sregs.cs.selector = 0;
	vcpu.setSregs(sregs);
	vcpu.setRegs({ ...vcpu.getRegs(), rip: 0x1000n, rsp: 0x8000n, rflags: 2n });
	return { vm, memory, vcpu };
}
