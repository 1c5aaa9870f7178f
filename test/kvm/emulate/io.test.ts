import { describe, expect, test } from "vitest";
import { BOOT, longModePageTables } from "../../../src/guests/boot.ts";
import { GuestFault } from "../../../src/kvm/emulate/guest-fault.ts";
import { ACCESS, gvaToGpa, writeGuestPhysical } from "../../../src/kvm/emulate/guest-memory.ts";
import { emulateMmio } from "../../../src/kvm/emulate/mmio.ts";
import { kvmFastPio, kvmStringPio } from "../../../src/kvm/emulate/pio.ts";
import { KVM_EXIT } from "../../../src/kvm/requests.ts";
import * as L from "../../../src/silicon/cpu/layout.ts";
import { type FakeVm, makeFakeVm, setGpr } from "../support/fake-vm.ts";
import { readApicRegister } from "../../../src/kvm/irqchip/lapic-access.ts";

const CODE = 0x10_0000;
const LAPIC_PAGE = 0xfee0_0000;

/** A VM in 64-bit mode on the boot page tables, RIP at the given code. */
function running(code: readonly number[]): FakeVm {
	const fake = makeFakeVm();
	writeGuestPhysical(fake.vm, BOOT.pml4, longModePageTables());
	writeGuestPhysical(fake.vm, CODE, Uint8Array.from(code));
	fake.vcpu.cr3 = BigInt(BOOT.pml4);
	fake.guest.rip = BigInt(CODE);
	return fake;
}

/** Completes an access as user space would. */
function complete({ vcpu }: FakeVm, data: readonly number[] = []): void {
	vcpu.run.io.data.set(data);
	vcpu.run.mmio.data.set(data.slice(0, 8));
	const finish = vcpu.completeUserspaceIo!;
	vcpu.completeUserspaceIo = null;
	finish();
}

describe("port I/O", () => {
	test("OUT to a port of user space fills kvm_run, and RIP moves when it is served", () => {
		const fake = running([]);
		setGpr(fake.vcpu, L.RAX, 0x1122_3344);
		expect(kvmFastPio(fake.vcpu, 2, 0x1234, false)).toBe(0);
		expect(fake.vcpu.run.exitReason).toBe(KVM_EXIT.IO);
		expect(fake.vcpu.run.io).toMatchObject({ write: true, port: 0x1234, bytes: 2, count: 1 });
		expect([...fake.vcpu.run.io.data.subarray(0, 2)]).toEqual([0x44, 0x33]);
		expect(fake.guest.rip).toBe(BigInt(CODE));
		complete(fake);
		expect(fake.guest.rip).toBe(BigInt(CODE + 2));
	});

	test.each([
		[1, 0xffff_ffff_ffff_ff78n],
		[2, 0xffff_ffff_ffff_5678n],
		[4, 0x1234_5678n],
	])("IN of %i bytes writes that part of RAX; 4 bytes clear the upper half", (bytes, rax) => {
		const fake = running([]);
		setGpr(fake.vcpu, L.RAX, 0xffff_ffff_ffff_ffffn);
		kvmFastPio(fake.vcpu, bytes, 0x1234, true);
		complete(fake, [0x78, 0x56, 0x34, 0x12]);
		expect(fake.vcpu.regs[L.RAX]).toBe(rax);
	});

	test("the PIC answers in the kernel", () => {
		const { vcpu } = running([]);
		setGpr(vcpu, L.RAX, 0xab);
		expect(kvmFastPio(vcpu, 1, 0x21, false)).toBe(1);
		setGpr(vcpu, L.RAX, 0);
		expect(kvmFastPio(vcpu, 1, 0x21, true)).toBe(1);
		expect(vcpu.regs[L.RAX]).toBe(0xabn);
		expect(kvmFastPio(vcpu, 1, 0x4d0, true)).toBe(1);
	});

	test("without an in-kernel irqchip the PIC's ports go to user space", () => {
		const { vcpu } = makeFakeVm({ irqchip: false });
		expect(kvmFastPio(vcpu, 1, 0x21, false)).toBe(0);
	});

	test("REP OUTSB carries a string in one exit and leaves RCX = 0", () => {
		const fake = running([0xf3, 0x6e]); // rep outsb
		writeGuestPhysical(fake.vm, 0x8000, new TextEncoder().encode("hello"));
		setGpr(fake.vcpu, L.RSI, 0x8000);
		setGpr(fake.vcpu, L.RCX, 5);
		setGpr(fake.vcpu, L.RDX, 0x3f8);
		expect(kvmStringPio(fake.vcpu, 1, 0x3f8, false, true)).toBe(0);
		expect(fake.vcpu.run.io).toMatchObject({ write: true, port: 0x3f8, bytes: 1, count: 5 });
		expect(new TextDecoder().decode(fake.vcpu.run.io.data.subarray(0, 5))).toBe("hello");
		complete(fake);
		expect([fake.vcpu.regs[L.RCX], fake.vcpu.regs[L.RSI], fake.guest.rip]).toEqual([
			0n,
			0x8005n,
			BigInt(CODE + 2),
		]);
	});

	test("REP INSW stores what user space gives, and repeats across a page", () => {
		const fake = running([0xf3, 0x66, 0x6d]); // rep insw
		setGpr(fake.vcpu, L.RDI, 0x8ffc);
		setGpr(fake.vcpu, L.RCX, 3);
		setGpr(fake.vcpu, L.RDX, 0x1f0);
		kvmStringPio(fake.vcpu, 2, 0x1f0, true, true);
		expect(fake.vcpu.run.io.count).toBe(2);
		complete(fake, [1, 2, 3, 4]);
		expect([fake.vcpu.regs[L.RCX], fake.guest.rip]).toEqual([1n, BigInt(CODE)]);
		const at = fake.vm.memory.ramBase + fake.vm.gpaToHpa(0x8ffc);
		expect([...fake.vm.memory.u8.subarray(at, at + 4)]).toEqual([1, 2, 3, 4]);
	});
});

