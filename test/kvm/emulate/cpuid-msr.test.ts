import { describe, expect, test } from "vitest";
import { kvmSetCr0, kvmSetCr4, kvmSetXcr } from "../../../src/kvm/emulate/control.ts";
import { kvmCpuid, kvmEmulateCpuid } from "../../../src/kvm/emulate/cpuid.ts";
import {
	handleFastpathSetTscdeadline,
	handleFastpathSetX2apicIcrIrqoff,
} from "../../../src/kvm/emulate/fastpath.ts";
import { kvmQueueException } from "../../../src/kvm/emulate/inject.ts";
import { kvmEmulateRdmsr, kvmEmulateWrmsr, kvmGetMsr, kvmSetMsr } from "../../../src/kvm/emulate/msr.ts";
import { kvmEmulateHypercall } from "../../../src/kvm/emulate/hypercall.ts";
import { kvmEmulateHalt } from "../../../src/kvm/emulate/simple.ts";
import { KVM_EXIT, KVM_REQ, MP_STATE } from "../../../src/kvm/requests.ts";
import * as L from "../../../src/silicon/cpu/layout.ts";
import { abcd, fakeModel, makeFakeVm, setGpr } from "../support/fake-vm.ts";
import { writeApicRegister } from "../../../src/kvm/irqchip/lapic-access.ts";

const OSXSAVE = 1n << 18n;
const PKE = 1n << 22n;

describe("CPUID", () => {
	test("leaf 0x40000000 says KVMKVMKVM", () => {
		const { vcpu } = makeFakeVm();
		kvmCpuid(vcpu, 0x4000_0000, 0);
		const [max, ...signature] = abcd(vcpu);
		expect(max).toBe(0x4000_0001);
		expect(new TextDecoder().decode(Uint32Array.from(signature))).toBe("KVMKVMKVM\0\0\0");
	});

	test("OSXSAVE and OSPKE follow the guest's CR4, not the host's", () => {
		const { vcpu, cpu } = makeFakeVm();
		cpu.write64(L.CR4, OSXSAVE | PKE);
		const bits = () => {
			kvmCpuid(vcpu, 1, 0);
			const osxsave = (vcpu.regs32[L.RCX * 2]! >>> 27) & 1;
			kvmCpuid(vcpu, 7, 0);
			return [osxsave, (vcpu.regs32[L.RCX * 2]! >>> 4) & 1];
		};
		expect(bits()).toEqual([0, 0]);
		vcpu.cr4 = OSXSAVE | PKE;
		expect(bits()).toEqual([1, 1]);
	});

	test("leaf 0xd gives the size for the guest's XCR0 and IA32_XSS", () => {
		const { vcpu } = makeFakeVm();
		const sizes = (xcr0: number, xss: number) => {
			vcpu.xcr0 = xcr0;
			vcpu.iaXss = xss;
			kvmCpuid(vcpu, 0xd, 0);
			const standard = vcpu.regs32[L.RBX * 2]!;
			kvmCpuid(vcpu, 0xd, 1);
			return [standard, vcpu.regs32[L.RBX * 2]!];
		};
		expect(sizes(3, 0)).toEqual([576, 576]);
		expect(sizes(7, 0)).toEqual([832, 832]);
		expect(sizes(3, 0x1800)).toEqual([576, 576 + 16 + 24]);
	});

	test("has the hypervisor bit, x2APIC and TSC deadline, and no VMX or SVM", () => {
		const { vcpu } = makeFakeVm();
		kvmCpuid(vcpu, 1, 0);
		const ecx = vcpu.regs32[L.RCX * 2]!;
		expect([ecx >>> 31, (ecx >>> 21) & 1, (ecx >>> 24) & 1, (ecx >>> 5) & 1]).toEqual([1, 1, 1, 0]);
		kvmCpuid(vcpu, 0x8000_0001, 0);
		expect((vcpu.regs32[L.RCX * 2]! >>> 2) & 1).toBe(0);
	});

	test("clears the upper halves and moves RIP", () => {
		const { vcpu, guest } = makeFakeVm();
		for (const index of [L.RAX, L.RBX, L.RCX, L.RDX]) setGpr(vcpu, index, 0xffff_ffff_0000_0000n);
		expect(kvmEmulateCpuid(vcpu)).toBe(1);
		expect(vcpu.regs[L.RBX]! >> 32n).toBe(0n);
		expect(guest.rip).toBe(0x1002n);
	});

	test("beyond the last leaf: Intel answers with the last basic leaf, AMD with 0", () => {
		const intel = makeFakeVm().vcpu;
		kvmCpuid(intel, 0x1f, 0);
		const beyond = abcd(intel);
		kvmCpuid(intel, 0x16, 0);
		expect(beyond).toEqual(abcd(intel));
		const amd = makeFakeVm({
			vendor: "svm",
			model: fakeModel({ vendorString: "AuthenticAMD", vendors: ["svm"] }),
		}).vcpu;
		kvmCpuid(amd, 0x1f, 0);
		expect(abcd(amd)).toEqual([0, 0, 0, 0]);
	});
});

