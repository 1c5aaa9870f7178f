/** Writes a run down, frame by frame. */
import type { Machine } from "../../kvm/api/kvm.ts";
import type { NodePlace } from "../../kvm/flow/compile.ts";
import type { Vcpu } from "../../kvm/vcpu.ts";
import type { KvmTracer } from "../../kvm/x86/trace-exit.ts";
import {
	FRAME_KINDS,
	type FrameKind,
	type GuestStay,
	type LaneState,
	NODE_KINDS,
} from "../../profile/timeline/frames.ts";
import type { Cpu } from "../../silicon/cpu/cpu.ts";
import { callStackOf } from "../../silicon/cpu/symbols.ts";
import * as L from "../../silicon/cpu/layout.ts";
import { readRflags } from "../../silicon/cpu/rflags.ts";
import { OP, OP_SLOTS, opName } from "../../silicon/ops.ts";
import { fetchLinear } from "../../silicon/paging/access.ts";
import { disassemble } from "../../silicon/translate/decode.ts";
import { LaneReader, lanesOf } from "../loaded.ts";
import { CallLog, type NodeSite, NodeSites } from "./calls.ts";
import { REGISTER_NAMES, type Recording } from "./recording.ts";

/** Texts that many frames share, each kept once. */
class Interned {
	readonly texts: string[] = [];
	private readonly ids = new Map<string, number>();

	id(text: string): number {
		let id = this.ids.get(text);
		if (id === undefined) {
			id = this.texts.push(text) - 1;
			this.ids.set(text, id);
		}
		return id;
	}
}

interface Frame {
	readonly kind: number;
	readonly text: number;
	readonly ops: number;
	readonly cycles: number;
	readonly stack: number;
	readonly state: number;
	readonly registers: number;
	readonly node: number;
	readonly call: number;
	readonly loop: number;
	readonly rip: bigint;
}

type MutableStay = { -readonly [K in keyof GuestStay]: GuestStay[K] };

const NO_LOOPS = "[]";
const hex = (value: number | bigint) => `0x${value.toString(16)}`;
const INSTRUCTION_BYTES_MAX = 15;

/** Of the guest in the machine: called by whoever runs it. */
export class Recorder implements KvmTracer {
	/** Ops so far. */
	ops = 0;
	/** Exits so far, and before the recording began. */
	exits = 0;
	private exitsBefore = 0;
	/** Frames are written down: from `begin` on. */
	isOn = false;
	private readonly machine: Machine;
	/** Cycles of each op, where the machine's own clock stands still; null: its clock is right. */
	private readonly costs: Float64Array | null;
	private readonly lanes;
	private readonly reader: LaneReader;
	private readonly frames: Frame[] = [];
	private readonly texts = new Interned();
	private readonly stacks = new Interned();
	private readonly states = new Interned();
	private readonly stateRows: LaneState[][] = [];
	private readonly loops = new Interned();
	private readonly sites: NodeSites;
	private readonly calls: CallLog;
	private readonly stays: MutableStay[] = [];
	private inGuest = false;
	private readonly sets: bigint[][] = [];
	private readonly code = new Map<bigint, string>();
	private startCycles: number;
	/** Plain instructions of steps and guards that were passed. */
	private plainInstructions = 0;
	private startPlain = 0;
	private latest = 0;
	private readonly startCounts: Float64Array;
	private readonly usedOps = new Set<number>();
	private readonly violations: Recording["violations"][number][] = [];

	constructor(machine: Machine, costs: Float64Array | null) {
		this.machine = machine;
		this.costs = costs;
		this.lanes = lanesOf(machine.vm.vendor, machine.cpu.model);
		this.reader = new LaneReader(machine, this.lanes);
		this.startCycles = machine.cpu.cycles;
		this.startCounts = machine.cpu.opCounts.slice();
		this.sets.push(REGISTER_NAMES.map(() => 0n));
		this.calls = new CallLog(machine.cpu);
		this.sites = new NodeSites(machine.vm.tree.tree);
		this.loops.id(NO_LOOPS);
	}

