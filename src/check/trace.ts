/** A run written down: one line a step, with what changed by it. */
import type { Machine } from "../kvm/api/kvm.ts";
import type { NodePlace } from "../kvm/flow/compile.ts";
import { MCG_STATUS_MCIP } from "../host/mce.ts";
import * as L from "../silicon/cpu/layout.ts";
import { type Cpu, PENDING } from "../silicon/cpu/cpu.ts";
import { eventRow } from "./events.ts";
import type { RunWitness } from "./subject.ts";
import type { Failure, Injection, TraceLine, WatchedState } from "./types.ts";

const hex = (value: number) => `0x${(value >>> 0).toString(16)}`;
const wide = (cpu: Cpu, field: number) => `0x${cpu.read64(field).toString(16)}`;
const onOff = (on: boolean) => (on ? "on" : "off");

/** What a trace watches. Rows: name, and how it reads. */
const WATCHED: readonly (readonly [string, (machine: Machine) => string])[] = [
	["XCR0", ({ cpu }) => hex(cpu.xcr0)],
	["XSS", ({ cpu }) => hex(cpu.xss)],
	["PKRU", ({ cpu }) => hex(cpu.pkru)],
	["XFD", ({ cpu }) => hex(cpu.xfd)],
	["XFD_ERR", ({ cpu }) => wide(cpu, L.XFD_ERR)],
	["DEBUGCTL", ({ cpu }) => wide(cpu, L.DEBUGCTL)],
	["DR0", ({ cpu }) => wide(cpu, L.DR0)],
	["DR6", ({ cpu }) => wide(cpu, L.DR6)],
	["DR7", ({ cpu }) => wide(cpu, L.DR7)],
	["CR2", ({ cpu }) => wide(cpu, L.CR2)],
	["SPEC_CTRL", ({ cpu }) => wide(cpu, L.SPEC_CTRL)],
	["KERNEL_GS_BASE", ({ cpu }) => wide(cpu, L.KERNEL_GS_BASE)],
	["STAR", ({ cpu }) => wide(cpu, L.STAR)],
	["LSTAR", ({ cpu }) => wide(cpu, L.LSTAR)],
	["FMASK", ({ cpu }) => wide(cpu, L.SFMASK)],
	["TSC_AUX", ({ cpu }) => wide(cpu, L.TSC_AUX)],
	["IF", ({ cpu }) => onOff(cpu.interruptFlag)],
	["GIF", ({ cpu }) => onOff(cpu.gif)],
	["preempt_count", ({ kernel }) => String(kernel.preemptCount)],
	["vector in service", ({ apic }) => (apic.highestInService() < 0 ? "none" : hex(apic.highestInService()))],
	["interrupt pending", ({ cpu }) => ((cpu.pending & PENDING.interrupt) === 0 ? "no" : "yes")],
	["NMI pending", ({ cpu }) => ((cpu.pending & PENDING.nmi) === 0 ? "no" : "yes")],
	["#MC pending", ({ cpu }) => ((cpu.pending & PENDING.machineCheck) === 0 ? "no" : "yes")],
	["MCG_STATUS.MCIP", ({ cpu }) => ((cpu.read32(L.MCG_STATUS) & MCG_STATUS_MCIP) === 0 ? "0" : "1")],
	["TIF_NEED_FPU_LOAD", ({ kernel }) => onOff(kernel.current.needFpuLoad)],
	["TIF_NEED_RESCHED", ({ kernel }) => onOff(kernel.current.needResched)],
	["task work", ({ kernel }) => String(kernel.current.taskWork.length)],
	["requests", ({ vcpu }) => hex(vcpu.requests)],
];

/** Collects a run's places in the order in which they ran, from the first event on. */
export class PlaceRecorder implements RunWitness {
	readonly places: NodePlace[] = [];
	private eventSeen = false;

	onNode(place: NodePlace): void {
		if (this.eventSeen) this.places.push(place);
	}

	onEvent(): void {
		this.eventSeen = true;
	}
}

/** Collects the lines of a run. */
export class Tracer implements RunWitness {
	readonly lines: TraceLine[] = [];
	/** Places in the order in which they ran, from the first event on. */
	readonly places: NodePlace[] = [];
	/** Number of places before each property's violation. */
	readonly placesAtFailure = new Map<string, number>();
	/** What is watched, before the first line. */
	initial: WatchedState = {};
	private before: string[] | null = null;
	private eventSeen = false;

	onNode(place: NodePlace, machine: Machine, at: number): void {
		this.settle(machine);
		if (this.eventSeen) this.places.push(place);
		this.lines.push({ at, flow: place.flow, step: place.node.name, kind: "step", changes: [] });
	}

	onEvent(injection: Injection, machine: Machine): void {
		this.settle(machine);
		this.eventSeen = true;
		const where = injection.inGuest === true ? " in the guest" : "";
		const step = `${eventRow(injection.event).title} arrives${where}`;
		this.lines.push({ at: injection.at, flow: "", step, kind: "event", changes: [] });
	}

	onFailure(failure: Failure, machine: Machine): void {
		this.settle(machine);
		this.placesAtFailure.set(failure.property, this.places.length);
		const step = `${failure.property}: ${failure.detail}`;
		this.lines.push({
			at: failure.at,
			flow: failure.callStack[0] ?? "",
			step,
			kind: "violation",
			changes: [],
		});
	}

	/** What changed since the line before belongs to that line. */
	private settle(machine: Machine): void {
		const now = WATCHED.map(([, read]) => read(machine));
		const last = this.lines.length - 1;
		if (this.before === null) {
			this.initial = Object.fromEntries(WATCHED.map(([name], at) => [name, now[at]!]));
		} else if (last >= 0) {
			const changes: string[] = [];
			for (const [at, [name]] of WATCHED.entries()) {
				if (now[at] !== this.before[at]) changes.push(`${name}: ${this.before[at]} → ${now[at]}`);
			}
			if (changes.length > 0) this.lines[last] = { ...this.lines[last]!, changes };
		}
		this.before = now;
	}
}
