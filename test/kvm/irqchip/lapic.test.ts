import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { APIC, APIC_BASE_MSR } from "../../../src/kvm/irqchip/apic-registers.ts";
import type { Lapic } from "../../../src/kvm/irqchip/lapic.ts";
import { KVM_REQ, MP_STATE } from "../../../src/kvm/requests.ts";
import { makeFakeVm } from "../support/fake-vm.ts";
import {
	readApicRegister,
	writeApicRegister,
	x2apicRead,
	x2apicWrite,
} from "../../../src/kvm/irqchip/lapic-access.ts";

const X2APIC_ENABLED = 0xfee0_0d00;

function enabled(x2apic = true) {
	const fake = makeFakeVm({ vcpus: 2 });
	for (const vcpu of fake.vm.vcpus) {
		const apic = vcpu.apic!;
		if (x2apic) apic.setBase(X2APIC_ENABLED | 0);
		writeApicRegister(apic, APIC.SPIV, 0x1ff);
		vcpu.requests = 0;
	}
	return { ...fake, apic: fake.vcpu.apic! };
}

const x2 = (offset: number) => APIC_BASE_MSR + (offset >> 4);

describe("priorities", () => {
	test("the highest vector goes first, and only above the priority of what is in service", () => {
		fc.assert(
			fc.property(
				fc.uniqueArray(fc.integer({ min: 16, max: 255 }), { minLength: 1, maxLength: 12 }),
				(vectors) => {
					const { apic } = enabled();
					for (const vector of vectors) apic.apicSetIrq(vector);
					const delivered: number[] = [];
					const inService: number[] = [];
					for (let round = 0; round < 40; round++) {
						const vector = apic.kvmGetApicInterrupt();
						if (vector >= 0) {
							const top = inService.at(-1) ?? 0;
							expect(vector >> 4).toBeGreaterThan(top >> 4);
							delivered.push(vector);
							inService.push(vector);
						} else if (inService.length > 0) {
							writeApicRegister(apic, APIC.EOI, 0);
							inService.pop();
						}
					}
					expect([...delivered].sort((a, b) => b - a)).toEqual([...vectors].sort((a, b) => b - a));
				},
			),
			{ numRuns: 50 },
		);
	});

	test("CR8 holds back its own class and those below", () => {
		const { apic } = enabled();
		apic.apicSetIrq(0x45);
		apic.cr8 = 4;
		expect(apic.kvmApicHasInterrupt()).toBe(-1);
		apic.cr8 = 3;
		expect(apic.kvmApicHasInterrupt()).toBe(0x45);
		expect(readApicRegister(apic, APIC.TASKPRI)).toBe(0x30);
	});

	test("lowering the task priority asks for event evaluation", () => {
		const { apic, vcpu } = enabled();
		apic.cr8 = 15;
		vcpu.requests = 0;
		apic.cr8 = 0;
		expect(vcpu.requests & KVM_REQ.EVENT).not.toBe(0);
	});

	test("an APIC that software has disabled accepts no fixed interrupt", () => {
		const { apic } = enabled();
		writeApicRegister(apic, APIC.SPIV, 0xff);
		apic.apicSetIrq(0x50);
		expect(apic.kvmApicHasInterrupt()).toBe(-1);
	});
});