	/** Writes down what comes from now on; time begins at 0. What is under way is taken to begin now. */
	begin(): void {
		if (this.isOn) return;
		this.isOn = true;
		this.exitsBefore = this.exits;
		const { cpu } = this.machine;
		this.startCycles = cpu.cycles + this.calls.uncharged * cpu.costs[OP.code]!;
		this.startPlain = this.plainInstructions;
		this.startCounts.set(cpu.opCounts);
		this.calls.begin(
			(place) => this.nodeFrame(place, this.sites.of(place)),
			() => this.count,
		);
		if (this.machine.cpu.guest !== null) this.enterGuest();
	}

	/** Exits since `begin`. */
	get exitsRecorded(): number {
		return this.isOn ? this.exits - this.exitsBefore : 0;
	}

	get count(): number {
		return this.frames.length;
	}

	onNode(place: NodePlace): void {
		const site = this.sites.of(place);
		this.calls.at(place, site);
		if (this.isOn) this.nodeFrame(place, site);
		this.calls.passed(place);
		const { node } = place;
		if (node.kind === "step" || node.kind === "if") this.plainInstructions += node.instructions;
	}

	private nodeFrame({ node }: NodePlace, { loops }: NodeSite): void {
		const loop = this.loops.id(JSON.stringify(loops));
		this.frame(
			"step",
			node.kind === "if" ? `if ${node.name}` : node.name,
			NODE_KINDS.indexOf(node.kind),
			loop,
		);
	}

	onOp(op: number): void {
		this.ops++;
		this.usedOps.add(op);
		this.frame("op", opName(op));
	}

	onEnter(symbol: number): void {
		this.calls.enter(symbol, this.isOn, this.count, this.isOn ? this.cycles() : 0);
	}

	onLeave(): void {
		this.calls.leave(this.count, this.isOn ? this.cycles() : 0);
	}

	onGuestEntry(): void {
		this.reader.guestEntry();
		if (this.isOn) this.enterGuest();
	}

	private enterGuest(): void {
		this.inGuest = true;
		const cycles = this.cycles();
		const { count } = this;
		this.stays.push({
			fromFrame: count,
			toFrame: count,
			fromCycles: cycles,
			toCycles: cycles,
			reason: "",
		});
	}

	kvmEntry(): void {}

	kvmExit(v: Vcpu, reason: number): void {
		const stay = this.stays.at(-1);
		if (stay !== undefined && stay.reason === "") stay.reason = v.vm.ops.exitReasonName(reason);
	}

	onEvent(title: string): void {
		this.frame("event", `${title} arrives`);
	}

	onViolation(property: string, detail: string, callStack: readonly string[]): void {
		this.violations.push({ property, detail, callStack, frame: this.count });
		this.frame("violation", `${property}: ${detail}`);
	}

	/** Before an instruction of the guest. */
	onInstruction(cpu: Cpu): void {
		if (!this.isOn) return;
		this.takeRegisters(cpu);
		const rip = cpu.read64(L.RIP);
		let text = this.code.get(rip);
		if (text === undefined) {
			text = textAt(cpu, rip);
			if (text === "") return;
			this.code.set(rip, text);
		}
		this.frame("guest", text);
	}

	onGuestExit(cpu: Cpu): void {
		this.exits++;
		this.reader.guestExit();
		const stay = this.stays.at(-1);
		if (stay !== undefined && this.inGuest) {
			this.inGuest = false;
			stay.toFrame = this.count;
			stay.toCycles = this.cycles();
		}
		if (this.isOn) this.takeRegisters(cpu);
	}

	/** The guest goes on without being looked at. */
	onUnwatched(): void {
		this.frame("guest", "…");
	}

	private takeRegisters(cpu: Cpu): void {
		const general = Array.from({ length: 16 }, (_, register) => cpu.gpr(register));
		this.sets.push([...general, cpu.read64(L.RIP), BigInt(readRflags(cpu) >>> 0)]);
	}

	/** Cycles since `begin`. Sums of the same cycles in another order may differ in the last place; time does not go back. */
	private cycles(): number {
		this.latest = Math.max(this.latest, this.countCycles());
		return this.latest;
	}

	private countCycles(): number {
		const { cpu } = this.machine;
		const code = cpu.costs[OP.code]!;
		if (this.costs === null) return cpu.cycles + this.calls.uncharged * code - this.startCycles;
		// The check's runner charges no plain instructions of steps.
		let sum = (this.plainInstructions - this.startPlain) * this.costs[OP.code]!;
		for (let op = 0; op < OP_SLOTS; op++)
			sum += (cpu.opCounts[op]! - this.startCounts[op]!) * this.costs[op]!;
		return sum;
	}

