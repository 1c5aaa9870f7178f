import { describe, expect, it } from "vitest";
import { QueuedRwLock } from "../../src/host/spinlock.ts";
import type { Machine } from "../../src/kvm/api/kvm.ts";
import { findTree } from "../../src/kvm/trees/trees.ts";
import { compareWithSeed, SEED_TABLES } from "../../src/profile/compare.ts";
import { record, startSession } from "../../src/profile/record.ts";
import { reportRows } from "../../src/profile/report.ts";
import { inlinedSymbols } from "../../src/profile/symbols.ts";
import { nodeName } from "../../src/profile/call-tree.ts";
import { startMainLoop } from "../../src/profile/workloads/main-loop.ts";
import { findWorkload } from "../../src/profile/workloads/workloads.ts";
import { defaultModel } from "../../src/review/review.ts";
import { createSilicon } from "../../src/kvm/api/kvm.ts";

const v618 = findTree("v6.18");
const model = defaultModel("vmx");

function rowsOf(
	name: string,
	rest: { iterations?: number; vcpus?: number; seed?: number; periodCycles?: number } = {},
) {
	const recording = record({
		workload: findWorkload(name),
		tree: v618,
		vendor: "vmx",
		model,
		periodCycles: 499,
		...rest,
	});
	const rows = reportRows(recording.calls, { inlined: inlinedSymbols(v618, "kernel") });
	return {
		recording,
		of: (symbol: string) => rows.find((row) => row.symbol === symbol)?.overheadPercent ?? 0,
		rows,
	};
}

describe("halt-poll", () => {
	const { of, rows } = rowsOf("halt-poll", { iterations: 100 });

	it("executes the functions of the seed's first table, vmx_vmexit and kvm_vcpu_halt before all others", () => {
		expect(
			rows
				.slice(0, 2)
				.map(({ symbol }) => symbol)
				.sort(),
		).toEqual(["kvm_vcpu_halt", "vmx_vmexit"]);
		for (const symbol of [
			"kvm_vcpu_halt",
			"__srcu_read_lock",
			"kvm_load_guest_xsave_state",
			"__srcu_read_unlock",
			"read_tsc",
			"vmx_sync_pir_to_irr",
			"kvm_apic_has_interrupt",
		])
			expect(of(symbol), symbol).toBeGreaterThan(0.1);
	});

	it("pairs more than two vCPUs: IPIs go by APIC ID, in whatever order the processors started", () => {
		for (const seed of [1, 2, 3]) {
			const session = startSession({
				workload: findWorkload("halt-poll"),
				tree: v618,
				vendor: "vmx",
				model,
				vcpus: 6,
				iterations: 20,
				seed,
				profile: false,
			});
			expect(session.vmm.run()).toEqual({ kind: "exit", code: 0 });
		}
	});

	it("polls: without halt polling the thread sleeps instead, and read_tsc is gone from the loop", () => {
		const session = startSession({
			workload: { ...findWorkload("halt-poll"), kernel: {} },
			tree: v618,
			vendor: "vmx",
			model,
			iterations: 100,
			exact: true,
		});
		expect(session.vmm.run()).toEqual({ kind: "exit", code: 0 });
		const { calls } = session.recording();
		expect(calls.symbols).toContain("rcu_note_context_switch");
		expect(calls.symbols).not.toContain("ktime_get");
	});
});

describe("mmu-stress", () => {
	it("spins for mmu_lock most of its time, and more the more vCPUs there are", () => {
		const many = rowsOf("mmu-stress", { iterations: 4 });
		const few = rowsOf("mmu-stress", { iterations: 4, vcpus: 4 });
		expect(many.of("queued_spin_lock_slowpath")).toBeGreaterThan(20);
		expect(few.of("queued_spin_lock_slowpath")).toBeLessThan(many.of("queued_spin_lock_slowpath") / 2);
	});

	it("gives the same profile for the same seed", () => {
		const run = () => rowsOf("mmu-stress", { iterations: 2, vcpus: 4, seed: 3 }).recording;
		expect(run()).toEqual(run());
	});
});

describe("timer-userspace", () => {
	it("runs on a host with vmscape=off, as the mail's table says; with the mitigation write_ibpb is among the first", () => {
		const workload = findWorkload("timer-userspace");
		const calls = (one: typeof workload) =>
			record({ workload: one, tree: v618, vendor: "vmx", model, iterations: 20, exact: true }).calls.symbols;
		expect(calls(workload)).not.toContain("write_ibpb");
		expect(calls({ ...workload, kernel: {} })).toContain("write_ibpb");
	});

	it("its main loop polls: three references and two locks of a wait queue for each file, whenever the doorbell rings", () => {
		const ticks = 50;
		const callsOf = (files: number) => {
			const workload = {
				...findWorkload("timer-userspace"),
				start: (machine: Machine) => startMainLoop(machine, { files }),
			};
			const { calls } = record({
				workload,
				tree: v618,
				vendor: "vmx",
				model,
				iterations: ticks,
				exact: true,
			});
			return (name: string) =>
				calls.calls.reduce((sum, count, node) => sum + (nodeName(calls, node) === name ? count : 0), 0);
		};
		const few = callsOf(2);
		const many = callsOf(3);
		expect(many("add_wait_queue") - few("add_wait_queue")).toBeGreaterThanOrEqual(ticks - 1);
		expect(many("_raw_spin_lock_irqsave") - few("_raw_spin_lock_irqsave")).toBeGreaterThanOrEqual(
			2 * (ticks - 1),
		);
		// At the first look, at the second, and for the place in the queue.
		expect(many("fput") - few("fput")).toBeGreaterThanOrEqual(3 * (ticks - 1));
	});

	it("executes the functions of the seed's third table: timers, switches of threads, ioctls", () => {
		const { of } = rowsOf("timer-userspace", { iterations: 100, periodCycles: 97 });
		for (const symbol of [
			"vmx_vmexit",
			"vmx_vcpu_run",
			"vcpu_run",
			"_raw_spin_lock_irqsave",
			"kvm_load_guest_xsave_state",
			"rcu_note_context_switch",
			"ktime_get_update_offsets_now",
			"kvm_load_host_xsave_state",
			"fput",
		])
			expect(of(symbol), symbol).toBeGreaterThan(0.05);
	});
});

