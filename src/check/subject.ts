/**
 * The machine that a check looks at: a guest, a tree, a configuration, and who asks the properties at each op. It runs
 * one node of the tree at a time, so that a search can stop between two and a trace can write them down.
 *
 * Time stands still: ops cost nothing here, so that no state differs from another by the clock alone. A timer expires
 * when the vCPU waits for it, or when a deadline that is written has passed.
 */
import { HostFault, HostInvariant } from "../host/errors.ts";
import { type Machine, type Silicon, createMachine, serveMutexWaiters } from "../kvm/api/kvm.ts";
import { Vmm, type VmmResult, guestRamBytesFor } from "../kvm/api/vmm.ts";
import type { NodePlace } from "../kvm/flow/compile.ts";
import { type Program, ProgramRunner } from "../kvm/flow/program.ts";
import type { GuestLedger, GuestRegister } from "../kvm/ledger.ts";
import { kernelIrqchip } from "../kvm/irqchip/irqchip.ts";
import type { Cpu } from "../silicon/cpu/cpu.ts";
import type { OpObserver } from "../silicon/cpu/observers.ts";
import { callStackOf } from "../silicon/cpu/symbols.ts";
import type { CpuModel } from "../silicon/models/model.ts";
import { OP, OP_COUNT } from "../silicon/ops.ts";
import { flushTlb } from "../silicon/paging/tlb.ts";
import {
	type Configuration,
	applyConfiguration,
	applyNeighbour,
	guestParameters,
	kernelOptions,
	otherCpuOf,
} from "./configuration.ts";
import type { OtherCpu } from "./other-cpu.ts";
import { CpuPair, pairOf } from "./other-vcpu.ts";
import { endedFromOutside } from "./end-of-run.ts";
import { EVENTS, type EventRow, PHASES, eventRow } from "./events.ts";
import { SCRIPT_NOW_CYCLES, type Script, scriptFor } from "./guest/script.ts";
import { bootSecond, executeScript, makeWhatFirstUseMakes } from "./preparation.ts";
import { GUEST_ENDS, HOST_FAULT, HOST_INVARIANT, PROPERTIES, questionsAt } from "./properties/properties.ts";
import type { Property, PropertyContext } from "./properties/property.ts";
import { siliconFor, timePasses } from "./silicon.ts";
import type { CheckGuest, EventKind, Failure, Injection } from "./types.ts";
import { surroundings } from "./surroundings.ts";
import { UserSpace } from "./user-space.ts";
import { type FlagReads, watchFlags } from "./watched-flags.ts";

/** Sees a run's nodes, events and failures; a trace implements it. */
export interface RunWitness {
	/** It has seen enough: the rest need not be run. */
	readonly isDone?: boolean;
	onNode?(place: NodePlace, machine: Machine, at: number): void;
	onEvent?(injection: Injection, machine: Machine): void;
	onFailure?(failure: Failure, machine: Machine): void;
}

/** What a run is made of. */
export interface RunSetup {
	readonly program: Program;
	readonly model: CpuModel;
	readonly configuration: Configuration;
	/** Default: `script`. `code`: its bytes run as any guest's, by translating them. */
	readonly guest?: CheckGuest;
}

/** Bits of an op's note. */
export const NOTE = { interruptFlag: 1, gif: 2, nmiBlocked: 4 } as const;
/** Where the flags that were looked at begin. */
export const READ_SHIFT = 8;
/** More than flags: the guest ran, or the task changed. Set with all flags. */
export const READ_MORE = 0x80;
const ALL_READ = 0xff;

/** Phases by number: the order of PHASES. */
export const PHASE = { on: 0, off: 1, gif: 2, entry: 3, guest: 4 } as const;

/** What user space learns of a VM that KVM has given up. */
const VM_IS_DEAD = { kind: "internal-error", message: "the VM is dead: KVM_RUN returns -EIO" } as const;
/** What user space changes in XMM1 between two KVM_RUNs. */
const USER_COMPUTES = 0x1_0000;
/** PKRU's access-disable bit of key 15. */
const LAST_KEY_ACCESS = 1 << 30;
/** Nodes without an op, beyond which a run goes round in circles. */
const NODES_MAX = 10_000;

/** Whose machine stands on a silicon. */
const users = new WeakMap<Silicon, Subject>();