describe("MMIO", () => {
	test("MOV to and from the local APIC's page stays in the kernel", () => {
		const store = running([0x89, 0x08]); // mov [rax], ecx
		setGpr(store.vcpu, L.RCX, 0x1ff);
		expect(emulateMmio(store.vcpu, LAPIC_PAGE + 0xf0)).toBe(1);
		expect(readApicRegister(store.vcpu.apic!, 0xf0)).toBe(0x1ff);
		expect(store.guest.rip).toBe(BigInt(CODE + 2));
		const load = running([0x8b, 0x10]); // mov edx, [rax]
		setGpr(load.vcpu, L.RDX, -1n);
		expect(emulateMmio(load.vcpu, LAPIC_PAGE + 0x30)).toBe(1);
		expect(load.vcpu.regs[L.RDX]).toBe(0x50014n);
	});

	test("the I/O APIC's version says 24 redirection entries", () => {
		const fake = running([0xc7, 0x00, 1, 0, 0, 0, 0x8b, 0x10]); // mov dword [rax], 1; mov edx, [rax]
		emulateMmio(fake.vcpu, 0xfec0_0000);
		emulateMmio(fake.vcpu, 0xfec0_0010);
		expect(fake.vcpu.regs[L.RDX]).toBe(0x17_0011n);
	});

	// biome-ignore format: a table
	test.each([
		["mov [rax], r9",         [0x4c, 0x89, 0x08],             8, [1, 2, 3, 4, 5, 6, 7, 8]],
		["mov [rax], ch",         [0x88, 0x28],                   1, [0xcd]],
		["mov word [rax], 0x1234", [0x66, 0xc7, 0x00, 0x34, 0x12], 2, [0x34, 0x12]],
		["mov qword [rax], -1",   [0x48, 0xc7, 0, 0xff, 0xff, 0xff, 0xff], 8, [255, 255, 255, 255, 255, 255, 255, 255]],
	] as const)("%s goes to user space with its data", (_text, code, bytes, data) => {
		const fake = running(code);
		setGpr(fake.vcpu, 9, 0x0807_0605_0403_0201n);
		setGpr(fake.vcpu, L.RCX, 0xcd00);
		expect(emulateMmio(fake.vcpu, 0xd000_0000)).toBe(0);
		expect(fake.vcpu.run.exitReason).toBe(KVM_EXIT.MMIO);
		expect(fake.vcpu.run.mmio).toMatchObject({ write: true, gpa: 0xd000_0000, bytes });
		expect([...fake.vcpu.run.mmio.data.subarray(0, bytes)]).toEqual([...data]);
		complete(fake);
		expect(fake.guest.rip).toBe(BigInt(CODE + code.length));
	});

	// biome-ignore format: a table
	test.each([
		["movzx edx, byte [rax]",  [0x0f, 0xb6, 0x10],       1, 0x80n],
		["movsx rdx, byte [rax]",  [0x48, 0x0f, 0xbe, 0x10], 1, 0xffff_ffff_ffff_ff80n],
		["movsxd rdx, dword [rax]", [0x48, 0x63, 0x10],      4, 0xffff_ffff_8000_0080n],
		["mov dl, [rax]",          [0x8a, 0x10],             1, 0xaaaa_aaaa_aaaa_aa80n],
		["mov rdx, [rax]",         [0x48, 0x8b, 0x10],       8, 0x80_0000_8000_0080n],
	] as const)("%s takes what user space answers", (_text, code, bytes, rdx) => {
		const fake = running(code);
		setGpr(fake.vcpu, L.RDX, 0xaaaa_aaaa_aaaa_aaaan);
		expect(emulateMmio(fake.vcpu, 0xd000_0000)).toBe(0);
		expect(fake.vcpu.run.mmio).toMatchObject({ write: false, bytes });
		complete(fake, [0x80, 0, 0, 0x80, 0, 0, 0x80, 0]);
		expect(fake.vcpu.regs[L.RDX]).toBe(rdx);
	});

	test("an instruction that reads and writes is carried out by the silicon: begun again with the answer, then written", () => {
		const fake = running([0x0f, 0xc1, 0x08]); // xadd [rax], ecx
		const { vcpu } = fake;
		setGpr(vcpu, L.RAX, 0x3000_0000);
		setGpr(vcpu, L.RCX, 5);
		expect(emulateMmio(vcpu, 0x3000_0000)).toBe(0);
		expect(vcpu.run.mmio).toMatchObject({ write: false, gpa: 0x3000_0000, bytes: 4 });
		expect(fake.guest.rip).toBe(BigInt(CODE));
		complete(fake, [37, 0, 0, 0]);
		expect(vcpu.run.mmio).toMatchObject({ write: true, gpa: 0x3000_0000, bytes: 4 });
		expect(vcpu.run.mmio.data[0]).toBe(42);
		expect([vcpu.regs[L.RCX], fake.guest.rip]).toEqual([37n, BigInt(CODE + 3)]);
		complete(fake);
		expect(vcpu.completeUserspaceIo).toBeNull();
	});

	test("a fault of an emulated instruction is the guest's, and nothing else happens", () => {
		const fake = running([0x0f, 0xc1, 0x08]);
		setGpr(fake.vcpu, L.RAX, 0x5000_0000);
		expect(emulateMmio(fake.vcpu, 0x3000_0000)).toBe(1);
		expect(fake.vcpu.exception).toMatchObject({ pending: true, vector: 14, errorCode: 2, cr2: 0x5000_0000n });
	});
});

