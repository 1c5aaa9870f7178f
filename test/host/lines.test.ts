import { describe, expect, it } from "vitest";
import { FN, lockedIrqsave, runFunction } from "../../src/host/functions.ts";
import { RemoteLines } from "../../src/host/remote-lines.ts";
import { SharedLine } from "../../src/host/shared-line.ts";
import { createSilicon } from "../../src/kvm/api/kvm.ts";
import type { Cpu } from "../../src/silicon/cpu/cpu.ts";
import type { OpObserver } from "../../src/silicon/cpu/observers.ts";
import { FirstLevelCache } from "../../src/silicon/cpu/first-level.ts";
import { exitBehindStores } from "../../src/silicon/cpu/store-buffer.ts";
import { emeraldRapids } from "../../src/silicon/models/emerald-rapids.ts";
import { turin } from "../../src/silicon/models/turin.ts";
import { OP } from "../../src/silicon/ops.ts";

const NOBODY: OpObserver = { onOp: () => {} };
const cpus = (count: number, model = emeraldRapids) =>
	createSilicon(model, 1 << 20, count).processors.map(({ cpu }) => cpu) as [Cpu, Cpu];
const transfers = (cpu: Cpu) => cpu.opCounts[OP.cacheline_transfer];

/** Cycles that something takes. */
function cyclesOf(cpu: Cpu, body: () => void): number {
	const start = cpu.cycles;
	body();
	return cpu.cycles - start;
}

describe("a line that several CPUs write", () => {
	it("comes over when another CPU has written it, and stays where it is otherwise", () => {
		const [a, b] = cpus(2);
		const line = new SharedLine();
		line.write(a);
		line.write(a);
		expect(transfers(a)).toBe(0);
		line.write(b);
		line.write(b);
		expect(transfers(b)).toBe(1);
		line.write(a);
		expect(transfers(a)).toBe(1);
	});

	it("is waited for in the lock's function", () => {
		const [a, b] = cpus(2);
		const line = new SharedLine();
		lockedIrqsave(a, () => {}, line);
		const alone = cyclesOf(b, () => lockedIrqsave(b, () => {}));
		const behind = cyclesOf(b, () => lockedIrqsave(b, () => {}, line));
		expect(behind - alone).toBeCloseTo(b.costs[OP.cacheline_transfer]!, 6);
	});
});

describe("lines that another CPU writes at its ticks", () => {
	it("are fetched once behind each tick, however often they are read", () => {
		const [cpu] = cpus(1);
		const lines = new RemoteLines(cpu, 1000, 3);
		const tickCycles = cpu.model.tscHz / 1000;
		for (let tick = 1; tick <= 4; tick++) {
			cpu.cycles = tick * tickCycles + 1;
			lines.read();
			lines.read();
			expect(transfers(cpu)).toBe(3 * tick);
		}
	});

	it("stay where they are if nobody writes them", () => {
		const [cpu] = cpus(1);
		const lines = new RemoteLines(cpu, 0, 3);
		cpu.cycles = 1e9;
		lines.read();
		expect(transfers(cpu)).toBe(0);
	});
});

describe("the first-level caches", () => {
	const cold = () => {
		const [cpu] = cpus(1);
		cpu.observer = NOBODY;
		cpu.firstLevel = new FirstLevelCache();
		return cpu;
	};
	const menuSelect = (cpu: Cpu) => cyclesOf(cpu, () => runFunction(cpu, FN.menu_select));

	it("have a function from its first call on, until a guest has run", () => {
		const cpu = cold();
		const first = menuSelect(cpu);
		const second = menuSelect(cpu);
		expect(second).toBeCloseTo(FN.menu_select.instructions * cpu.costs[OP.code]!, 6);
		expect(first).toBeGreaterThan(2 * second);
		cpu.guestExited();
		expect(menuSelect(cpu)).toBeCloseTo(first, 6);
	});

	it("know each function's code by itself", () => {
		const cpu = cold();
		const first = menuSelect(cpu);
		runFunction(cpu, FN.kvm_io_bus_write);
		expect(menuSelect(cpu)).toBeLessThan(first / 2);
		cpu.guestExited();
		runFunction(cpu, FN.kvm_io_bus_write);
		expect(menuSelect(cpu)).toBeCloseTo(first, 6);
	});

	it("leave out what a figure has in it already", () => {
		const cpu = cold();
		expect(cyclesOf(cpu, () => cpu.codeOfFigure(100))).toBeCloseTo(100 * cpu.costs[OP.code]!, 6);
	});
});

describe("a VM exit behind a full store buffer", () => {
	it.each([
		[emeraldRapids, OP.vmexit, OP["#vmexit"]],
		[turin, OP["#vmexit"], OP.vmexit],
	])(
		"of $name takes the time that its stores take, and the other vendor's stays absent",
		(model, exit, other) => {
			const [cpu] = cpus(1, model);
			const before = cpu.costs[exit]!;
			exitBehindStores(cpu);
			// Seven turns of 16 lines, 115 ns each.
			expect(cpu.costs[exit]! - before).toBeCloseTo((7 * 115 * model.tscHz) / 1e9, 6);
			expect(cpu.costs[other]).toBe(0);
		},
	);
});
