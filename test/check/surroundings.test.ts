import { describe, expect, it } from "vitest";
import { DEFAULT_CONFIGURATION } from "../../src/check/configuration.ts";
import { snapshotRules } from "../../src/check/search/rules.ts";
import { Snapshotter } from "../../src/check/search/snapshot.ts";
import { Subject } from "../../src/check/subject.ts";
import { SEEN_WORDS, surroundings } from "../../src/check/surroundings.ts";
import type { EventKind } from "../../src/check/types.ts";
import { linkTree } from "../../src/kvm/flow/program.ts";
import { findTree } from "../../src/kvm/trees/trees.ts";
import type { Cpu } from "../../src/silicon/cpu/cpu.ts";
import * as L from "../../src/silicon/cpu/layout.ts";
import { defaultModel } from "../../src/silicon/models/models.ts";
import { VENDORS, type Vendor } from "../../src/silicon/models/model.ts";

const PASSING = ["nmi", "perf-nmi", "mce"] as const;

function subjectOn(vendor: Vendor): Subject {
	const program = linkTree(findTree("v6.18"), vendor);
	return new Subject({ program, model: defaultModel(vendor), configuration: DEFAULT_CONFIGURATION });
}

/** Runs v6.18 with an event at each op at which it is handled at once. @param handle runs the handler */
function atEachOp(subject: Subject, kind: EventKind, handle: (deliver: () => void) => void): number {
	const { cpu, kernel } = subject.machine;
	const processor = cpu as unknown as { deliverToHost: () => void };
	const deliver = processor.deliverToHost.bind(cpu);
	let events = 0;
	let comes = false;
	processor.deliverToHost = () => {
		if (!comes) return deliver();
		comes = false;
		events++;
		handle(deliver);
	};
	const passed = subject.onOp.bind(subject);
	subject.onOp = (one, op) => {
		comes =
			kernel.handlerDepth === 0 && cpu.guest === null && cpu.pending === 0 && cpu.gif && !cpu.nmiBlocked;
		subject.setSchedule(comes ? [{ event: kind, at: subject.ops + 1 }] : []);
		passed(one, op);
		comes &&= cpu.pending !== 0;
	};
	while (subject.runBlock());
	subject.detach();
	Reflect.deleteProperty(processor, "deliverToHost");
	return events;
}

/** Notes which fields of the machine's objects, and which words of the processor's, are read while it is on. */
class Reads {
	readonly names = new Set<string>();
	on = false;

	constructor({ machine, roots }: Subject) {
		const seen = new Set<object>([machine.memory, machine.cpu.model]);
		for (const root of roots) this.walk(root, seen);
		this.watchWords(machine.cpu);
	}

	private walk(owner: object, seen: Set<object>): void {
		if (seen.has(owner) || ArrayBuffer.isView(owner) || owner instanceof ArrayBuffer) return;
		seen.add(owner);
		for (const [name, value] of Object.entries(owner)) {
			if (typeof value === "object" && value !== null) this.walk(value as object, seen);
			else if (typeof value !== "function" && !Array.isArray(owner)) this.watchField(owner, name, value);
		}
	}

	private watchField(owner: object, name: string, first: unknown): void {
		let held = first;
		Object.defineProperty(owner, name, {
			get: () => {
				if (this.on) this.names.add(`${owner.constructor.name}.${name}`);
				return held;
			},
			set: (value: unknown) => {
				held = value;
			},
			enumerable: true,
			configurable: true,
		});
	}

	private watchWords(cpu: Cpu): void {
		for (const method of ["read32", "read64", "readNumber"] as const) {
			const read = cpu[method].bind(cpu) as (offset: number) => never;
			cpu[method] = (offset: number) => {
				if (this.on) this.names.add(`word 0x${offset.toString(16)}`);
				return read(offset);
			};
		}
	}
}

/** What the surroundings have. */
const SEEN = [
	["gif", "nmiBlocked", "pending", "machineCheckDuringEntry", "guest"].map((name) => `Cpu.${name}`),
	["handlerDepth", "perfNmi"].map((name) => `Kernel.${name}`),
	["inGuest", "handlingEvent"].map((name) => `GuestContext.${name}`),
	SEEN_WORDS.map((offset) => `word 0x${offset.toString(16)}`),
].flat();
/** What else is read: nothing hangs on it. */
const HARMLESS = [
	// Where the processor's words are, and the check's own bookkeeping.
	["base", "cyclesAt", "deadlineAt", "rflagsAt", "sampler"].map((name) => `Cpu.${name}`),
	["ops", "noting", "next", "kvmRunResult"].map((name) => `Subject.${name}`),
	// Pushed to and popped from; counted up.
	[
		"Cpu.stackDepth",
		"Kernel.nmis",
		"Kernel.machineChecks",
		"Kernel.perfSamples",
		"GuestContext.guestSamples",
	],
	// The same in a whole run.
	["Kernel.mceHandler", "Kernel.userStackKey", "Kernel.callchainsLost"],
	// Held against what the kernel has loaded at every op, the one that the event comes before among them.
	["AddressSpaces.cr3", "AddressSpaces.cr4", `word 0x${L.CR3.toString(16)}`, `word 0x${L.CR4.toString(16)}`],
	// Looked at by guest-time at its own ops alone, which are none of a handler's.
	["GuestContext.pfVcpu"],
].flat();

describe("the surroundings", () => {
	it.each(VENDORS)(
		"are all that the handlers of an NMI and an #MC see on %s, with who watches them",
		(vendor) => {
			for (const kind of PASSING) {
				const subject = subjectOn(vendor);
				const reads = new Reads(subject);
				const events = atEachOp(subject, kind, (deliver) => {
					reads.on = true;
					deliver();
					reads.on = false;
				});
				expect(events).toBeGreaterThan(100);
				expect(
					[...reads.names].filter((name) => !SEEN.includes(name) && !HARMLESS.includes(name)),
					kind,
				).toEqual([]);
				expect(reads.names).toContain("Kernel.handlerDepth");
			}
		},
	);

	it.each(VENDORS)("are found again behind such a handler on %s, and so is all else but counts", (vendor) => {
		for (const kind of PASSING) {
			const subject = subjectOn(vendor);
			const states = new Snapshotter(subject.roots, snapshotRules(subject, []));
			const state = () => {
				states.moved();
				states.hash(subject.debts());
				return [states.high, states.low, surroundings(subject.machine)];
			};
			let before = state();
			const passed = subject.onOp.bind(subject);
			subject.onOp = (cpu, op) => {
				if (subject.machine.kernel.handlerDepth === 0) before = state();
				passed(cpu, op);
			};
			const events = atEachOp(subject, kind, (deliver) => {
				deliver();
				expect(state()).toEqual(before);
			});
			expect(events).toBeGreaterThan(100);
		}
	});
});
