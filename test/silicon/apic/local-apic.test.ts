import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { LocalApic } from "../../../src/silicon/apic/local-apic.ts";
import { PENDING } from "../../../src/silicon/cpu/cpu.ts";
import { freshCpu } from "../machine-code.ts";

describe("the local APIC", () => {
	it("delivers by priority class and holds back what is not above the vector in service", () => {
		const cpu = freshCpu();
		const apic = new LocalApic(cpu);
		for (const vector of [0x31, 0xec, 0xe5]) apic.raise(vector);
		expect(apic.acknowledge()).toBe(0xec);
		expect(apic.inService(0xec)).toBe(true);
		// The same class as the one in service.
		expect(apic.highestPending()).toBe(-1);
		apic.eoi();
		expect(cpu.pending & PENDING.interrupt).toBe(PENDING.interrupt);
		expect(apic.acknowledge()).toBe(0xe5);
		apic.raise(0xf0);
		expect(apic.acknowledge()).toBe(0xf0);
	});

	it("a vector that was acknowledged and never ended blocks its class and those below", () => {
		const apic = new LocalApic(freshCpu());
		apic.raise(0xec);
		apic.acknowledge();
		apic.raise(0x30);
		expect(apic.acknowledge()).toBe(-1);
		expect(apic.requested(0x30)).toBe(true);
	});

	it("obeys the task priority", () => {
		const cpu = freshCpu();
		const apic = new LocalApic(cpu);
		apic.setTaskPriority(0x40);
		apic.raise(0x45);
		apic.update();
		expect(apic.highestPending()).toBe(-1);
		expect(cpu.pending).toBe(0);
		apic.setTaskPriority(0x30);
		expect(cpu.pending).toBe(PENDING.interrupt);
		expect(apic.acknowledge()).toBe(0x45);
	});

	it("ends every accepted interrupt exactly once, highest first, when each handler sends its EOI", () => {
		fc.assert(
			fc.property(fc.uniqueArray(fc.integer({ min: 16, max: 255 }), { maxLength: 40 }), (vectors) => {
				const apic = new LocalApic(freshCpu());
				for (const vector of vectors) apic.raise(vector);
				const order: number[] = [];
				for (let vector = apic.acknowledge(); vector >= 0; vector = apic.acknowledge()) {
					order.push(vector);
					apic.eoi();
				}
				expect(order).toEqual([...vectors].sort((a, b) => b - a));
				expect(apic.highestInService()).toBe(-1);
			}),
			{ seed: 4, numRuns: 30 },
		);
	});
});