const asked = <K extends keyof Property>(question: K) =>
	PROPERTIES.flatMap((property, index) =>
		property[question] === undefined
			? []
			: [{ property, index, ask: property[question] as NonNullable<Property[K]> }],
	);
const ON_ENTER = asked("onEnter");
const ON_LEAVE = asked("onLeave");
const ON_GUEST_ENTRY = asked("onGuestEntry");
const ON_GUEST_EXIT = asked("onGuestExit");
const ON_GUEST_WRITE = asked("onGuestWrite");
const ON_FLUSH = asked("onFlush");
const ON_EVENT = asked("onEvent");
const ON_END = asked("onEnd");

const kindIndex = new Map<EventKind, number>(EVENTS.map(({ kind }, index) => [kind, index]));

function isEntry(op: number): boolean {
	return op === OP.vmresume || op === OP.vmlaunch || op === OP.vmrun || op === OP.seamcall;
}

/** What is counted, hashed or saved beside the machine. */
export class Ledger {
	/** Events that arrived, by kind. Hashed as what is owed of them. */
	readonly raised = new Float64Array(EVENTS.length);
	/** A violation was seen on the way here. */
	violated = false;
	/** The fastpath loop goes on: there was a VM entry, and guest time has not been accounted since. */
	inLoop = false;
	/** VM entries so far. */
	exits = 0;
	/** How the run has ended; null while it goes on. */
	end: VmmResult | null = null;
	/** The properties' words, one behind the other. */
	readonly words = new Int32Array(PROPERTIES.reduce((sum, { words = 0 }) => sum + words, 0));
}

/** Each property's part of a ledger's words. */
function memoryOf({ words }: Ledger): readonly Int32Array[] {
	const memory: Int32Array[] = [];
	let first = 0;
	for (const { words: count = 0 } of PROPERTIES) {
		memory.push(words.subarray(first, first + count));
		first += count;
	}
	return memory;
}

export class Subject implements OpObserver, PropertyContext, GuestLedger {
	readonly machine: Machine;
	readonly runner: ProgramRunner;
	readonly script: Script;
	readonly ledger = new Ledger();
	private readonly memory = memoryOf(this.ledger);
	private readonly silicon: Silicon;
	/** Ops so far: the number that an injection's `at` means. */
	ops = 0;
	/** Op counts of the VM entries since `entries` was last emptied, and behind which of them the guest ran. */
	readonly entries: number[] = [];
	readonly guestEntries: number[] = [];
	/** When set, what `opNotes` describes is noted for each op. */
	noting = false;
	/**
	 * A note an op: bits of NOTE as the op was passed, and, shifted by READ_SHIFT, what was looked at since the op before.
	 */
	readonly opNotes: number[] = [];
	/** The surroundings of each of these ops (surroundings.ts). */
	readonly opSurroundings: number[] = [];
	private readonly flagReads: FlagReads = { bits: 0 };
	/** The last event of the schedule that came due was none of its own: one like it waited. */
	stale = false;
	/** Called at each failure, also at those that the same run has seen before. */
	onFailure: ((failure: Failure) => void) | null = null;
	/** Times that a kind arrived in a phase: row by kind, column by phase. */
	readonly arrivals = new Float64Array(EVENTS.length * PHASES.length);
	fastpathReentries = 0;
	/** Times that ops were passed which tell that something was done about an event: by op. */
	readonly opCounts = new Float64Array(OP_COUNT);
	private schedule: readonly Injection[] = [];
	private next = 0;
	/** The CPU that the first processor stands for in turn with its own; null if threads stay. */
	private readonly otherCpu: OtherCpu | null;
	private readonly vmm: Vmm;
	private readonly userSpace = new UserSpace();
	private readonly witness: RunWitness | null;