describe("what a run of the seed's workloads costs", () => {
	const cyclesOf = (name: string, perfTop: boolean, profile: boolean) =>
		record({
			workload: { ...findWorkload(name), perfTop },
			tree: v618,
			vendor: "vmx",
			model,
			iterations: 2,
			profile,
		}).cyclesByCpu;

	it.each(["mmu-stress", "timer-userspace"])("of %s is the same with and without a look at it", (name) => {
		expect(cyclesOf(name, false, true)).toEqual(cyclesOf(name, false, false));
	});

	it("is more while perf samples by PEBS, whose MSRs each round trip switches", () => {
		const run = (perfTop: boolean) => {
			const { cyclesByCpu, exits } = record({
				workload: { ...findWorkload("invd"), perfTop },
				tree: v618,
				vendor: "vmx",
				model,
				iterations: 1000,
			});
			return cyclesByCpu[0]! / exits;
		};
		// 550 of the MSRs; two VMWRITEs and intel_guest_get_msrs() besides.
		expect(run(true) - run(false)).toBeGreaterThan(550);
		expect(run(true) - run(false)).toBeLessThan(620);
	});
});

describe("pkeys", () => {
	it("needs no exits to open and close a region; page permissions need a shoot-down each time", () => {
		const keys = rowsOf("pkeys", { iterations: 50 }).recording;
		const pages = rowsOf("page-permissions", { iterations: 50 }).recording;
		expect(keys.exits).toBeLessThan(60);
		// Two switches an iteration, an IPI to each of the three others.
		expect(pages.exits).toBeGreaterThan(50 * 2 * 3);
	});
});

describe("a queued read-write lock in virtual time", () => {
	const cpus = () => createSilicon(model, 1 << 20, 3).processors.map(({ cpu }) => cpu);

	it("a writer waits until the one before has released it", () => {
		const [a, b] = cpus() as [ReturnType<typeof cpus>[0], ReturnType<typeof cpus>[0]];
		const lock = new QueuedRwLock();
		lock.writeLock(a!);
		a!.cycles = 5000;
		lock.writeUnlock(a!);
		b!.cycles = 100;
		lock.writeLock(b!);
		expect(b!.cycles).toBeGreaterThan(5000);
		expect(lock.stat).toMatchObject({ acquired: 2, contended: 1 });
	});

	it("readers share it, and a writer waits for them all", () => {
		const [a, b, c] = cpus();
		const lock = new QueuedRwLock();
		lock.readLock(a!);
		lock.readLock(b!);
		expect(lock.stat.contended).toBe(0);
		a!.cycles = 1000;
		b!.cycles = 3000;
		lock.readUnlock(a!);
		lock.readUnlock(b!);
		lock.writeLock(c!);
		expect(c!.cycles).toBeGreaterThan(3000);
	});
});

describe("the seed's tables", () => {
	it.each([
		["halt-poll", 300],
		["mmu-stress", 8],
		["timer-userspace", 200],
	])(
		"%s comes out as the mail has it: the same order, but for neighbours, and within some points",
		(name, iterations) => {
			const { rows } = rowsOf(name, { iterations });
			const { rankCorrelation, meanDifference } = compareWithSeed(SEED_TABLES[name]!, rows);
			expect(rankCorrelation).toBeGreaterThan(0.75);
			expect(meanDifference).toBeLessThan(1.5);
		},
	);

	it("a table agrees with itself, and one turned round does not", () => {
		const table = SEED_TABLES["halt-poll"]!;
		const rowsOf = (list: readonly (readonly [string, number])[]) =>
			list.map(([symbol, overheadPercent]) => ({
				symbol,
				overheadPercent,
				object: "[kernel]" as const,
				mode: "k",
				weight: 1,
			}));
		const same = compareWithSeed(table, rowsOf(table));
		expect(same.rankCorrelation).toBeCloseTo(1, 9);
		expect(same.meanDifference).toBe(0);
		const turned = table.map(([symbol], at) => [symbol, table.at(-1 - at)![1]] as const);
		expect(compareWithSeed(table, rowsOf(turned)).rankCorrelation).toBeCloseTo(-1, 9);
		expect(compareWithSeed(table, []).rows.every(({ ours }) => ours === 0)).toBe(true);
	});
});