describe("modes", () => {
	test("x2APIC cannot go back to xAPIC directly, nor be reached from disabled", () => {
		const { vcpu } = makeFakeVm();
		const apic = vcpu.apic!;
		expect(apic.setBase(0xfee0_0500)).toBe(false);
		expect(apic.setBase(X2APIC_ENABLED)).toBe(true);
		expect(apic.setBase(0xfee0_0900)).toBe(false);
		expect(apic.setBase(0xfee0_0100)).toBe(true);
		expect(apic.setBase(X2APIC_ENABLED)).toBe(false);
	});

	test("the id is in bits 31:24 in xAPIC mode, whole in x2APIC mode", () => {
		const { vm } = makeFakeVm({ vcpus: 2 });
		const apic = vm.vcpus[1]!.apic!;
		expect(readApicRegister(apic, APIC.ID)).toBe(1 << 24);
		apic.setBase(0xfee0_0c00);
		expect(x2apicRead(apic, x2(APIC.ID))).toBe(1n);
		expect(x2apicRead(apic, x2(APIC.LDR))).toBe(2n);
	});

	test("x2APIC MSRs fault in xAPIC mode, and so do DFR, ICR2 and read-only registers in x2APIC mode", () => {
		const { vcpu } = makeFakeVm();
		expect(x2apicRead(vcpu.apic!, x2(APIC.ID))).toBeUndefined();
		const { apic } = enabled();
		for (const offset of [APIC.DFR, APIC.ICR2, APIC.ARBPRI])
			expect(x2apicRead(apic, x2(offset))).toBeUndefined();
		for (const offset of [APIC.ID, APIC.LVR, APIC.PROCPRI, APIC.LDR, APIC.ISR, APIC.IRR]) {
			expect(x2apicWrite(apic, x2(offset), 0n)).toBe(false);
		}
		expect(x2apicWrite(apic, x2(APIC.EOI), 1n)).toBe(false);
		expect(x2apicWrite(apic, x2(APIC.TASKPRI), 1n << 32n)).toBe(false);
	});
});

describe("interprocessor interrupts", () => {
	const send = (apic: Lapic, low: number, destination: number) =>
		x2apicWrite(apic, x2(APIC.ICR), (BigInt(destination) << 32n) | BigInt(low));
	test.each([
		["physical destination", 0x40, 1, [false, true]],
		["broadcast", 0x40, 0xffff_ffff, [true, true]],
		["shorthand self", 0x4_0040, 0, [true, false]],
		["shorthand all", 0x8_0040, 0, [true, true]],
		["shorthand all but self", 0xc_0040, 0, [false, true]],
		["logical destination", 0x840, 0x3, [true, true]],
	] as const)("%s", (_name, low, destination, expected) => {
		const { apic, vm } = enabled();
		expect(send(apic, low, destination)).toBe(true);
		expect(vm.vcpus.map((vcpu) => vcpu.apic?.kvmApicHasInterrupt() === 0x40)).toEqual(expected);
	});

	test("the SELF IPI register takes a vector and nothing else", () => {
		const { apic } = enabled();
		expect(x2apicWrite(apic, 0x83f, 0x61n)).toBe(true);
		expect(apic.kvmApicHasInterrupt()).toBe(0x61);
		expect(x2apicWrite(apic, 0x83f, 0x161n)).toBe(false);
	});

	test("an NMI is requested of the vCPU", () => {
		const { apic, vm } = enabled();
		send(apic, 0x400, 1);
		expect(vm.vcpus[1]!.requests & KVM_REQ.NMI).not.toBe(0);
	});

	test("INIT and SIPI start an application processor at the vector's page", () => {
		const { apic, vm, guest } = enabled();
		const target = vm.vcpus[1]!;
		send(apic, 0x4500, 1);
		send(apic, 0x4608, 1);
		target.apic?.acceptEvents();
		expect(target.mpState).toBe(MP_STATE.RUNNABLE);
		expect(guest.segments[1]).toMatchObject({ base: 0x8000n, selector: 0x800 });
		expect(guest.rip).toBe(0n);
	});
});

