/** High-resolution timers over the TSC deadline (kernel/time/hrtimer.c). */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Hrtimer } from "../../src/host/hrtimer.ts";
import { HOST_VECTOR } from "../../src/host/idt.ts";
import { OP } from "../../src/silicon/ops.ts";
import { bootHost, type Host } from "./host.ts";

const timer = (callback: () => void): Hrtimer => ({ expiresCycles: 0, callback });

/** Lets the time pass, an op at a time. */
function pass({ cpu }: Host, until: number): void {
	while (cpu.cycles < until) cpu.op(OP.rdtsc);
	cpu.poll();
}

describe("hrtimers", () => {
	it("fire in the order of their expiry, each once and never early, however they were started and moved", () => {
		const start = fc.record({
			at: fc.integer({ min: 1, max: 20_000 }),
			which: fc.nat(4),
			cancel: fc.boolean(),
		});
		fc.assert(
			fc.property(fc.array(start, { minLength: 1, maxLength: 20 }), (starts) => {
				const host = bootHost();
				const { cpu, kernel } = host;
				const base = cpu.cycles;
				const fired: { which: number; due: number; at: number }[] = [];
				const due = new Map<number, number>();
				const timers = [0, 1, 2, 3, 4].map((which) => {
					const one: Hrtimer = timer(() => fired.push({ which, due: one.expiresCycles, at: cpu.cycles }));
					return one;
				});
				for (const { at, which, cancel } of starts) {
					if (cancel) expect(kernel.hrtimers.cancel(timers[which]!)).toBe(due.delete(which));
					else {
						kernel.hrtimers.start(timers[which]!, base + at);
						due.set(which, base + at);
					}
					expect(cpu.deadline).toBe(Math.min(Number.POSITIVE_INFINITY, ...due.values()));
				}
				pass(host, base + 40_000);
				expect(fired.map(({ due: one }) => one)).toEqual([...due.values()].sort((a, b) => a - b));
				expect(new Set(fired.map(({ which }) => which))).toEqual(new Set(due.keys()));
				for (const { due: one, at } of fired) expect(at).toBeGreaterThanOrEqual(one);
				expect(cpu.deadline).toBe(Number.POSITIVE_INFINITY);
			}),
			{ seed: 3, numRuns: 60 },
		);
	});

	it("of one instant fire in the order in which they were started", () => {
		const host = bootHost();
		const { cpu, kernel } = host;
		const order: string[] = [];
		const at = cpu.cycles + 1000;
		for (const name of ["a", "b", "c"])
			kernel.hrtimers.start(
				timer(() => order.push(name)),
				at,
			);
		pass(host, at + 5000);
		expect(order).toEqual(["a", "b", "c"]);
	});

	it("come as the local timer's interrupt: not while interrupts are off, and with an EOI", () => {
		const host = bootHost();
		const { cpu, kernel, apic } = host;
		let fired = 0;
		kernel.localIrqDisable();
		kernel.hrtimers.start(
			timer(() => fired++),
			cpu.cycles + 1000,
		);
		pass(host, cpu.cycles + 5000);
		expect([fired, apic.highestPending()]).toEqual([0, HOST_VECTOR.localTimer]);
		kernel.localIrqEnable();
		expect([fired, kernel.interruptCounts[HOST_VECTOR.localTimer], apic.highestPending()]).toEqual([
			1, 1, -1,
		]);
	});

	it("may start themselves again from their callback", () => {
		const host = bootHost();
		const { cpu, kernel } = host;
		let ticks = 0;
		const tick = timer(() => {
			if (++ticks < 3) kernel.hrtimers.start(tick, tick.expiresCycles + 2000);
		});
		kernel.hrtimers.start(tick, cpu.cycles + 2000);
		pass(host, cpu.cycles + 20_000);
		expect(ticks).toBe(3);
	});

	it("that are in the past when they are started fire at the next op", () => {
		const host = bootHost();
		const { cpu, kernel } = host;
		let fired = 0;
		kernel.hrtimers.start(
			timer(() => fired++),
			0,
		);
		cpu.op(OP.rdtsc);
		cpu.poll();
		expect(fired).toBe(1);
	});
});
