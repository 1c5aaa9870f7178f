import { expect, it } from "vitest";
import { SoftKvm } from "../../src/softkvm/system.ts";

/** MOV EAX, 0DH; MOV ECX, 1; CPUID; HLT, in real mode. */
const CODE = Uint8Array.of(0x66, 0xb8, 0xd, 0, 0, 0, 0x66, 0xb9, 1, 0, 0, 0, 0x0f, 0xa2, 0xf4);

it.each([
	["with XSAVEC is the size of the compacted area", 2, 576],
	["without XSAVEC and XSAVES is what user space said", 0, 0x1234],
])("CPUID.0DH.1:EBX %s", (_, eax, ebx) => {
	const kvm = SoftKvm.open({ ramBytes: 16 << 20 });
	const vm = kvm.createVm();
	vm.addMemory({ slot: 0, gpa: 0, bytes: 0x10000 }).write(0x1000, CODE);
	const vcpu = vm.createVcpu(0);
	vcpu.setCpuid2(
		kvm
			.supportedCpuid()
			.map((entry) => (entry.function === 0xd && entry.index === 1 ? { ...entry, eax, ebx: 0x1234 } : entry)),
	);
	const sregs = vcpu.getSregs();
	vcpu.setSregs({ ...sregs, cs: { ...sregs.cs, base: 0n, selector: 0 } });
	vcpu.setRegs({ ...vcpu.getRegs(), rip: 0x1000n });
	expect(vcpu.run().reason).toBe("hlt");
	expect(Number(vcpu.getRegs().rbx)).toBe(ebx);
	kvm.close();
});
