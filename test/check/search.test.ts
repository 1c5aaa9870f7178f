import { describe, expect, it } from "vitest";
import {
	DEFAULT_CONFIGURATION,
	configurationName,
	pairConfigurations,
	parseConfiguration,
} from "../../src/check/configuration.ts";
import { runCheck } from "../../src/check/check.ts";
import { planJobs } from "../../src/check/plan.ts";
import { JobRunner } from "../../src/check/search/jobs.ts";
import { rigFor } from "../../src/check/search/rig.ts";
import { TableWatch, snapshotRules } from "../../src/check/search/rules.ts";
import { type SearchResult, search } from "../../src/check/search/search.ts";
import { Snapshotter } from "../../src/check/search/snapshot.ts";
import { type RunSetup, Subject } from "../../src/check/subject.ts";
import type { EventKind } from "../../src/check/types.ts";
import { linkTree } from "../../src/kvm/flow/program.ts";
import { v618 } from "../../src/kvm/trees/base.ts";
import { findTree } from "../../src/kvm/trees/trees.ts";
import { defaultModel } from "../../src/silicon/models/models.ts";
import type { Vendor } from "../../src/silicon/models/model.ts";
import { OP_NAMES } from "../../src/silicon/ops.ts";

const setup = (tree: string, vendor: Vendor, more: Partial<RunSetup> = {}): RunSetup => ({
	program: linkTree(findTree(tree), vendor),
	model: defaultModel(vendor),
	configuration: DEFAULT_CONFIGURATION,
	guest: "script",
	...more,
});

/** Ops, exits and failures of a run without events. */
function quiet(of: RunSetup) {
	const subject = new Subject(of);
	const failures: string[] = [];
	subject.onFailure = ({ property, at }) => failures.push(`${property} at ${at}`);
	const ops: string[] = [];
	const passed = subject.onOp.bind(subject);
	subject.onOp = (cpu, op) => {
		ops.push(OP_NAMES[op]!);
		passed(cpu, op);
	};
	while (subject.runBlock());
	subject.detach();
	return { ops, exits: subject.exitCounts(), failures, end: subject.ledger.end };
}

describe("a script", () => {
	it.each(["vmx", "svm", "tdx"] as const)(
		"gives the same ops, exits and verdicts on %s as its bytes do when they are translated",
		(vendor) => {
			for (const configuration of pairConfigurations(vendor, defaultModel(vendor)).slice(0, 5)) {
				const carriedOut = quiet(setup("v6.18", vendor, { configuration }));
				const translated = quiet(setup("v6.18", vendor, { configuration, guest: "code" }));
				expect(carriedOut, configurationName(configuration)).toEqual(translated);
				expect(carriedOut.end).toEqual({ kind: "exit", code: 255 });
			}
		},
	);
});

/** A subject, its snapshots, and the hash of the state that it is in. */
function snapshots(vendor: Vendor) {
	const subject = new Subject(setup("v6.18", vendor));
	const states = new Snapshotter(subject.roots, snapshotRules(subject, []));
	const hash = () => {
		states.moved();
		states.hash(subject.debts());
		return [states.high, states.low];
	};
	return { subject, states, hash };
}

describe("a snapshot", () => {
	it.each(["vmx", "svm", "tdx"] as const)(
		"brings a machine back on %s, and its future is the same",
		(vendor) => {
			const { subject, states, hash } = snapshots(vendor);
			const future = (count: number) => {
				const hashes: number[][] = [];
				for (let block = 0; block < count && subject.runBlock(); block++) hashes.push(hash());
				return hashes;
			};
			for (let part = 0; part < 8; part++) {
				const here = states.save();
				const before = hash();
				const first = future(60);
				states.restore(here);
				expect(hash()).toEqual(before);
				expect(future(60)).toEqual(first);
				states.restore(here);
				future(9);
			}
			subject.detach();
		},
	);

	it.each(["vmx", "svm", "tdx"] as const)(
		"has one hash on %s, whichever snapshot it is compared with",
		(vendor) => {
			const { subject, states, hash } = snapshots(vendor);
			const start = states.save();
			const event = { event: "preempt", at: 40 } as const;
			const seen = new Set<string>();
			for (const schedule of [[], [event]]) {
				states.restore(start);
				subject.ops = 0;
				subject.setSchedule(schedule);
				for (let block = 0; block < 150 && subject.runBlock(); block++) {
					const against = hash();
					seen.add(against.join());
					// From here on it is compared with this state, whose own hash was made of all that it has.
					if (block % 3 === 0) states.save();
					expect(hash()).toEqual(against);
				}
			}
			expect(seen.size).toBeGreaterThan(100);
			subject.detach();
		},
	);

	it("leaves no table of KVM's out that changes", () => {
		for (const vendor of ["vmx", "svm", "tdx"] as const) {
			const subject = new Subject(setup("v6.18", vendor));
			const watch = new TableWatch(subject.machine);
			while (subject.runBlock());
			subject.detach();
			expect(watch.changed()).toEqual([]);
		}
	});
});

