/**
 * A tree as a list of instructions with a program counter and a stack, for who stops between two nodes: the check, which
 * saves a machine there and comes back to it. What the nodes do, and in which order, is what compile.ts makes of them;
 * a test runs both.
 *
 *     const runner = new ProgramRunner(program, vcpu);
 *     runner.start();
 *     while (runner.step()) …;          // one node each; runner.result is what KVM_RUN's flow returned
 */
import { symbol } from "../../silicon/cpu/symbols.ts";
import type { Vendor } from "../../silicon/models/model.ts";
import type { Vcpu } from "../vcpu.ts";
import { type CompiledTree, ENTRY_FLOW, type NodePlace, compileTree, moduleOf } from "./compile.ts";
import { FlowError } from "./errors.ts";
import type { Node, Tree, Waiting } from "./flow.ts";

/** One node, with where to go on. Numbers are indices of instructions. */
type Instruction =
	| {
			readonly kind: "step";
			readonly place: NodePlace;
			readonly run: (v: Vcpu) => void;
			readonly waiting: Waiting | null;
	  }
	| {
			readonly kind: "if";
			readonly place: NodePlace;
			readonly test: (v: Vcpu) => boolean;
			/** Where the nodes of `otherwise` begin. */
			otherwise: number;
	  }
	| { readonly kind: "loop"; readonly place: NodePlace }
	/** A break, or the end of a loop's body or of a guard's branch; the latter two are no nodes. */
	| { readonly kind: "jump"; readonly place: NodePlace | null; to: number }
	| { readonly kind: "call"; readonly place: NodePlace; readonly flow: string; to: number }
	| { readonly kind: "keep"; readonly keep: (v: Vcpu, result: number) => void }
	| {
			readonly kind: "return";
			readonly place: NodePlace | null;
			readonly value: ((v: Vcpu) => number) | null;
	  };

/** A linked tree. */
export interface Program {
	readonly tree: Tree;
	readonly vendor: Vendor;
	/** The same tree as straight code, for the flows that are called from outside of the run loop. */
	readonly compiled: CompiledTree;
	readonly instructions: readonly Instruction[];
	/** Symbol of the flow that an instruction belongs to. */
	readonly symbols: Int32Array;
}

class Linker {
	readonly instructions: Instruction[] = [];
	readonly symbols: number[] = [];
	private readonly tree: Tree;
	private readonly vendor: Vendor;
	private readonly starts = new Map<string, number>();
	private readonly calls: Extract<Instruction, { kind: "call" }>[] = [];
	private places = 0;

	constructor(tree: Tree, vendor: Vendor) {
		this.tree = tree;
		this.vendor = vendor;
	}

	link(): Program {
		this.flow(ENTRY_FLOW);
		// Flows that are called are laid out behind their callers, each once.
		for (let at = 0; at < this.calls.length; at++) {
			const { flow } = this.calls[at]!;
			if (!this.starts.has(flow)) this.flow(flow);
		}
		for (const call of this.calls) call.to = this.starts.get(call.flow)!;
		return {
			tree: this.tree,
			vendor: this.vendor,
			compiled: compileTree(this.tree, this.vendor, true),
			instructions: this.instructions,
			symbols: Int32Array.from(this.symbols),
		};
	}

	private emit<I extends Instruction>(instruction: I, flow: string): I {
		this.instructions.push(instruction);
		this.symbols.push(symbol(flow));
		return instruction;
	}

	private flow(name: string): void {
		const flow = this.tree.flows.get(name);
		if (flow === undefined)
			throw new FlowError(`tree ${this.tree.name} has no flow ${name}, but one calls it`);
		this.starts.set(name, this.instructions.length);
		this.nodes(flow.body, name, new Map());
		this.emit({ kind: "return", place: null, value: null }, name);
	}

