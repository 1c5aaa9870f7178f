import { describe, expect, it } from "vitest";
import { APIC } from "../../../src/kvm/irqchip/apic-registers.ts";
import { kernelIrqchip } from "../../../src/kvm/irqchip/irqchip.ts";
import { writeApicRegister } from "../../../src/kvm/irqchip/lapic-access.ts";
import { kvmSetIrq } from "../../../src/kvm/irqchip/routing.ts";
import { makeFakeVm } from "../support/fake-vm.ts";

const LEVEL = 1 << 15;
const LOGICAL = 1 << 11;
const LOWEST = 1 << 8;
const REMOTE_IRR = 1 << 14;
const MASKED = 1 << 16;
const PIN = 14;

function machine(vcpus = 2) {
	const fake = makeFakeVm({ vcpus });
	for (const { apic } of fake.vm.vcpus) writeApicRegister(apic!, APIC.SPIV, 0x1ff);
	const { ioapic } = kernelIrqchip(fake.vm)!;
	const register = (index: number) => {
		ioapic.write(0, index);
		return ioapic.read(0x10);
	};
	const setRegister = (index: number, value: number) => {
		ioapic.write(0, index);
		ioapic.write(0x10, value);
	};
	return {
		...fake,
		ioapic,
		low: () => register(0x10 + 2 * PIN),
		redirect: (low: number, destination = 0) => {
			setRegister(0x10 + 2 * PIN + 1, destination << 24);
			setRegister(0x10 + 2 * PIN, low);
		},
		line: (level: boolean) => kvmSetIrq(fake.vm, PIN, level),
		/** Takes the interrupt that a CPU would get, and its EOI. @returns the vector, or -1 */
		take: (cpu = 0) => fake.vm.vcpus[cpu]!.apic!.kvmGetApicInterrupt(),
		eoi: (cpu = 0) => writeApicRegister(fake.vm.vcpus[cpu]!.apic!, APIC.EOI, 0),
	};
}

describe("a level-triggered pin of the I/O APIC", () => {
	it("interrupts once until its EOI, and again while the line is up", () => {
		const { redirect, line, take, eoi, low } = machine();
		redirect(0x77 | LEVEL);
		line(true);
		expect(low() & REMOTE_IRR).toBe(REMOTE_IRR);
		expect([take(), take()]).toEqual([0x77, -1]);
		eoi();
		expect(take()).toBe(0x77);
		line(false);
		eoi();
		expect([take(), low() & REMOTE_IRR]).toEqual([-1, 0]);
	});

	it("waits while it is masked, and interrupts when the mask goes", () => {
		const { redirect, line, take } = machine();
		redirect(0x77 | LEVEL | MASKED);
		line(true);
		expect(take()).toBe(-1);
		redirect(0x77 | LEVEL);
		expect(take()).toBe(0x77);
	});

	it("loses its remote IRR when it is made edge triggered", () => {
		const { redirect, line, low } = machine();
		redirect(0x77 | LEVEL);
		line(true);
		redirect(0x77);
		expect(low() & REMOTE_IRR).toBe(0);
	});
});

describe("an edge-triggered pin of the I/O APIC", () => {
	it("interrupts for each rise, and not for a line that stays up", () => {
		const { redirect, line, take, eoi } = machine();
		redirect(0x76);
		line(true);
		line(true);
		expect([take(), take()]).toEqual([0x76, -1]);
		eoi();
		line(false);
		line(true);
		expect(take()).toBe(0x76);
	});

	it("forgets a rise that it was masked for", () => {
		const { redirect, line, take } = machine();
		redirect(0x76 | MASKED);
		line(true);
		line(false);
		redirect(0x76);
		expect(take()).toBe(-1);
	});
});

describe("a destination", () => {
	it("is a physical id, or everybody for FFH", () => {
		const { redirect, line, take } = machine(3);
		redirect(0x50, 2);
		line(true);
		expect([0, 1, 2].map(take)).toEqual([-1, -1, 0x50]);
		line(false);
		redirect(0x51, 0xff);
		line(true);
		expect([take(0), take(1)]).toEqual([0x51, 0x51]);
	});

	it("is a set of logical ids, of which a lowest-priority interrupt reaches one", () => {
		const { vm, redirect, line, take } = machine(3);
		for (const { apic, id } of vm.vcpus) writeApicRegister(apic!, APIC.LDR, (1 << id) << 24);
		redirect(0x60 | LOGICAL, 0b110);
		line(true);
		expect([0, 1, 2].map(take)).toEqual([-1, 0x60, 0x60]);
		line(false);
		redirect(0x71 | LOGICAL | LOWEST, 0b110);
		line(true);
		expect([0, 1, 2].map(take).filter((vector) => vector === 0x71).length).toBe(1);
	});
});

describe("registers of the I/O APIC", () => {
	it("have an id of four bits that the arbitration id follows, and a version that cannot be written", () => {
		const { ioapic } = machine();
		const write = (index: number, value: number) => {
			ioapic.write(0, index);
			ioapic.write(0x10, value);
		};
		write(0, 0xffff_ffff);
		write(1, 0xffff_ffff);
		const read = (index: number) => {
			ioapic.write(0, index);
			return ioapic.read(0x10);
		};
		expect([read(0), read(1), read(2)]).toEqual([0x0f00_0000, 0x0017_0011, 0x0f00_0000]);
	});
});