describe("XSETBV", () => {
	test.each([
		[0x1, true],
		[0x3, true],
		[0x7, true],
		[0xe7, true],
		[0x2e7, true],
		[0x602e7, true],
		[0x0, false],
		[0x2, false],
		[0x5, false],
		[0x27, false],
		[0xe3, false],
		[0x20003, false],
		[0x10003, false],
	])("XCR0 = %i is accepted: %s", (value, accepted) => {
		const { vcpu } = makeFakeVm();
		expect(kvmSetXcr(vcpu, 0, value)).toBe(accepted);
		expect(vcpu.xcr0).toBe(accepted ? value : 1);
	});
	test("only XCR0 exists", () => {
		expect(kvmSetXcr(makeFakeVm().vcpu, 1, 3)).toBe(false);
	});
});

describe("control registers", () => {
	test("CR4 bits that CPUID lacks fault", () => {
		const { vcpu } = makeFakeVm({ model: fakeModel({ features: { ...fakeModel().features, pku: false } }) });
		expect(kvmSetCr4(vcpu, 0x20n | OSXSAVE)).toBe(true);
		expect(kvmSetCr4(vcpu, 0x20n | PKE)).toBe(false);
		expect(kvmSetCr4(vcpu, 0n)).toBe(false);
	});
	test("CR0.PG without PE, and NW without CD, fault", () => {
		const { vcpu } = makeFakeVm();
		expect(kvmSetCr0(vcpu, 0x8000_0000n)).toBe(false);
		expect(kvmSetCr0(vcpu, 0xa000_0011n)).toBe(false);
		expect(kvmSetCr0(vcpu, 0x8001_0011n)).toBe(true);
	});
});

describe("MSRs", () => {
	test("an unknown MSR gives #GP(0) and RIP stays", () => {
		const { vcpu, guest } = makeFakeVm();
		setGpr(vcpu, L.RCX, 0x1234_5678);
		expect(kvmEmulateRdmsr(vcpu)).toBe(1);
		expect(vcpu.exception).toMatchObject({ pending: true, vector: 13, errorCode: 0, hasErrorCode: true });
		expect(guest.rip).toBe(0x1000n);
	});
	test("WRMSR and RDMSR give EDX:EAX and take it", () => {
		const { vcpu, guest } = makeFakeVm();
		setGpr(vcpu, L.RCX, 0x277);
		setGpr(vcpu, L.RAX, 0x0001_0406n);
		setGpr(vcpu, L.RDX, 0x0007_0406n);
		kvmEmulateWrmsr(vcpu);
		setGpr(vcpu, L.RAX, 0);
		setGpr(vcpu, L.RDX, 0);
		kvmEmulateRdmsr(vcpu);
		expect([vcpu.regs[L.RAX], vcpu.regs[L.RDX]]).toEqual([0x0001_0406n, 0x0007_0406n]);
		expect(guest.rip).toBe(0x1004n);
	});
	test("IA32_XSS takes what CPUID offers", () => {
		const { vcpu } = makeFakeVm();
		expect(kvmSetMsr(vcpu, 0xda0, 0x1800n)).toBe(true);
		expect(vcpu.iaXss).toBe(0x1800);
		expect(kvmSetMsr(vcpu, 0xda0, 0x100n)).toBe(false);
	});
	test("EFER: LME is fixed while paging is on", () => {
		const { vcpu } = makeFakeVm();
		expect(kvmSetMsr(vcpu, 0xc000_0080, 0xc01n)).toBe(false);
		expect(kvmSetMsr(vcpu, 0xc000_0080, 0xd00n)).toBe(true);
		expect(kvmSetMsr(vcpu, 0xc000_0080, 0x1_0000_0d00n)).toBe(false);
	});
	test("TSC and TSC_ADJUST move together", () => {
		const { vcpu, cpu } = makeFakeVm();
		cpu.cycles = 1_000_000;
		expect(kvmSetMsr(vcpu, 0x3b, 500n)).toBe(true);
		expect(kvmGetMsr(vcpu, 0x10)).toBe(1_000_500n);
		expect(kvmSetMsr(vcpu, 0x10, 7n)).toBe(true);
		expect(kvmGetMsr(vcpu, 0x10)).toBe(7n);
	});
	test("a PAT byte that is no memory type faults", () => {
		expect(kvmSetMsr(makeFakeVm().vcpu, 0x277, 2n)).toBe(false);
	});
});