describe("timer", () => {
	test("TSC deadline: fires at the guest's TSC, once, on a host timer", () => {
		const { apic, cpu, vcpu, hrtimers } = enabled();
		vcpu.tscOffset = -500;
		cpu.cycles = 1000;
		writeApicRegister(apic, APIC.LVTT, (2 << 17) | 0x40);
		apic.setTscDeadline(1500);
		expect(hrtimers.nextCycles).toBe(2000);
		cpu.cycles = 2000;
		hrtimers.expire();
		expect(vcpu.requests & KVM_REQ.UNBLOCK).not.toBe(0);
		expect(apic.timerPending).toBe(true);
		apic.injectPendingTimerIrqs();
		expect(apic.kvmGetApicInterrupt()).toBe(0x40);
		expect(apic.tscDeadline).toBe(0);
		expect(hrtimers.nextCycles).toBe(Number.POSITIVE_INFINITY);
	});

	test("the vendor's timer is used where there is one, and given up for a host timer before a block", () => {
		const { apic, guest, cpu, hrtimers, vcpu } = enabled();
		guest.hvTimer = true;
		writeApicRegister(apic, APIC.LVTT, (2 << 17) | 0x40);
		apic.setTscDeadline(9000);
		expect(guest.hvDeadline).toBe(9000);
		expect(hrtimers.nextCycles).toBe(Number.POSITIVE_INFINITY);
		apic.timer.switchToSwTimer();
		expect(guest.hvDeadline).toBe(-1);
		expect(hrtimers.nextCycles).toBe(9000);
		apic.timer.switchToHvTimer();
		expect(guest.hvDeadline).toBe(9000);
		cpu.cycles = 9000;
		vcpu.requests = 0;
		apic.kvmLapicExpiredHvTimer();
		expect(apic.timerPending).toBe(true);
		expect(guest.hvDeadline).toBe(-1);
	});

	test("a deadline in the past is due at once", () => {
		const { apic, cpu } = enabled();
		cpu.cycles = 5000;
		writeApicRegister(apic, APIC.LVTT, (2 << 17) | 0x40);
		apic.setTscDeadline(1);
		expect(apic.timerPending).toBe(true);
	});

	test("outside TSC-deadline mode the deadline register stays 0", () => {
		const { apic } = enabled();
		apic.setTscDeadline(100);
		expect(apic.tscDeadline).toBe(0);
	});

	test("periodic: fires again and again, each period counted from the last", () => {
		const { apic, cpu, hrtimers } = enabled();
		writeApicRegister(apic, APIC.TDCR, 0xb);
		writeApicRegister(apic, APIC.LVTT, (1 << 17) | 0x41);
		writeApicRegister(apic, APIC.TMICT, 1_000_000);
		const start = cpu.cycles;
		const times: number[] = [];
		for (let i = 0; i < 3; i++) {
			times.push(hrtimers.nextCycles - start);
			cpu.cycles = hrtimers.nextCycles;
			hrtimers.expire();
			apic.injectPendingTimerIrqs();
			expect(apic.kvmGetApicInterrupt()).toBe(0x41);
			writeApicRegister(apic, APIC.EOI, 0);
		}
		expect(times[1]! - times[0]!).toBe(1_000_000);
		expect(times[2]! - times[1]!).toBe(1_000_000);
	});

	test("periodic: a period below 200 microseconds is made that long, lest it keep the host busy", () => {
		const { apic, cpu, hrtimers } = enabled();
		writeApicRegister(apic, APIC.TDCR, 0xb);
		writeApicRegister(apic, APIC.LVTT, (1 << 17) | 0x41);
		const start = cpu.cycles;
		writeApicRegister(apic, APIC.TMICT, 1);
		expect(hrtimers.nextCycles - start).toBe((200_000 * cpu.model.tscHz) / 1e9);
	});

	test("one-shot: the current count runs down, by the divider", () => {
		const { apic, cpu } = enabled();
		writeApicRegister(apic, APIC.TDCR, 0x3);
		writeApicRegister(apic, APIC.LVTT, 0x42);
		writeApicRegister(apic, APIC.TMICT, 100);
		expect(readApicRegister(apic, APIC.TMCCT)).toBeGreaterThan(98);
		cpu.cycles += 800;
		expect(readApicRegister(apic, APIC.TMCCT)).toBeLessThanOrEqual(50);
		expect(readApicRegister(apic, APIC.TMCCT)).toBeGreaterThan(48);
	});
});
