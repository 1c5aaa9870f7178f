/** One run of a guest under one schedule, with every op looked at. */
import { loadImage } from "../guests/load.ts";
import { findProgram, programBytes } from "../guests/programs.ts";
import { HOST_VECTOR } from "../host/kernel.ts";
import { HostFault, HostInvariant } from "../host/errors.ts";
import type { MceHandler } from "../host/mce.ts";
import { type Machine, type Silicon, createMachine } from "../kvm/api/kvm.ts";
import { Vmm } from "../kvm/api/vmm.ts";
import type { GuestParameters } from "../kvm/api/vmm-boot.ts";
import type { CompiledTree, NodePlace } from "../kvm/flow/compile.ts";
import { KVM_REQ } from "../kvm/requests.ts";
import type { Image } from "../guests/image.ts";
import { type Cpu, type OpObserver, PENDING, symbolName } from "../silicon/cpu/cpu.ts";
import type { CpuModel } from "../silicon/models/model.ts";
import { OP } from "../silicon/ops.ts";
import { GUEST_ENDS, HOST_FAULT, HOST_INVARIANT, PROPERTIES } from "./properties/properties.ts";
import type { Property } from "./properties/property.ts";
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
	readonly mceHandler: MceHandler;
	readonly silicon: Silicon;
	readonly guest: string;
}

const images = new Map<string, Image>();

/** A program of this project as an image; read once. */
export function programImage(name: string): Image {
	let image = images.get(name);
	if (image === undefined) {
		image = loadImage(programBytes(findProgram(name)!));
		images.set(name, image);
	}
	return image;
}

/** Puts an event before the machine. What may not be delivered yet waits as hardware makes it wait. */
export function inject(machine: Machine, event: EventKind): void {
	const { cpu, apic, kernel, vcpu } = machine;
	switch (event) {
		case "mce":
			cpu.pending |= PENDING.machineCheck;
			break;
		case "mce-entry":
			cpu.machineCheckDuringEntry = true;
			break;
		case "nmi":
			cpu.pending |= PENDING.nmi;
			break;
		case "irq":
			apic.raise(HOST_VECTOR.device);
			break;
		case "irq-fpu":
			apic.raise(HOST_VECTOR.deviceFpu);
			break;
		case "tick":
			kernel.reschedOnTick = true;
			apic.raise(HOST_VECTOR.localTimer);
			break;
		case "preempt":
			kernel.current.needResched = true;
			apic.raise(HOST_VECTOR.reschedule);
			break;
		case "signal":
			kernel.vcpuTask.signalPending = true;
			apic.raise(HOST_VECTOR.reschedule);
			break;
		case "kick":
			vcpu.requests |= KVM_REQ.OUTSIDE_GUEST_MODE;
			apic.raise(HOST_VECTOR.reschedule);
			break;
		default:
			event satisfies never;
	}
}

class Watcher implements OpObserver {
	ops = 0;
	switches = 0;
	fastpathReentries = 0;
	/** There was a VM entry, and guest time has not been accounted since: the loop of vcpu_enter_guest() goes on. */
	private inLoop = false;
	readonly entries: number[] = [];
	readonly failures: Failure[] = [];
	// `machine` and `schedule` make this a PropertyContext.
	readonly machine: Machine;
	readonly schedule: readonly Injection[];
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
		for (const property of PROPERTIES) {
			const detail = property.onOp?.(this, op) ?? null;
			if (detail !== null) this.fail(property, detail);
		}
	}

	onGuestEntry(): void {
		this.arrive(true);
	}

	onEnter(_cpu: Cpu, symbol: number): void {
		for (const property of PROPERTIES) {
			const detail = property.onEnter?.(this, symbol) ?? null;
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
			inject(this.machine, injection.event);
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

/** Runs the guest to its end under a schedule. */
export function runSchedule(
	setup: RunSetup,
	schedule: readonly Injection[],
	witness: RunWitness | null = null,
): RunResult {
	const { model, tree, mceHandler, silicon } = setup;
	const machine = createMachine({ model, vendor: tree.vendor, tree, silicon, kernel: { mceHandler } });
	const { cpu, vcpu, kernel } = machine;
	cpu.stackDepth = 0;
	const vmm = new Vmm(machine);
	vmm.load(programImage(setup.guest), { parameters: guestParameters(model) });
	const watcher = new Watcher(machine, schedule, witness);
	cpu.observer = watcher;
	if (witness !== null)
		vcpu.nodeObserver = { onNode: (_v, place) => witness.onNode(place, machine, watcher.ops) };
	try {
		const result = vmm.run(INSTRUCTIONS_MAX);
		if (result.kind !== "exit" || result.code !== 0) {
			const said = vmm.consoleText.trim().split("\n").at(-1) ?? "";
			const how = result.kind === "exit" ? `the guest gave up: ${said}` : `the guest ended by ${result.kind}`;
			watcher.fail({ name: GUEST_ENDS, degree: "violation" }, how);
		}
		for (const property of PROPERTIES) {
			const detail = property.onEnd?.({ machine, schedule }) ?? null;
			if (detail !== null) watcher.fail(property, detail);
		}
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

/** Guest registers that differ from the host's in every swapped register: the case in which a swap matters. */
export function guestParameters(model: CpuModel): GuestParameters {
	// x87, SSE and AVX, without the rest of what the host has; all keys but 0 denied writes.
	return { iterations: 1, osxsave: true, xcr0: 7, pke: model.features.pku, pkru: 0xaaaa_aaa8, quiet: true };
}
