/**
 * What of a machine the search saves and hashes. Everything is, but for what stands here with its reason.
 *
 * Host memory is the exception: of it only what the search is told of is saved, the guest's stack and pages of tables
 * that change in a run (an MSR bitmap). `TableWatch` makes sure that no other table does.
 */
import { GuestContext } from "../../host/guest-context.ts";
import { Kernel } from "../../host/kernel.ts";
import type { Machine } from "../../kvm/api/kvm.ts";
import { Vmm } from "../../kvm/api/vmm.ts";
import { ProgramRunner } from "../../kvm/flow/program.ts";
import { Mmu } from "../../kvm/mmu/mmu.ts";
import { Vcpu, type KvmRun } from "../../kvm/vcpu.ts";
import { Vm } from "../../kvm/vm.ts";
import { Cpu } from "../../silicon/cpu/cpu.ts";
import * as L from "../../silicon/cpu/layout.ts";
import { septPageHpa } from "../../silicon/tdx/td.ts";
import { GuestPhysicalTlb } from "../../silicon/paging/guest-physical-tlb.ts";
import { XsaveImage } from "../../silicon/xsave/image.ts";
import type { Script } from "../guest/script.ts";
import { Ledger, type Subject } from "../subject.ts";
import { FIXED } from "./fixed-fields.ts";
import { type FieldRule, type MemoryRange, SnapshotError, type SnapshotRules } from "./snapshot-rules.ts";

/** Fields that are neither saved nor hashed: they watch, go with the TLB, or never change in a search. */
const LEFT: readonly (readonly [abstract new (...args: never[]) => object, readonly string[]])[] = [
	[
		Cpu,
		[
			"observer",
			"opCounts",
			"costs",
			"execute",
			"largePages",
			"tlbFilled",
			"jumpFilled",
			"jumpPages",
			"jumpsUnlisted",
			"walks",
		],
	],
	[Vcpu, ["stat", "nodeObserver", "ledger", "cpuid"]],
	[Vm, ["tree", "ops"]],
	[Mmu, ["stat"]],
	[ProgramRunner, ["program"]],
	// Devices of user space: the script's ports are nobody's.
	[Vmm, ["board", "onConsole"]],
];

/** Counts that only grow: saved, so that what is owed is right, and hashed as what is owed. */
const COUNTED: readonly (readonly [abstract new (...args: never[]) => object, readonly string[]])[] = [
	[Kernel, ["interruptCounts", "machineChecks", "nmis", "perfSamples", "callchainsLost"]],
	[GuestContext, ["guestTicks", "systemTicks", "guestSamples"]],
	[Cpu, ["smis"]],
	[Ledger, ["raised", "inLoop", "exits"]],
];

/** The tables by class. */
const byClass = new Map<unknown, ReadonlyMap<string, FieldRule>>();
for (const [table, rule] of [
	[LEFT, "left"],
	[COUNTED, "unhashed"],
	[FIXED, "fixed"],
] as const) {
	for (const [type, fields] of table) {
		const rules = fields.map((field) => [field, rule] as const);
		byClass.set(type, new Map([...(byClass.get(type) ?? []), ...rules]));
	}
}

/** Words that are no state: the clock of retired instructions, the shadow's note of it, and what each entry sets anew. */
const UNHASHED_WORDS = new Set(
	[L.INSTRUCTIONS, L.SHADOW_AT, L.SHADOW_RIP, L.TSC_UNTIL, L.PAUSE_UNTIL, L.TSC_OFFSET].flatMap((offset) => [
		offset >> 2,
		(offset + 4) >> 2,
	]),
);
/** Legacy part and header of an XSAVE area. */
const HEAD_WORDS = 576 >> 2;
/** x87, SSE and AVX in the standard format. */
const LOW_STATE_WORDS = 832 >> 2;
/** Components that lie behind those. */
const HIGH_COMPONENTS = ~7;
/** The state block's bookkeeping ends here; what lies between is the TLB's key, which goes with the TLB. */
const STATE_END = 0x500;
const TLB_KEY_END = L.SHADOW_RIP;