	private nodes(
		nodes: readonly Node[],
		flow: string,
		breaks: ReadonlyMap<string, Extract<Instruction, { kind: "jump" }>[]>,
	): void {
		for (const node of nodes) {
			const place = { id: this.places++, flow, node };
			const here = this.instructions.length;
			switch (node.kind) {
				case "step":
					this.emit({ kind: "step", place, run: node.run, waiting: node.waiting }, flow);
					break;
				case "if": {
					const { test } = node;
					const guard = this.emit({ kind: "if" as const, place, test, otherwise: 0 }, flow);
					this.nodes(node.then, flow, breaks);
					const end = this.emit({ kind: "jump" as const, place: null, to: 0 }, flow);
					guard.otherwise = this.instructions.length;
					this.nodes(node.otherwise, flow, breaks);
					end.to = this.instructions.length;
					break;
				}
				case "loop": {
					this.emit({ kind: "loop", place }, flow);
					const own: Extract<Instruction, { kind: "jump" }>[] = [];
					this.nodes(node.body, flow, new Map([...breaks, [node.name, own]]));
					this.emit({ kind: "jump", place: null, to: here + 1 }, flow);
					for (const jump of own) jump.to = this.instructions.length;
					break;
				}
				case "break":
					breaks.get(node.loop)!.push(this.emit({ kind: "jump", place, to: 0 }, flow));
					break;
				case "call": {
					const target =
						typeof node.flow === "string" ? node.flow : this.tree.ops[moduleOf(this.vendor)][node.flow.op];
					this.calls.push(this.emit({ kind: "call" as const, place, flow: target, to: 0 }, flow));
					if (node.keep !== null) this.emit({ kind: "keep", keep: node.keep }, flow);
					break;
				}
				case "return":
					this.emit({ kind: "return", place, value: node.value }, flow);
					break;
				default:
					node satisfies never;
			}
		}
	}
}

/**
 * Links a tree for one vendor.
 * @throws FlowError if a flow is missing; compileTree checks the rest
 */
export function linkTree(tree: Tree, vendor: Vendor): Program {
	return new Linker(tree, vendor).link();
}

const DEPTH_MAX = 32;

/** Runs a program on a vCPU, one node at a time. All that it keeps between two nodes are its public fields. */
export class ProgramRunner {
	/** Exchanged before a start only. */
	program: Program;
	readonly vcpu: Vcpu;
	/** Instruction that is next; -1 when the outermost flow has returned. */
	pc = -1;
	/** Where the flows that called go on; `depth` of them. */
	readonly returns = new Int32Array(DEPTH_MAX);
	depth = 0;
	/** What the last flow that returned returned. */
	result = 0;
	/** `step` also returns where a waiting step waits: behind a VM entry, and where the thread sleeps. */
	stepwise = false;
	/** It has. */
	waits = false;

	constructor(program: Program, vcpu: Vcpu) {
		this.program = program;
		this.vcpu = vcpu;
	}

	/** Enters the outermost flow. */
	start(): void {
		this.pc = 0;
		this.depth = 0;
		this.result = 0;
		this.waits = false;
		this.vcpu.cpu.enter(this.program.symbols[0]!);
	}

	/** Runs one node. @returns false when the outermost flow has returned */
	step(): boolean {
		const { vcpu, program } = this;
		const { instructions } = program;
		for (;;) {
			const instruction = instructions[this.pc]!;
			const { kind } = instruction;
			if (kind === "jump" && instruction.place === null) {
				this.pc = instruction.to;
				continue;
			}
			if (kind === "keep") {
				this.pc++;
				instruction.keep(vcpu, this.result);
				return true;
			}
			if (instruction.place !== null && vcpu.nodeObserver !== null && !this.waits)
				vcpu.nodeObserver.onNode(vcpu, instruction.place);
			switch (kind) {
				case "step": {
					const { waiting } = instruction;
					if (!this.waits) instruction.run(vcpu);
					if (waiting !== null) {
						if (this.stepwise && !this.waits) {
							this.waits = true;
							return true;
						}
						while (!waiting.isOver(vcpu)) if (this.stepwise) return true;
						waiting.end(vcpu);
					}
					this.waits = false;
					this.pc++;
					return true;
				}
				case "if":
					this.pc = instruction.test(vcpu) ? this.pc + 1 : instruction.otherwise;
					return true;
				case "loop":
					this.pc++;
					return true;
				case "jump":
					this.pc = instruction.to;
					return true;
				case "call":
					this.returns[this.depth++] = this.pc + 1;
					this.pc = instruction.to;
					vcpu.cpu.enter(program.symbols[this.pc]!);
					return true;
				default:
					this.result = instruction.value === null ? 0 : instruction.value(vcpu);
					vcpu.cpu.leave();
					this.pc = this.depth === 0 ? -1 : this.returns[--this.depth]!;
					return this.pc >= 0;
			}
		}
	}
}
