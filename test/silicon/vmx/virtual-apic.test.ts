/** APIC virtualization and posted interrupts (SDM Vol. 3C, chapter 30). */
import { describe, expect, it } from "vitest";
import { CPU_BASED, EXIT_CONTROL, EXIT_REASON, PIN, SECONDARY } from "../../../src/silicon/vmx/controls.ts";
import { PostedInterruptDescriptor } from "../../../src/silicon/vmx/posted-interrupts.ts";
import type { Vmcs } from "../../../src/silicon/vmx/vmcs.ts";
import { AT } from "../machine-code.ts";
import {
	ASM,
	adjust,
	field,
	type Guest,
	interceptInterrupts,
	program,
	programAt,
	vmxExit,
	vmxGuest,
} from "../guest-machine.ts";

const PAGE = 0x60_000;
const DESCRIPTOR = 0x61_000;
const MSR_BITMAP = 0x62_000;
const NOTIFY = 0xf2;
const handler = (vector: number) => AT.handler + vector * 16;
const rip = (guest: Guest<Vmcs>) => Number(guest.control.get("GUEST_RIP"));
const movEcx = (value: number) => [0xb9, value & 0xff, value >> 8, 0, 0];
const movEax = (value: number) => [0xb8, value & 0xff, value >> 8, 0, 0];
const clearEdx = [0x31, 0xd2];
const wrmsr = (index: number, value: number) => [
	...movEcx(index),
	...movEax(value),
	...clearEdx,
	...ASM.wrmsr,
];

/** A guest in x2APIC mode with virtual-interrupt delivery and posted interrupts; its handlers are HLTs. */
function apicv(code: readonly number[]): {
	guest: Guest<Vmcs>;
	page: Uint32Array;
	posted: PostedInterruptDescriptor;
} {
	const guest = vmxGuest();
	const { cpu, control } = guest;
	const { memory } = cpu;
	program(cpu, code);
	interceptInterrupts(control);
	adjust(control, "PIN_BASED_VM_EXEC_CONTROL", PIN.postedInterrupts);
	adjust(control, "CPU_BASED_VM_EXEC_CONTROL", CPU_BASED.tprShadow | CPU_BASED.useMsrBitmaps);
	adjust(
		control,
		"SECONDARY_VM_EXEC_CONTROL",
		SECONDARY.virtualizeX2apicMode |
			SECONDARY.apicRegisterVirtualization |
			SECONDARY.virtualInterruptDelivery,
	);
	adjust(control, "VM_EXIT_CONTROLS", EXIT_CONTROL.acknowledgeInterrupt);
	memory.u8.fill(0, memory.ramBase + PAGE, memory.ramBase + MSR_BITMAP + 4096);
	control.set("VIRTUAL_APIC_PAGE_ADDR", BigInt(PAGE));
	control.set("POSTED_INTR_DESC_ADDR", BigInt(DESCRIPTOR));
	control.set("MSR_BITMAP", BigInt(MSR_BITMAP));
	control.set("POSTED_INTR_NV", NOTIFY);
	control.set("GUEST_RFLAGS", 0x202n);
	const first = (memory.ramBase + PAGE) >> 2;
	return {
		guest,
		page: memory.u32.subarray(first, first + 1024),
		posted: new PostedInterruptDescriptor(memory, DESCRIPTOR),
	};
}

const bit = (page: Uint32Array, register: number, vector: number) =>
	(page[(register >> 2) + (vector >> 5) * 4]! >> (vector & 31)) & 1;

describe("virtual-interrupt delivery", () => {
	it("a self-IPI is delivered without an exit: IRR to ISR, RVI to SVI, PPR raised (30.1.5, 30.2.2)", () => {
		const { guest, page } = apicv(wrmsr(0x83f, 0x55));
		expect(vmxExit(guest).reason).toBe(EXIT_REASON.hlt);
		expect(rip(guest)).toBe(handler(0x55));
		expect([bit(page, 0x200, 0x55), bit(page, 0x100, 0x55), page[0xa0 >> 2]]).toEqual([0, 1, 0x50]);
		expect(field(guest.control, "GUEST_INTR_STATUS")).toBe(0x5500);
	});

	it("what waits for the end of a higher one is delivered by its EOI (30.1.4)", () => {
		const { guest, page } = apicv(wrmsr(0x83f, 0x55));
		programAt(guest.cpu, handler(0x55), [...wrmsr(0x83f, 0x44), ...wrmsr(0x80b, 0), ...ASM.sti, ...ASM.nop]);
		expect(vmxExit(guest).reason).toBe(EXIT_REASON.hlt);
		expect(rip(guest)).toBe(handler(0x44));
		expect([bit(page, 0x100, 0x55), bit(page, 0x100, 0x44)]).toEqual([0, 1]);
	});

	it("an EOI exits behind its instruction if the EOI-exit bitmap has the vector", () => {
		const { guest } = apicv(wrmsr(0x83f, 0x55));
		programAt(guest.cpu, handler(0x55), wrmsr(0x80b, 0));
		guest.control.set("EOI_EXIT_BITMAP1", 1n << BigInt(0x55 - 64));
		expect(vmxExit(guest)).toMatchObject({ reason: EXIT_REASON.eoiInduced, qualification: 0x55n });
	});

	it("a virtual TPR of the same class holds an interrupt back", () => {
		const { guest, page } = apicv([...wrmsr(0x808, 0x50), ...wrmsr(0x83f, 0x55), ...ASM.nop]);
		expect(vmxExit(guest).reason).toBe(EXIT_REASON.hlt);
		expect(rip(guest)).not.toBe(handler(0x55));
		expect(bit(page, 0x200, 0x55)).toBe(1);
	});
});

describe("posted interrupts (30.6)", () => {
	it("the notification vector moves PIR to IRR and delivers, without an exit", () => {
		const { guest, posted } = apicv(ASM.nop);
		posted.testAndSetPir(0x66);
		posted.testAndSetOn();
		guest.apic.raise(NOTIFY);
		expect(vmxExit(guest).reason).toBe(EXIT_REASON.hlt);
		expect(rip(guest)).toBe(handler(0x66));
		expect([posted.isOn, posted.hasRequests, guest.apic.highestInService()]).toEqual([false, false, -1]);
	});

	it("another vector exits all the same, also right behind a notification", () => {
		const { guest, posted } = apicv(ASM.nop);
		posted.testAndSetPir(0x66);
		guest.apic.raise(NOTIFY);
		guest.apic.raise(0x30);
		expect(vmxExit(guest).reason).toBe(EXIT_REASON.externalInterrupt);
		expect(field(guest.control, "VM_EXIT_INTR_INFO") & 0xff).toBe(0x30);
		expect(posted.hasRequests).toBe(false);
	});

	it.each([
		["virtual-interrupt delivery", "SECONDARY_VM_EXEC_CONTROL", SECONDARY.virtualInterruptDelivery],
		["acknowledgement at VM exit", "VM_EXIT_CONTROLS", EXIT_CONTROL.acknowledgeInterrupt],
	] as const)("VM entry is refused without %s (27.2.1.1)", (_what, name, control) => {
		const { guest } = apicv(ASM.nop);
		guest.control.set(name, field(guest.control, name) & ~control);
		expect(() => vmxExit(guest)).toThrow(/27.2.1.1: posted interrupts without/);
	});
});