/** Live words of an XSAVE image: the legacy part and header, and more when components are in it. */
function imageWords(image: XsaveImage): number {
	if (image.xstateBv === 0) return HEAD_WORDS;
	return (image.xstateBv & HIGH_COMPONENTS) === 0 ? LOW_STATE_WORDS : image.words.length;
}

/** The processor's area: its state block without what caches translations, and the registers that are in use. */
function cpuRanges(cpu: Cpu): MemoryRange[] {
	const word = (offset: number) => (cpu.base + offset) >> 2;
	const wordsOf = (from: number, to: number) => (to - from) >> 2;
	return [
		{
			words: cpu.u32,
			first: word(0),
			count: wordsOf(0, L.TLB_KEY),
			unhashed: UNHASHED_WORDS,
		},
		{
			words: cpu.u32,
			first: word(TLB_KEY_END),
			count: wordsOf(TLB_KEY_END, STATE_END),
			unhashed: new Set([...UNHASHED_WORDS].map((at) => at - (TLB_KEY_END >> 2))),
		},
		{
			words: cpu.u32,
			first: word(L.XSTATE),
			count: L.XSTATE_BYTES >> 2,
			live: () => ((cpu.read32(L.XINUSE) & HIGH_COMPONENTS) === 0 ? LOW_STATE_WORDS : L.XSTATE_BYTES >> 2),
		},
	];
}

/** The guest's RSP while it does not run. */
function guestRsp(vcpu: Vcpu): number {
	if (vcpu.cpu.guest !== null) return vcpu.cpu.readNumber(L.GPR + 8 * L.RSP);
	if (vcpu.vmx !== null) return Number(vcpu.vmx.vmcs.get("GUEST_RSP"));
	if (vcpu.svm !== null) return vcpu.svm.vmcb.u32[(L.GPR + 8 * L.RSP) >> 2]!;
	return Number(vcpu.tdx!.td.vmcs.get("GUEST_RSP"));
}

/** The guest's stack: what lies below its pointer is not read again. */
function stackRanges({ memory, vm }: Machine, script: Script): MemoryRange[] {
	return script.stacks.map(({ firstGpa, endGpa }, at) => {
		const hpa =
			vm.td === null ? vm.gpaToHpa(firstGpa) : septPageHpa(vm.td, firstGpa & ~0xfff) + (firstGpa & 0xfff);
		const first = (memory.ramBase + hpa) >> 2;
		const count = (endGpa - firstGpa) >> 2;
		const hashedFrom = () =>
			Math.min(Math.max(Math.ceil((guestRsp(vm.vcpus[at]!) - firstGpa) / 4), 0), count);
		return { words: memory.u32, first, count, hashedFrom };
	});
}

const PAGE_WORDS = 1024;
/** Changed words of a table that lie this close are saved as one run. */
const NEAR_WORDS = 16;

/** A run of words in host physical memory: number of the first, and how many. */
export interface TableWords {
	readonly first: number;
	readonly count: number;
}

/**
 * The rules for a machine with a script in it.
 * @param tables words of tables that runs change
 */
export function snapshotRules({ machine, script }: Subject, tables: readonly TableWords[]): SnapshotRules {
	const { memory, cpu } = machine;
	const { vcpus } = machine.vm;
	return {
		opaque: new Set<object>([memory, cpu.model, script]),
		foreign: new Set([memory.memory.buffer]),
		rule(owner, field) {
			return byClass.get(owner.constructor)?.get(field) ?? "saved";
		},
		liveWords(owner, field) {
			if (owner instanceof XsaveImage) return () => imageWords(owner);
			if (owner instanceof GuestPhysicalTlb) {
				const words = (owner as unknown as Record<string, ArrayBufferView>)[field]!.byteLength >> 2;
				return () => (owner.isEmpty ? 0 : words);
			}
			if (owner instanceof Cpu && field === "stack") return () => owner.stackDepth;
			const user = vcpus.find(({ run }) => run.io === owner);
			if (user !== undefined && field === "data") return ioWords(user.run);
			return null;
		},
		ranges: [
			...machine.processors.flatMap((processor) => cpuRanges(processor.cpu)),
			...stackRanges(machine, script),
			...tables.map(({ first, count }) => ({
				words: memory.u32,
				first: (memory.ramBase >> 2) + first,
				count,
			})),
		],
	};
}