describe("pruning", () => {
	const properties = (tree: string, vendor: Vendor, kinds: readonly EventKind[], exhaustive: boolean) =>
		search({ setup: setup(tree, vendor), eventsMax: 1, kinds, exhaustive })
			.found.map(({ failure, schedule }) => ({ property: failure.property, schedule }))
			.sort((a, b) => (a.property < b.property ? -1 : 1));

	it.each([
		["v6.18", "tdx"],
		["series-v1", "tdx"],
	] as const)("finds in %s on %s what running every schedule to its end finds", (tree, vendor) => {
		for (const kind of [
			"irq",
			"preempt",
			"mce",
			"td-busy",
			"perf",
			"perf-rdpmc",
			"smi",
			"breakpoint",
		] as const) {
			const pruned = properties(tree, vendor, [kind], false);
			expect(pruned, kind).toEqual(properties(tree, vendor, [kind], true));
		}
	});
});

describe("an NMI or #MC at an op at which its handler sees what it saw at the op before", () => {
	const found = (of: SearchResult) =>
		of.found
			.map(({ failure, schedule }) => ({ property: failure.property, schedule }))
			.sort((a, b) => (a.property < b.property ? -1 : 1));

	it.each([
		["series-v1", "tdx", 2],
		["nmi-order-before", "vmx", 1],
		["debugctl-snapshot-before", "vmx", 1],
		["dr6-reentry-before", "svm", 1],
	] as const)(
		"need not be tried: %s on %s shows the same, and comes to the same states",
		(tree, vendor, eventsMax) => {
			const options = { setup: setup(tree, vendor), eventsMax, kinds: ["nmi", "perf-nmi", "mce"] as const };
			const fewer = search(options);
			const all = search({ ...options, allPassing: true });
			expect(found(fewer)).toEqual(found(all));
			expect(fewer.states).toBe(all.states);
			expect(fewer.schedules).toBeLessThan(0.8 * all.schedules);
		},
	);
});

describe("a search", () => {
	const asked = (tree: string, vendor: Vendor, eventsMax: number) => ({
		tree: findTree(tree),
		base: v618,
		vendor,
		model: defaultModel(vendor),
		mceHandler: "task-work" as const,
		configuration: DEFAULT_CONFIGURATION,
		eventsMax,
	});

	it("has shares that see the same in whatever order they are searched", () => {
		const options = { ...asked("v6.18", "tdx", 2), events: ["kick", "ioctl", "nmi"] as const };
		const jobs = planJobs(options).slice(0, 3);
		const inOrder = (order: readonly number[]) => {
			const runner = new JobRunner(options);
			const results = order.map((at) => [at, runner.run(jobs[at]!)] as const);
			runner.end();
			return new Map(results.sort(([a], [b]) => a - b));
		};
		expect(inOrder([2, 1, 0])).toEqual(inOrder([0, 1, 2]));
	});

	it.each(["vmx", "svm", "tdx"] as const)(
		"of one tree on %s finds on the machine of another one's what it finds on its own",
		(vendor) => {
			const kinds = ["irq", "preempt", "mce", "perf"] as const;
			const searched = (tree: string) => search({ setup: setup(tree, vendor), eventsMax: 1, kinds });
			const alone = searched("series-v2");
			const machine = rigFor(setup("v6.18", vendor), []);
			searched("v6.18");
			expect(searched("series-v2")).toEqual(alone);
			expect(rigFor(setup("dedup", vendor), []) === machine).toBe(true);
			const wide = { ...DEFAULT_CONFIGURATION, pke: "off" } as const;
			expect(rigFor(setup("v6.18", vendor, { configuration: wide }), []) === machine).toBe(false);
		},
	);

	it("sees the same whatever ran on the hardware before", () => {
		const model = { ...defaultModel("vmx") };
		const states = (configuration: string) =>
			search({
				setup: setup("v6.18", "vmx", {
					model,
					configuration: parseConfiguration(configuration, "vmx", model),
				}),
				eventsMax: 1,
				kinds: ["vcpu"],
			}).states;
		const first = states("vcpus=2,exits=4");
		states("vcpus=2,instructions=rare");
		expect(states("vcpus=2,exits=4")).toBe(first);
	});

	it("begins on a machine of its own if kvm_arch_vcpu_load() is another one", () => {
		const machine = rigFor(setup("v6.18", "tdx"), []);
		expect(rigFor(setup("series-v1", "tdx"), []) === machine).toBe(false);
	});

	it("finds the host interrupt that version 1 loses behind a TD exit, with one event, and replays it", () => {
		const result = runCheck(asked("series-v1", "tdx", 1));
		const violation = result.violations.find(({ property }) => property === "interrupt-serviced")!;
		expect(violation.schedule).toHaveLength(1);
		expect(violation.summary).toMatch(/handle_external_interrupt_irqoff/);
		expect(violation.replay).toMatch(/^reenter replay r1:\S+\.script\./);
	});
});