	private state(): number {
		const whose = this.reader.read();
		const values = this.lanes.map(({ register }) =>
			register === undefined ? "" : hex(register(this.machine).value),
		);
		const id = this.states.id(`${values.join()} ${whose.join()}`);
		this.stateRows[id] ??= values.map((value, at) => ({ value, whose: whose[at]! }));
		return id;
	}

	private frame(kind: FrameKind, text: string, node = 0, loop = 0): void {
		if (!this.isOn) return;
		const { cpu } = this.machine;
		this.frames.push({
			kind: FRAME_KINDS.indexOf(kind),
			text: this.texts.id(text),
			ops: this.ops,
			cycles: this.cycles(),
			stack: this.stacks.id(callStackOf(cpu).reverse().join(" › ")),
			state: this.state(),
			registers: this.sets.length - 1,
			node,
			call: this.calls.innermost,
			loop,
			rip: kind === "guest" ? cpu.read64(L.RIP) : 0n,
		});
	}

	/** The recording so far. */
	finish(end: string, isCut: boolean): Recording {
		const { frames } = this;
		const endCycles = this.cycles();
		const endState = this.state();
		this.calls.finish(this.count, endCycles);
		const last = this.stays.at(-1);
		if (last !== undefined && this.inGuest) {
			last.toFrame = this.count;
			last.toCycles = endCycles;
		}
		const costs = this.costs ?? this.machine.cpu.costs;
		const column = <K extends keyof Frame>(key: K) => frames.map((frame) => frame[key]);
		return {
			count: frames.length,
			kind: Uint8Array.from(column("kind")),
			text: Uint32Array.from(column("text")),
			ops: Uint32Array.from(column("ops")),
			cycles: Float64Array.from(column("cycles")),
			stack: Uint32Array.from(column("stack")),
			state: Uint32Array.from(column("state")),
			registers: Uint32Array.from(column("registers")),
			node: Uint8Array.from(column("node")),
			call: Uint32Array.from(column("call")),
			loop: Uint32Array.from(column("loop")),
			rip: BigUint64Array.from(column("rip")),
			loops: this.loops.texts.map((text) => JSON.parse(text) as string[]),
			calls: this.calls.records,
			stays: this.stays,
			opCycles: Object.fromEntries([...this.usedOps].map((op) => [opName(op), costs[op]!])),
			endCycles,
			endState,
			texts: this.texts.texts,
			stacks: this.stacks.texts,
			states: this.stateRows,
			lanes: this.lanes.map(({ name }) => name),
			registerSets: BigUint64Array.from(this.sets.flat()),
			code: [...this.code].map(([rip, text]) => ({ rip, text })).sort((a, b) => (a.rip < b.rip ? -1 : 1)),
			end,
			isCut,
			exits: this.exitsRecorded,
			violations: this.violations,
		};
	}
}

/** The instruction at RIP; "" if it cannot be fetched, which the processor will find, too. */
function textAt(cpu: Cpu, rip: bigint): string {
	const before = cpu.read32(L.FAULT);
	const bytes: number[] = [];
	const base = cpu.read64(L.SEG + L.CS * L.SEG_BYTES + L.SEG_BASE);
	for (let at = 0; at < INSTRUCTION_BYTES_MAX; at++) {
		const offset = fetchLinear(cpu, base + rip + BigInt(at));
		if (offset < 0) break;
		bytes.push(cpu.memory.u8[offset]!);
	}
	cpu.write32(L.FAULT, before);
	return bytes.length === 0 ? "" : disassemble(Uint8Array.from(bytes), rip, bitnessOf(cpu));
}

function bitnessOf(cpu: Cpu): 16 | 32 | 64 {
	const attributes = cpu.read32(L.SEG + L.CS * L.SEG_BYTES + L.SEG_ATTR);
	const isLong = (cpu.read32(L.EFER) & 0x400) !== 0 && (attributes & 0x2000) !== 0;
	if (isLong) return 64;
	return (attributes & 0x4000) !== 0 ? 32 : 16;
}