const ioWords =
	({ io }: KvmRun) =>
	() =>
		(io.bytes * io.count + 3) >> 2;

/**
 * Pages that are a TD's own memory. Its script writes none of it but its stack, which is saved; its start does, which comes before the
 * first exit and writes the same each time.
 */
function privatePages({ memory, vm }: Machine): Set<number> {
	const pages = new Set<number>();
	const visit = (table: number, level: number): void => {
		for (let at = 0; at < 512; at++) {
			const low = memory.u32[(memory.ramBase + table + 8 * at) >> 2]!;
			if ((low & 7) === 0) continue;
			const next = (low & 0xffff_f000) >>> 0;
			if (level === 1) pages.add(next >>> 12);
			else visit(next, level - 1);
		}
	};
	if (vm.td !== null) visit(vm.td.secureEptRoot, 4);
	return pages;
}

/**
 * Tables changed in a run and were not saved with it: a guest that has lost its way has more pages mapped for it than the one
 * that the search began with. Whoever searched does so once more, with these saved too.
 */
export class UnsavedTables extends SnapshotError {
	readonly tables: readonly TableWords[];

	constructor(tables: readonly TableWords[]) {
		const [{ first }] = tables as readonly [TableWords];
		super(
			`tables at host physical address 0x${(4 * first).toString(16)} changed in a run and were not saved with it`,
		);
		this.tables = tables;
	}
}

/** Adds a word to runs that lie before it. */
function addWord(runs: TableWords[], word: number): void {
	const last = runs.at(-1);
	if (last !== undefined && word - (last.first + last.count) < NEAR_WORDS)
		runs[runs.length - 1] = { first: last.first, count: word + 1 - last.first };
	else runs.push({ first: word, count: 1 });
}

/** Watches the host memory that holds KVM's and the module's tables: page tables, bitmaps. */
export class TableWatch {
	private readonly words: Uint32Array;
	/** Pages that no memory slot holds. */
	private readonly pages: number[] = [];
	private readonly before: Uint32Array;

	constructor(machine: Machine) {
		const { memory, vm } = machine;
		this.words = memory.u32.subarray(memory.ramBase >> 2);
		const ofTd = privatePages(machine);
		for (let page = 0; page < vm.endHpa >> 12; page++) {
			const inSlot = vm.slots.some(({ hpa, bytes }) => page >= hpa >> 12 && page < (hpa + bytes) >> 12);
			if (!inSlot && !ofTd.has(page)) this.pages.push(page);
		}
		this.before = new Uint32Array(this.pages.length * PAGE_WORDS);
		for (const [at, page] of this.pages.entries()) this.before.set(this.pageWords(page), at * PAGE_WORDS);
	}

	private pageWords(page: number): Uint32Array {
		return this.words.subarray(page * PAGE_WORDS, (page + 1) * PAGE_WORDS);
	}

	/** Words whose content differs from what it was, as runs of host physical words that lie close to each other. */
	changed(): TableWords[] {
		const runs: TableWords[] = [];
		for (let at = 0; at < this.pages.length; at++) this.changedIn(at, runs);
		return runs;
	}

	/** Those of one page. @param at its number in the list */
	private changedIn(at: number, runs: TableWords[]): void {
		const { words, before } = this;
		const first = this.pages[at]! * PAGE_WORDS;
		const saved = at * PAGE_WORDS;
		for (let word = 0; word < PAGE_WORDS; word++)
			if (words[first + word] !== before[saved + word]) addWord(runs, first + word);
	}

	/** @param known words that are saved @throws UnsavedTables if others changed */
	assertKnown(known: readonly TableWords[]): void {
		const unsaved = this.changed().filter(
			({ first, count }) =>
				!known.some((run) => first >= run.first && first + count <= run.first + run.count),
		);
		if (unsaved.length > 0) throw new UnsavedTables(unsaved);
	}
}
