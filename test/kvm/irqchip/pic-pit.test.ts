import { describe, expect, it } from "vitest";
import { PicPair } from "../../../src/kvm/irqchip/pic.ts";
import { Pit } from "../../../src/kvm/irqchip/pit.ts";
import { kernelIrqchip } from "../../../src/kvm/irqchip/irqchip.ts";
import { makeFakeVm } from "../support/fake-vm.ts";

/** The pair as a PC's firmware sets it up: vectors from 08H and 70H, all lines open. */
function pics() {
	let raised = 0;
	const pic = new PicPair(() => {
		raised++;
	});
	for (const [port, base, cascade] of [
		[0x20, 0x08, 4],
		[0xa0, 0x70, 2],
	] as const) {
		for (const [offset, value] of [
			[0, 0x11],
			[1, base],
			[1, cascade],
			[1, 1],
			[1, 0],
		] as const)
			pic.write(port + offset, value);
	}
	return { pic, raised: () => raised };
}

describe("the two PICs", () => {
	it("give the vector of the highest line, the slave's through line 2", () => {
		const { pic, raised } = pics();
		pic.setIrq(12, true);
		pic.setIrq(4, true);
		expect(raised()).toBeGreaterThan(0);
		// Line 2, where the slave is, goes before line 4.
		expect(pic.acknowledge()).toBe(0x74);
		expect(pic.output).toBe(false);
		pic.write(0xa0, 0x20);
		pic.write(0x20, 0x20);
		expect([pic.output, pic.acknowledge()]).toEqual([true, 0x0c]);
	});

	it("hold an edge until it is acknowledged, and a level as long as it is up", () => {
		const { pic } = pics();
		pic.setIrq(4, true);
		pic.setIrq(4, false);
		expect(pic.output).toBe(true);
		pic.acknowledge();
		pic.write(0x20, 0x20);
		pic.write(0x4d0, 0x20);
		pic.setIrq(5, true);
		pic.setIrq(5, false);
		expect(pic.output).toBe(false);
	});

	it("answer 7 for a request that is gone, and keep masked lines back", () => {
		const { pic } = pics();
		expect(pic.acknowledge()).toBe(0x0f);
		pic.write(0x21, 0xff);
		pic.setIrq(1, true);
		expect(pic.output).toBe(false);
		pic.write(0x21, 0xfd);
		expect(pic.output).toBe(true);
	});

	it("have edge/level registers in which the timer, the keyboard, the cascade and the clock stay edges", () => {
		const { pic } = pics();
		pic.write(0x4d0, 0xff);
		pic.write(0x4d1, 0xff);
		expect([pic.read(0x4d0), pic.read(0x4d1)]).toEqual([0xf8, 0xde]);
	});
});

describe("the PIT", () => {
	const HZ = 1_193_182;

	it("raises interrupt 0 at the rate of channel 0", () => {
		const { vm, vcpu } = makeFakeVm();
		const { cpu, kernel } = vcpu;
		const { pic, pit } = kernelIrqchip(vm)!;
		for (const [offset, value] of [
			[0, 0x11],
			[1, 0x08],
			[1, 4],
			[1, 1],
			[1, 0],
		] as const)
			pic.write(0x20 + offset, value);
		const period = (11_932 * cpu.model.tscHz) / HZ;
		pit!.write(0x43, 0x34, cpu.cycles);
		pit!.write(0x40, 11_932 & 0xff, cpu.cycles);
		pit!.write(0x40, 11_932 >> 8, cpu.cycles);
		for (let tick = 0; tick < 3; tick++) {
			expect(pic.output).toBe(false);
			cpu.cycles += period;
			kernel.hrtimers.expire();
			expect(pic.acknowledge()).toBe(0x08);
			pic.write(0x20, 0x20);
		}
	});

	it("lets channel 2 count while its gate is up, with its output in port 61H", () => {
		const { vm, vcpu } = makeFakeVm();
		const { tscHz } = vcpu.cpu.model;
		const pit = new Pit(vm);
		const at = (ticks: number) => Math.ceil((ticks * tscHz) / HZ);
		pit.write(0x61, 1, 0);
		pit.write(0x43, 0xb0, 0);
		pit.write(0x42, 0xe8, 0);
		pit.write(0x42, 0x03, 0);
		expect(pit.read(0x61, at(999)) & 0x20).toBe(0);
		expect(pit.read(0x61, at(1001)) & 0x20).toBe(0x20);
		pit.write(0x43, 0x80, at(10));
		expect([pit.read(0x42, at(500)), pit.read(0x42, at(500))]).toEqual([990 & 0xff, 990 >> 8]);
	});
});