describe("the WRMSR fastpath", () => {
	test("takes a fixed IPI to a physical destination, and nothing else", () => {
		const { vcpu } = makeFakeVm();
		expect(handleFastpathSetX2apicIcrIrqoff(vcpu, 0x40)).toBe(false);
		vcpu.apic?.setBase(0xfee0_0d00);
		writeApicRegister(vcpu.apic!, 0xf0, 0x1ff);
		expect(handleFastpathSetX2apicIcrIrqoff(vcpu, 0x4_0040)).toBe(false);
		expect(handleFastpathSetX2apicIcrIrqoff(vcpu, 0x400)).toBe(false);
		expect(handleFastpathSetX2apicIcrIrqoff(vcpu, 0xffff_ffff * 2 ** 32)).toBe(false);
		expect(handleFastpathSetX2apicIcrIrqoff(vcpu, 0x40)).toBe(true);
		expect(vcpu.apic?.kvmApicHasInterrupt()).toBe(0x40);
	});
	test("leaves the TSC deadline to user space's APIC when there is none in the kernel", () => {
		expect(handleFastpathSetTscdeadline(makeFakeVm({ irqchip: false }).vcpu, 5)).toBe(false);
	});
});

describe("HLT", () => {
	test("halts, unless an interrupt can be delivered", () => {
		const { vcpu, guest } = makeFakeVm();
		const apic = vcpu.apic!;
		writeApicRegister(apic, 0xf0, 0x1ff);
		expect(kvmEmulateHalt(vcpu)).toBe(1);
		expect(vcpu.mpState).toBe(MP_STATE.HALTED);
		vcpu.mpState = MP_STATE.RUNNABLE;
		apic.apicSetIrq(0x50);
		kvmEmulateHalt(vcpu);
		expect(vcpu.mpState).toBe(MP_STATE.RUNNABLE);
		guest.interruptAllowed = false;
		kvmEmulateHalt(vcpu);
		expect(vcpu.mpState).toBe(MP_STATE.HALTED);
	});
	test("exits to user space without an in-kernel APIC", () => {
		const { vcpu } = makeFakeVm({ irqchip: false });
		expect(kvmEmulateHalt(vcpu)).toBe(0);
		expect(vcpu.run.exitReason).toBe(KVM_EXIT.HLT);
	});
});

test("an unknown hypercall returns -ENOSYS, one from CPL 3 -EPERM", () => {
	const { vcpu, guest } = makeFakeVm();
	setGpr(vcpu, L.RAX, 99);
	kvmEmulateHypercall(vcpu);
	expect(BigInt.asIntN(64, vcpu.regs[L.RAX]!)).toBe(-1000n);
	guest.cpl = 3;
	kvmEmulateHypercall(vcpu);
	expect(BigInt.asIntN(64, vcpu.regs[L.RAX]!)).toBe(-1n);
});

test("a contributory exception on top of another makes #DF, and one on top of that a triple fault", () => {
	const { vcpu } = makeFakeVm();
	kvmQueueException(vcpu, 13, 0);
	kvmQueueException(vcpu, 11, 8);
	expect(vcpu.exception).toMatchObject({ pending: true, vector: 8, errorCode: 0 });
	kvmQueueException(vcpu, 13, 0);
	expect(vcpu.exception.pending).toBe(false);
	expect(vcpu.requests & KVM_REQ.TRIPLE_FAULT).not.toBe(0);
});
