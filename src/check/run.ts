/** One run of a guest under one schedule, with every op looked at. */
import { programImage } from "../guests/program-image.ts";
import { HostFault, HostInvariant } from "../host/errors.ts";
import { type Machine, type Silicon, createMachine } from "../kvm/api/kvm.ts";
import { Vmm } from "../kvm/api/vmm.ts";
import type { CompiledTree, NodePlace } from "../kvm/flow/compile.ts";
import type { GuestLedger, GuestRegister } from "../kvm/ledger.ts";
import { type Cpu, type OpObserver, symbolName } from "../silicon/cpu/cpu.ts";
import type { CpuModel } from "../silicon/models/model.ts";
import { OP } from "../silicon/ops.ts";
import { type Configuration, applyConfiguration, guestParameters, kernelOptions } from "./configuration.ts";
import { endedByMachineCheck } from "./end-of-run.ts";
import { eventRow } from "./events.ts";
import { linkTree } from "../kvm/flow/program.ts";
import { Subject } from "./subject.ts";
import { SCRIPT_GUEST } from "./guest/script.ts";
import { GUEST_ENDS, HOST_FAULT, HOST_INVARIANT, PROPERTIES } from "./properties/properties.ts";
import type { Property, PropertyContext } from "./properties/property.ts";
import type { EventKind, Injection } from "./types.ts";

/** Guest instructions after which a run is taken for stuck. */
const INSTRUCTIONS_MAX = 2_000_000;

/** What went wrong in a run. */
export interface Failure {
	readonly property: string;
	readonly degree: Property["degree"];
	readonly detail: string;
	/** Op count at which it was seen. */
	readonly at: number;
	readonly callStack: readonly string[];
}

/** Sees a run's nodes and ops; a trace implements it. */
export interface RunWitness {
	onNode(place: NodePlace, machine: Machine, at: number): void;
	onEvent(injection: Injection, machine: Machine): void;
	onFailure(failure: Failure, machine: Machine): void;
}

export interface RunResult {
	readonly failures: readonly Failure[];
	/** Ops that the run did. */
	readonly ops: number;
	/** Op counts of VM entries: where events can arrive in the guest. */
	readonly entries: readonly number[];
	readonly exits: number;
	readonly fastpathReentries: number;
	readonly interruptsHandled: number;
	readonly machineChecks: number;
	readonly switches: number;
}

export interface RunSetup {
	readonly tree: CompiledTree;
	readonly model: CpuModel;
	readonly configuration: Configuration;
	readonly silicon: Silicon;
	readonly guest: string;
}

/** Words of a property's memory, which starts as zeroes. */
const memories = () => PROPERTIES.map(({ words }) => new Int32Array(words ?? 0));

class Watcher implements OpObserver, PropertyContext, GuestLedger {
	ops = 0;
	switches = 0;
	fastpathReentries = 0;
	/** There was a VM entry, and guest time has not been accounted since: the loop of vcpu_enter_guest() goes on. */
	private inLoop = false;
	readonly entries: number[] = [];
	readonly failures: Failure[] = [];
	readonly machine: Machine;
	private readonly arrived = new Map<EventKind, number>();
	private readonly memory = memories();
	private readonly schedule: readonly Injection[];
	private readonly witness: RunWitness | null;
	private next = 0;

	constructor(machine: Machine, schedule: readonly Injection[], witness: RunWitness | null) {
		this.machine = machine;
		this.schedule = schedule;
		this.witness = witness;
	}

	onOp(_cpu: Cpu, op: number): void {
		this.ops++;
		if (op === OP.switch_to) this.switches++;
		const isEntry = op === OP.vmresume || op === OP.vmlaunch || op === OP.vmrun || op === OP.seamcall;
		if (isEntry) {
			this.entries.push(this.ops);
			if (this.inLoop) this.fastpathReentries++;
			this.inLoop = true;
		} else if (op === OP.guest_timing_exit) this.inLoop = false;
		this.arrive(false);
		this.ask((property, memory) => property.onOp?.(this, op, memory));
	}

	onGuestEntry(): void {
		this.arrive(true);
		this.ask((property, memory) => property.onGuestEntry?.(this, memory));
	}

	onGuestExit(): void {
		for (const [at, property] of PROPERTIES.entries()) property.onGuestExit?.(this, this.memory[at]!);
	}

	wrote(register: GuestRegister, value: number | bigint): void {
		for (const [at, property] of PROPERTIES.entries())
			property.onGuestWrite?.(this, register, value, this.memory[at]!);
	}

	onEnter(_cpu: Cpu, symbol: number): void {
		this.ask((property, memory) => property.onEnter?.(this, symbol, memory));
	}

	onLeave(_cpu: Cpu, symbol: number): void {
		this.ask((property, memory) => property.onLeave?.(this, symbol, memory));
	}

	onEnd(): void {
		this.ask((property, memory) => property.onEnd?.(this, memory));
	}

	readonly isBeingKicked = false;

	owed(kind: EventKind): number {
		const { handled } = eventRow(kind);
		return handled === undefined ? 0 : (this.arrived.get(kind) ?? 0) - handled(this.machine);
	}

	private ask(question: (property: Property, memory: Int32Array) => string | null | undefined): void {
		for (const [at, property] of PROPERTIES.entries()) {
			const detail = question(property, this.memory[at]!) ?? null;
			if (detail !== null) this.fail(property, detail);
		}
	}

