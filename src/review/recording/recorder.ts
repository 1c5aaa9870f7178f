/** Writes a run down, frame by frame. */
import type { Machine } from "../../kvm/api/kvm.ts";
import type { NodePlace } from "../../kvm/flow/compile.ts";
import { type Cpu, symbolName } from "../../silicon/cpu/cpu.ts";
import * as L from "../../silicon/cpu/layout.ts";
import { readRflags } from "../../silicon/cpu/rflags.ts";
import { OP_SLOTS, opName } from "../../silicon/ops.ts";
import { fetchLinear } from "../../silicon/paging/access.ts";
import { disassemble } from "../../silicon/translate/decode.ts";
import { LaneReader, lanesOf } from "../loaded.ts";
import { FRAME_KINDS, type FrameKind, REGISTER_NAMES, type Recording } from "./recording.ts";

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
}

const hex = (value: number) => `0x${value.toString(16)}`;
const INSTRUCTION_BYTES_MAX = 15;

/** Of the guest in the machine: called by whoever runs it. */
export class Recorder {
	/** Ops so far. */
	ops = 0;
	exits = 0;
	private readonly machine: Machine;
	/** Cycles of each op, where the machine's own clock stands still; null: its clock is right. */
	private readonly costs: Float64Array | null;
	private readonly lanes;
	private readonly reader: LaneReader;
	private readonly frames: Frame[] = [];
	private readonly texts = new Interned();
	private readonly stacks = new Interned();
	private readonly states = new Interned();
	private readonly stateRows: { readonly value: string; readonly whose: string }[][] = [];
	private readonly sets: bigint[][] = [];
	private readonly code = new Map<bigint, string>();
	private readonly startCycles: number;
	private readonly startCounts: Float64Array;
	private readonly violations: Recording["violations"][number][] = [];

	constructor(machine: Machine, costs: Float64Array | null) {
		this.machine = machine;
		this.costs = costs;
		this.lanes = lanesOf(machine.vm.vendor, machine.cpu.model);
		this.reader = new LaneReader(machine, this.lanes);
		this.startCycles = machine.cpu.cycles;
		this.startCounts = machine.cpu.opCounts.slice();
		this.sets.push(REGISTER_NAMES.map(() => 0n));
	}

	get count(): number {
		return this.frames.length;
	}

	onNode({ node }: NodePlace): void {
		this.frame("step", node.kind === "if" ? `if ${node.name}` : node.name);
	}

	onOp(op: number): void {
		this.ops++;
		this.frame("op", opName(op));
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
		this.takeRegisters(cpu);
	}

	private takeRegisters(cpu: Cpu): void {
		const general = Array.from({ length: 16 }, (_, register) => cpu.gpr(register));
		this.sets.push([...general, cpu.read64(L.RIP), BigInt(readRflags(cpu) >>> 0)]);
	}

	private cycles(): number {
		const { cpu } = this.machine;
		if (this.costs === null) return cpu.cycles - this.startCycles;
		let sum = 0;
		for (let op = 0; op < OP_SLOTS; op++)
			sum += (cpu.opCounts[op]! - this.startCounts[op]!) * this.costs[op]!;
		return sum;
	}

	private state(): number {
		const whose = this.reader.read();
		const row = this.lanes.map(({ register }, at) => ({
			value: register === undefined ? "" : hex(register(this.machine).value),
			whose: whose[at]!,
		}));
		const id = this.states.id(JSON.stringify(row));
		this.stateRows[id] = row;
		return id;
	}

	private frame(kind: FrameKind, text: string): void {
		const { cpu } = this.machine;
		const stack: string[] = [];
		for (let depth = 0; depth < cpu.stackDepth; depth++) stack.push(symbolName(cpu.stack[depth]!));
		this.frames.push({
			kind: FRAME_KINDS.indexOf(kind),
			text: this.texts.id(text),
			ops: this.ops,
			cycles: this.cycles(),
			stack: this.stacks.id(stack.join(" › ")),
			state: this.state(),
			registers: this.sets.length - 1,
		});
	}

	/** The recording so far. */
	finish(end: string, isCut: boolean): Recording {
		const { frames } = this;
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
			texts: this.texts.texts,
			stacks: this.stacks.texts,
			states: this.stateRows,
			lanes: this.lanes.map(({ name }) => name),
			registerSets: BigUint64Array.from(this.sets.flat()),
			code: [...this.code].map(([rip, text]) => ({ rip, text })).sort((a, b) => (a.rip < b.rip ? -1 : 1)),
			end,
			isCut,
			exits: this.exits,
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