describe("the walk of the guest's page tables", () => {
	test("follows 2 MiB pages, and faults where nothing is mapped", () => {
		const { vcpu } = running([]);
		expect(gvaToGpa(vcpu, 0x123_4567n, 0)).toBe(0x123_4567);
		expect(gvaToGpa(vcpu, 0xfee0_0030n, ACCESS.write)).toBe(0xfee0_0030);
		expect(() => gvaToGpa(vcpu, 0x8000_0000n, ACCESS.write)).toThrow(GuestFault);
		try {
			gvaToGpa(vcpu, 0x8000_0000n, ACCESS.write | ACCESS.user);
		} catch (fault) {
			expect(fault).toMatchObject({ vector: 14, errorCode: 6, linear: 0x8000_0000n });
		}
	});
	test("with five levels all 57 bits of an address count", () => {
		const { vcpu, vm } = makeFakeVm();
		const linear = 0xff47_d704_8bc0_0b13n;
		const entry = (value: number) => new Uint8Array(BigUint64Array.of(BigInt(value) | 7n).buffer);
		for (let level = 5; level >= 1; level--) {
			const index = Number((linear >> BigInt(12 + 9 * (level - 1))) & 511n);
			const table = 0x1000 * (6 - level);
			expect(writeGuestPhysical(vm, table + 8 * index, entry(0x1000 * (7 - level)))).toBe(true);
		}
		vcpu.cr0 = 0x8000_0011n;
		vcpu.cr3 = 0x1000n;
		vcpu.cr4 = 0x1020n;
		vcpu.efer = 0x500n;
		expect(gvaToGpa(vcpu, linear, 0)).toBe(0x6b13);
	});
	test("without paging a linear address is physical", () => {
		const { vcpu } = makeFakeVm();
		vcpu.cr0 = 0x11n;
		expect(gvaToGpa(vcpu, 0xfee0_0000n, 0)).toBe(0xfee0_0000);
	});
});

test("writing the same bytes again does not touch translated code; other bytes do", () => {
	const { vm } = makeFakeVm();
	const bytes = Uint8Array.from([1, 2, 3]);
	writeGuestPhysical(vm, 0x5000, bytes);
	const page = vm.gpaToHpa(0x5000) / 4096;
	vm.memory.codePages[page] = 1;
	const written: number[] = [];
	vm.memory.onCodeWrite = (at) => written.push(at);
	writeGuestPhysical(vm, 0x5000, bytes);
	expect(written).toEqual([]);
	writeGuestPhysical(vm, 0x5001, Uint8Array.from([9]));
	expect(written).toEqual([page]);
});