	constructor(setup: RunSetup, witness: RunWitness | null = null) {
		const { model, program, configuration } = setup;
		const vcpus = Number(configuration.vcpus);
		const silicon = siliconFor(model, vcpus);
		this.witness = witness;
		this.silicon = silicon;
		users.set(silicon, this);
		this.script = scriptFor(program.vendor, configuration, model);
		for (const { cpu } of silicon.processors) {
			cpu.cycles = SCRIPT_NOW_CYCLES;
			cpu.number = cpu.index;
		}
		this.machine = createMachine({
			model: silicon.cpu.model,
			vendor: program.vendor,
			tree: program.compiled,
			silicon,
			vcpus,
			kernel: kernelOptions(configuration),
		});
		const { cpu, vcpu } = this.machine;
		// From its first vcpu_load on, which may drop the CPU's translations.
		vcpu.ledger = this;
		for (const one of this.machine.vm.vcpus) one.kernel.current = one.kernel.vcpuTask;
		applyConfiguration(this.machine, configuration);
		this.vmm = new Vmm(this.machine, { guestRamBytes: guestRamBytesFor(this.script.image) });
		this.vmm.load(this.script.image, { parameters: guestParameters(configuration, model, program.vendor) });
		const secondFlushed =
			vcpus > 1 &&
			bootSecond(this.machine, this.script, guestParameters(configuration, model, program.vendor));
		const fail: ConstructorParameters<typeof CpuPair>[2] = (property, detail, where) =>
			this.fail(property, detail, callStackOf(where));
		const pair = vcpus > 1 ? new CpuPair(this.machine, program, fail) : null;
		if (secondFlushed) pair?.other.flushedTlb();
		makeWhatFirstUseMakes(this.machine);
		this.otherCpu = otherCpuOf(this.machine, configuration);
		this.userSpace.begin(this.machine, configuration);
		applyNeighbour(this.machine, configuration);
		this.runner = new ProgramRunner(program, vcpu);
		for (const processor of silicon.processors)
			executeScript(processor.cpu, this.script, setup.guest === "code");
		for (const one of this.machine.vm.vcpus) watchFlags(one.kernel, one, this.flagReads);
		cpu.stackDepth = 0;
		cpu.observer = this;
		if (witness?.onNode !== undefined) {
			vcpu.nodeObserver = { onNode: (_v, place) => witness.onNode!(place, this.machine, this.ops) };
		}
		if (pair !== null) this.startSecond(pair);
		this.runner.start();
	}

	private startSecond(pair: CpuPair): void {
		const { witness, machine } = this;
		const { vcpu } = pair.other.machine;
		if (witness?.onNode !== undefined) {
			vcpu.nodeObserver = {
				onNode: (_v, place) =>
					witness.onNode!({ ...place, flow: `vCPU 1: ${place.flow}` }, machine, this.ops),
			};
		}
		pair.other.enterGuest();
	}

	/** The objects that a search saves. */
	get roots(): readonly object[] {
		const { machine, runner, ledger, otherCpu, vmm, userSpace } = this;
		const irqchip = kernelIrqchip(machine.vm) ?? ledger;
		return [machine, runner, ledger, vmm, userSpace, irqchip, otherCpu ?? ledger];
	}

	/** VM exits so far by the vendor's names. */
	exitCounts(): Record<string, number> {
		const { vm, vcpu } = this.machine;
		const counts: Record<string, number> = {};
		for (const [reason, count] of vcpu.stat.byReason) counts[vm.ops.exitReasonName(reason)] = count;
		return counts;
	}

	// ---- running -----------------------------------------------------------------------------------------

	/** What arrives from here on, in the order of time. */
	setSchedule(schedule: readonly Injection[]): void {
		this.schedule = schedule;
		this.next = 0;
		this.stale = false;
	}

	/** Events of the schedule that have not come due. */
	get waiting(): readonly Injection[] {
		return this.schedule.slice(this.next);
	}

	/**
	 * Runs on to the end of a node in which ops were done.
	 * @returns whether the run goes on
	 */
	runBlock(): boolean {
		const before = this.ops;
		try {
			for (let nodes = 0; this.ops === before && this.ledger.end === null; nodes++) {
				if (nodes === NODES_MAX) this.livelock();
				else this.runNode();
			}
		} catch (error) {
			this.fault(error);
		}
		return this.ledger.end === null;
	}

	private runNode(): void {
		const { runner, machine } = this;
		if (runner.pc >= 0) {
			runner.step();
			return;
		}
		// KVM_RUN's flow has returned: on to user space, what the VMM does there, and back.
		const { kernel } = machine;
		this.kvmRunResult = runner.result;
		kernel.returnToUser(kernel.current);
		this.kvmRunResult = null;
		// Between two KVM_RUNs user space takes the last key from itself, or gives it back, and uses the FPU.
		kernel.userWritesPkru((kernel.current.userPkru ^ LAST_KEY_ACCESS) >>> 0);
		kernel.userWritesXmm1(kernel.current.userXmm1 ^ USER_COMPUTES);
		machine.cpu.poll();
		serveMutexWaiters(machine.vcpu);
		const end = this.afterRun();
		if (end === null) runner.start();
		else this.finish(end);
	}