	/** Events of the schedule that are due here. */
	private arrive(inGuest: boolean): void {
		for (;;) {
			const injection = this.schedule[this.next];
			if (injection === undefined || injection.at !== this.ops || (injection.inGuest === true) !== inGuest)
				return;
			this.next++;
			this.witness?.onEvent(injection, this.machine);
			const { event } = injection;
			for (const [at, property] of PROPERTIES.entries()) property.onEvent?.(this, event, this.memory[at]!);
			const counted = eventRow(event).countsAs ?? event;
			this.arrived.set(counted, (this.arrived.get(counted) ?? 0) + 1);
			eventRow(event).inject(this.machine);
		}
	}

	fail(
		property: { readonly name: string; readonly degree: Property["degree"] },
		detail: string,
		stack?: readonly string[],
	): void {
		if (this.failures.some((failure) => failure.property === property.name)) return;
		const callStack = stack ?? stackOf(this.machine.cpu);
		const failure = { property: property.name, degree: property.degree, detail, at: this.ops, callStack };
		this.failures.push(failure);
		this.witness?.onFailure(failure, this.machine);
	}
}

function stackOf(cpu: Cpu): string[] {
	const names: string[] = [];
	for (let depth = cpu.stackDepth - 1; depth >= 0; depth--) names.push(symbolName(cpu.stack[depth]!));
	return names;
}

/** Blocks after which a script's run is taken for stuck. */
const BLOCKS_MAX = 100_000;

/** The same for the guest that the search looks at: one node at a time, with the clock standing still. */
function runScript(
	{ tree, model, configuration }: RunSetup,
	schedule: readonly Injection[],
	witness: RunWitness | null,
): RunResult {
	const failures = new Map<string, Failure>();
	const subject = new Subject(
		{ program: linkTree(tree.tree, tree.vendor), model, configuration },
		{
			...(witness === null ? {} : { onNode: (place, machine, at) => witness.onNode(place, machine, at) }),
			onEvent: (injection, machine) => witness?.onEvent(injection, machine),
			onFailure: (failure, machine) => {
				if (failures.has(failure.property)) return;
				failures.set(failure.property, failure);
				witness?.onFailure(failure, machine);
			},
		},
	);
	const entries: number[] = [];
	try {
		subject.setSchedule(schedule);
		for (let blocks = 0; subject.runBlock(); blocks++) if (blocks === BLOCKS_MAX) subject.livelock();
		entries.push(...subject.entries);
	} finally {
		subject.detach();
	}
	return {
		failures: [...failures.values()],
		ops: subject.ops,
		entries,
		exits: subject.ledger.exits,
		fastpathReentries: subject.fastpathReentries,
		interruptsHandled: subject.opCounts[OP.irq_handler]!,
		machineChecks: subject.opCounts[OP.do_machine_check]!,
		switches: subject.opCounts[OP.switch_to]!,
	};
}

/** Runs the guest to its end under a schedule. */
export function runSchedule(
	setup: RunSetup,
	schedule: readonly Injection[],
	witness: RunWitness | null = null,
): RunResult {
	const { model, tree, configuration, silicon } = setup;
	if (setup.guest === SCRIPT_GUEST) return runScript(setup, schedule, witness);
	const kernelBoot = kernelOptions(configuration);
	const machine = createMachine({ model, vendor: tree.vendor, tree, silicon, kernel: kernelBoot });
	applyConfiguration(machine, configuration);
	const { cpu, vcpu, kernel } = machine;
	cpu.stackDepth = 0;
	const vmm = new Vmm(machine);
	vmm.load(programImage(setup.guest), { parameters: guestParameters(configuration, model, tree.vendor) });
	const watcher = new Watcher(machine, schedule, witness);
	cpu.observer = watcher;
	vcpu.ledger = watcher;
	if (witness !== null)
		vcpu.nodeObserver = { onNode: (_v, place) => witness.onNode(place, machine, watcher.ops) };
	try {
		const result = vmm.run(INSTRUCTIONS_MAX);
		const gaveUp = result.kind === "entry-failure" || result.kind === "internal-error";
		if ((result.kind !== "exit" || result.code !== 0) && !(gaveUp && endedByMachineCheck(machine))) {
			const said = vmm.consoleText.trim().split("\n").at(-1) ?? "";
			const how = result.kind === "exit" ? `the guest gave up: ${said}` : `the guest ended by ${result.kind}`;
			watcher.fail({ name: GUEST_ENDS, degree: "violation" }, how);
		}
		watcher.onEnd();
	} catch (error) {
		if (error instanceof HostFault)
			watcher.fail({ name: HOST_FAULT, degree: "violation" }, error.message, error.callStack);
		else if (error instanceof HostInvariant)
			watcher.fail({ name: HOST_INVARIANT, degree: "violation" }, error.message);
		else throw error;
	} finally {
		cpu.observer = null;
		cpu.guest = null;
	}
	return {
		failures: watcher.failures,
		ops: watcher.ops,
		entries: watcher.entries,
		exits: watcher.entries.length,
		fastpathReentries: watcher.fastpathReentries,
		interruptsHandled: kernel.interruptCounts.reduce((sum, count) => sum + count, 0),
		machineChecks: kernel.machineChecks,
		switches: watcher.switches,
	};
}