	/** What user space does with KVM_RUN's return. @returns null to go on */
	private afterRun(): VmmResult | null {
		if (this.machine.vm.dead) return VM_IS_DEAD;
		return this.userSpace.takes(this.machine) ? null : this.vmm.afterRun();
	}

	private finish(end: VmmResult): void {
		pairOf(this.machine)?.other.finish();
		this.ledger.end = end;
		const gaveUp = ["entry-failure", "internal-error", "triple-fault"].includes(end.kind);
		const ended =
			(end.kind === "exit" && end.code === this.script.exitCode) ||
			(gaveUp && endedFromOutside(this.machine));
		if (!ended) this.fail({ name: GUEST_ENDS, degree: "violation" }, howItEnded(end));
		for (const { property, index, ask } of ON_END) {
			const detail = ask.call(property, this, this.wordsOf(index));
			if (detail !== null) this.fail(property, detail);
		}
	}

	private fault(error: unknown): void {
		if (error instanceof HostFault)
			this.fail({ name: HOST_FAULT, degree: "violation" }, error.message, error.callStack);
		else if (error instanceof HostInvariant)
			this.fail({ name: HOST_INVARIANT, degree: "violation" }, error.message);
		else throw error;
		this.ledger.end = { kind: "internal-error", message: error.message };
	}

	/** The run cannot end: it is where it was before, and nothing can come any more. */
	livelock(): void {
		this.fail({ name: GUEST_ENDS, degree: "violation" }, "the run loop goes round and round");
		this.ledger.end = { kind: "internal-error", message: "livelock" };
	}

	/** Whether the machine is still there: another one on the same hardware ends it. */
	get isIntact(): boolean {
		return users.get(this.silicon) === this;
	}

	/**
	 * Begins anew with another program, on a machine that was brought back to how it was at first and starts the same under both
	 * (same-program.ts `startsAlike`). One with two vCPUs does not: the second one has run.
	 */
	restart(program: Program): void {
		const { machine, runner } = this;
		const { cpu, vcpu } = machine;
		runner.program = program;
		machine.vm.tree = program.compiled;
		cpu.observer = this;
		vcpu.ledger = this;
		vcpu.stat.byReason.clear();
		this.setSchedule([]);
		this.ops = 0;
		this.noting = false;
		this.flagReads.bits = 0;
		this.kvmRunResult = null;
		this.fastpathReentries = 0;
		this.arrivals.fill(0);
		this.opCounts.fill(0);
	}

	/** Takes the hardware back from a run, so that the next one can have it. */
	detach(): void {
		const { cpu, vcpu } = this.machine;
		pairOf(this.machine)?.other.detach();
		cpu.observer = null;
		cpu.guest = null;
		vcpu.nodeObserver = null;
		vcpu.ledger = null;
	}

	// ---- OpObserver --------------------------------------------------------------------------------------

	onOp(cpu: Cpu, op: number): void {
		this.ops++;
		this.opCounts[op]!++;
		if (this.noting) this.note(cpu, op);
		const entry = isEntry(op);
		if (entry) {
			this.entries.push(this.ops);
			this.ledger.exits++;
			if (this.ledger.inLoop) this.fastpathReentries++;
			this.ledger.inLoop = true;
		} else if (op === OP.guest_timing_exit) this.ledger.inLoop = false;
		if (this.next < this.schedule.length) {
			const phase = entry ? PHASE.entry : !cpu.gif ? PHASE.gif : cpu.interruptFlag ? PHASE.on : PHASE.off;
			this.arrive(false, phase);
		}
		for (const { property, index, ask } of questionsAt(op)) {
			const detail = ask.call(property, this, op, this.wordsOf(index));
			if (detail !== null) this.fail(property, detail);
		}
	}

	/** What was looked at since the op before: for a machine that was brought back. */
	noteReads(bits: number): void {
		this.flagReads.bits = bits;
	}

	private note(cpu: Cpu, op: number): void {
		const { flagReads } = this;
		let note = flagReads.bits << READ_SHIFT;
		if (cpu.interruptFlag) note |= NOTE.interruptFlag;
		if (cpu.gif) note |= NOTE.gif;
		if (cpu.nmiBlocked) note |= NOTE.nmiBlocked;
		this.opNotes.push(note);
		this.opSurroundings.push(surroundings(this.machine));
		// Behind a switch an event belongs to another task.
		flagReads.bits = op === OP.switch_to ? ALL_READ : 0;
	}

	onGuestEntry(cpu: Cpu): void {
		this.guestEntries.push(this.ops);
		// A processor may drop translations at any time. Here no state differs from another by them.
		flushTlb(cpu);
		this.flagReads.bits = ALL_READ;
		if (this.next < this.schedule.length) this.arrive(true, PHASE.guest);
		for (const { property, index, ask } of ON_GUEST_ENTRY) {
			const detail = ask.call(property, this, this.wordsOf(index));
			if (detail !== null) this.fail(property, detail);
		}
	}

	onGuestExit(): void {
		this.machine.cpu.guestPhysical.flush();
		timePasses(this.machine.vcpu);
		for (const { property, index, ask } of ON_GUEST_EXIT) ask.call(property, this, this.wordsOf(index));
	}

	wrote(register: GuestRegister, value: number | bigint): void {
		for (const { property, index, ask } of ON_GUEST_WRITE)
			ask.call(property, this, register, value, this.wordsOf(index));
	}

	flushedTlb(): void {
		for (const { property, index, ask } of ON_FLUSH) ask.call(property, this, this.wordsOf(index));
	}

	onEnter(_cpu: Cpu, symbol: number): void {
		for (const { property, index, ask } of ON_ENTER) {
			const detail = ask.call(property, this, symbol, this.wordsOf(index));
			if (detail !== null) this.fail(property, detail);
		}
	}

	onLeave(_cpu: Cpu, symbol: number): void {
		for (const { property, index, ask } of ON_LEAVE) {
			const detail = ask.call(property, this, symbol, this.wordsOf(index));
			if (detail !== null) this.fail(property, detail);
		}
	}

	/** Events of the schedule that are due here. */
	private arrive(inGuest: boolean, phase: number): void {
		for (;;) {
			const injection = this.schedule[this.next];
			if (injection === undefined || injection.at !== this.ops || (injection.inGuest === true) !== inGuest)
				return;
			this.next++;
			const row = eventRow(injection.event);
			if (!row.isNew(this.machine)) {
				this.stale = true;
				continue;
			}
			this.witness?.onEvent?.(injection, this.machine);
			this.inject(row, phase);
		}
	}

	private inject(row: EventRow, phase: number): void {
		for (const { property, index, ask } of ON_EVENT) ask.call(property, this, row.kind, this.wordsOf(index));
		const index = kindIndex.get(row.kind)!;
		this.ledger.raised[kindIndex.get(row.countsAs ?? row.kind)!]!++;
		this.arrivals[index * PHASES.length + phase]!++;
		row.inject(this.machine);
	}

	// ---- PropertyContext ---------------------------------------------------------------------------------

	kvmRunResult: number | null = null;

	/** What arrives here from other CPUs, their second vCPU's included, does so at once: request and kick. */
	readonly isBeingKicked = false;

	owed(kind: EventKind): number {
		const { handled } = eventRow(kind);
		return handled === undefined ? 0 : this.ledger.raised[kindIndex.get(kind)!]! - handled(this.machine);
	}

	/** What is owed of all kinds, as one number: part of the state. */
	debts(): number {
		let debts = 0;
		for (let index = 0; index < EVENTS.length; index++) {
			const { handled } = EVENTS[index]!;
			if (handled !== undefined) debts = debts * 16 + 8 + this.ledger.raised[index]! - handled(this.machine);
		}
		return debts;
	}

	private wordsOf(index: number): Int32Array {
		return this.memory[index]!;
	}

	private fail(
		property: { readonly name: string; readonly degree: Property["degree"] },
		detail: string,
		stack?: readonly string[],
	): void {
		if (property.degree === "violation") this.ledger.violated = true;
		const callStack = stack ?? callStackOf(this.machine.cpu);
		const { exits } = this.ledger;
		const failure = {
			property: property.name,
			degree: property.degree,
			detail,
			at: this.ops,
			exits,
			callStack,
		};
		this.onFailure?.(failure);
		this.witness?.onFailure?.(failure, this.machine);
	}
}

function howItEnded(end: VmmResult): string {
	switch (end.kind) {
		case "exit":
			return `the guest gave up with code ${end.code}`;
		case "entry-failure":
		case "internal-error":
			return `the guest ended by ${end.kind}: ${end.message}`;
		default:
			return `the guest ended by ${end.kind}`;
	}
}
