/**
 * A tree becomes straight JavaScript once, for one vendor, so that its being data costs nothing at run time.
 * Steps are called by monomorphic call sites that V8 inlines; plain instructions of neighbouring steps are
 * charged together.
 *
 * The form with stacks keeps the call stack for an observer, the sampled one for a sampler, and does nothing else for
 * either. The traced form also reports every node before it runs; the check uses it.
 *
 * Machines with several CPUs use a second form, of generators: straight JavaScript cannot be left in the middle. It
 * yields where the guest's slice ends, where a thread sleeps, and between nodes when the CPU's slice is over. Flows in
 * which nothing waits stay plain functions, and their slice ends behind them.
 */
import { symbol } from "../../silicon/cpu/symbols.ts";
import type { Vendor } from "../../silicon/models/model.ts";
import type { Vcpu } from "../vcpu.ts";
import { FlowError } from "./errors.ts";
import { type Call, type KvmModule, type Node, type Step, type Tree, nothing, walk } from "./flow.ts";
import { verifyTree } from "./verify.ts";

/** A compiled flow: runs it and gives its return value. */
export type FlowFunction = (v: Vcpu) => number;

/** A flow as a thread runs it: yields where other threads may run, and gives its return value. */
export type FlowThread = (v: Vcpu) => Generator<void, number>;

/** Where a node stands: for traces. */
export interface NodePlace {
	readonly id: number;
	readonly flow: string;
	readonly node: Node;
}

/** Sees each node before it runs. */
export interface NodeObserver {
	onNode(v: Vcpu, place: NodePlace): void;
}

export interface CompiledTree {
	readonly tree: Tree;
	readonly vendor: Vendor;
	/** KVM_RUN: kvm_arch_vcpu_ioctl_run. */
	readonly ioctlRun: FlowFunction;
	/** The same for threads of a machine with several CPUs; compiled when first called. */
	readonly ioctlRunThread: () => FlowThread;
	/** Flows that code outside of the run loop calls, by name: HELPER_FLOWS. */
	readonly helpers: Readonly<Record<HelperFlow, FlowFunction>>;
	/** Places of the traced nodes by id; empty unless traced. */
	readonly places: readonly NodePlace[];
}

/** The flow at which KVM_RUN enters. */
export const ENTRY_FLOW = "kvm_arch_vcpu_ioctl_run";

/** Flows that emulation and the scheduler's hooks call by name; what they are given stands in `Vcpu.argument`. */
export const HELPER_FLOWS = [
	"kvm_arch_vcpu_load",
	"kvm_arch_vcpu_put",
	"__kvm_set_xcr",
	"fpu_update_guest_xfd",
	"kvm_pmu_instruction_retired",
	"kvm_request_and_kick",
] as const;
export type HelperFlow = (typeof HELPER_FLOWS)[number];

/** The module that serves a vendor. */
export function moduleOf(vendor: Vendor): KvmModule {
	return vendor === "svm" ? "kvm_amd" : "kvm_intel";
}

class Emitter {
	readonly lines: string[] = [];
	/** Values that the generated code refers to, as `c[0]`, bound to constants. */
	readonly constants: unknown[] = [];
	readonly places: NodePlace[] = [];
	private readonly tree: Tree;
	private readonly vendor: Vendor;
	private readonly traced: boolean;
	/** Who the call stack is kept for. */
	private readonly stacks: Stacks;
	/** The code at hand stands right behind the end of a callee, which has looked whether a sample is due. */
	private behindCallee = false;
	/** Emits generators. */
	private readonly threads: boolean;
	/** How the code at hand names the physical CPU: a thread's may change at every yield. */
	private cpu = "cpu";
	private readonly functionNames = new Map<string, string>();
	private flowName = "";

	constructor(tree: Tree, vendor: Vendor, { traced, stacks }: Instruments, threads: boolean) {
		this.tree = tree;
		this.vendor = vendor;
		this.traced = traced;
		this.stacks = stacks;
		this.threads = threads;
	}

	private constant(value: unknown): string {
		this.constants.push(value);
		return `c${this.constants.length - 1}`;
	}

	/** The JavaScript name of a flow's function; compiles the flow on first use. */
	flow(name: string): string {
		const known = this.functionNames.get(name);
		if (known !== undefined) return known;
		const flow = this.tree.flows.get(name);
		if (flow === undefined)
			throw new FlowError(`tree ${this.tree.name} has no flow ${name}, but one calls it`);
		const jsName = `f_${name.replace(/\W/g, "_")}`;
		this.functionNames.set(name, jsName);
		const outer = { name: this.flowName, cpu: this.cpu };
		this.flowName = name;
		const waits = this.threads && (name === ENTRY_FLOW || this.waits(name));
		this.cpu = waits ? "v.cpu" : "cpu";
		const body: string[] = waits
			? [`function* ${jsName}(v) {`]
			: [`function ${jsName}(v) {`, "const cpu = v.cpu;"];
		this.enter(name, body);
		this.nodes(flow.body, body, waits);
		this.leave(body);
		body.push("return 0;", "}");
		this.flowName = outer.name;
		this.cpu = outer.cpu;
		this.lines.push(...body);
		return jsName;
	}

	private enter(name: string, out: string[]): void {
		if (this.stacks === "observed") out.push(`${this.cpu}.enter(${symbol(name)});`);
		if (this.stacks === "sampled") out.push(`const depth = ${this.cpu}.enterSampled(${symbol(name)});`);
		this.behindCallee = false;
	}

	private leave(out: string[]): void {
		if (this.stacks === "observed") out.push(`${this.cpu}.leave();`);
		if (this.stacks === "sampled")
			out.push(`${this.cpu}.${this.behindCallee ? "drop" : "leaveSampled"}(depth);`);
	}

	private target(node: Call): string {
		return typeof node.flow === "string" ? node.flow : this.tree.ops[moduleOf(this.vendor)][node.flow.op];
	}

	/** Whether a step of the flow, or of one that it calls, waits. @param asked flows that are being looked at */
	private waits(name: string, asked: readonly string[] = []): boolean {
		const flow = this.tree.flows.get(name);
		if (flow === undefined || asked.includes(name)) return false;
		for (const node of walk(flow.body)) {
			if (node.kind === "step" && node.waiting !== null) return true;
			if (node.kind === "call" && this.waits(this.target(node), [...asked, name])) return true;
		}
		return false;
	}

	private step(node: Step, out: string[], threads: boolean): void {
		const { run, waiting } = node;
		if (run !== nothing) out.push(`${this.constant(run)}(v);`);
		if (waiting === null) return;
		out.push(`while (!${this.constant(waiting.isOver)}(v)) ${threads ? "yield" : ""};`);
		out.push(`${this.constant(waiting.end)}(v);`);
	}

	/** @param threads this is a generator's body */
	private nodes(nodes: readonly Node[], out: string[], threads: boolean): void {
		let instructions = 0;
		const charge = () => {
			if (instructions > 0) out.push(`${this.cpu}.code(${instructions});`);
			instructions = 0;
		};
		for (const node of nodes) {
			if (threads) out.push("if (v.cpu.cycles >= v.cpu.sliceEnd) yield;");
			if (node.kind !== "return" || threads) this.behindCallee = false;
			if (this.traced) {
				const place = { id: this.places.length, flow: this.flowName, node };
				this.places.push(place);
				out.push(`if (v.nodeObserver !== null) v.nodeObserver.onNode(v, ${this.constant(place)});`);
			}
			switch (node.kind) {
				case "step":
					instructions += node.instructions;
					this.step(node, out, threads);
					break;
				case "if":
					instructions += node.instructions;
					charge();
					out.push(`if (${this.constant(node.test)}(v)) {`);
					this.nodes(node.then, out, threads);
					if (node.otherwise.length > 0) {
						out.push("} else {");
						this.nodes(node.otherwise, out, threads);
					}
					out.push("}");
					this.behindCallee = false;
					break;
				case "loop":
					charge();
					out.push(`${label(node.name)}: for (;;) {`);
					this.nodes(node.body, out, threads);
					out.push("}");
					this.behindCallee = false;
					break;
				case "break":
					charge();
					out.push(`break ${label(node.loop)};`);
					break;
				case "call": {
					charge();
					const target = this.target(node);
					const generator = threads && this.waits(target);
					const callee = `${generator ? "yield* " : ""}${this.flow(target)}(v)`;
					out.push(node.keep === null ? `${callee};` : `${this.constant(node.keep)}(v, ${callee});`);
					this.behindCallee = !threads;
					break;
				}
				case "return":
					charge();
					if (threads && node.inOrder) out.push("while (v.cpu.cycles > v.cpu.horizon) yield;");
					out.push(node.value === null ? "const r = 0;" : `const r = ${this.constant(node.value)}(v);`);
					this.leave(out);
					out.push("return r;");
					return;
				default:
					node satisfies never;
			}
		}
		charge();
	}
}

function label(name: string): string {
	return `L_${name.replace(/\W/g, "_")}`;
}

/** Who the call stack is kept for: an observer, a sampler, or nobody. */
export type Stacks = "observed" | "sampled" | "none";

/** What is compiled in besides the flows. */
interface Instruments {
	readonly traced: boolean;
	readonly stacks: Stacks;
}

/**
 * Compiles a tree for one vendor.
 * @param traced report nodes to `v.nodeObserver` and keep the call stack for the CPU's observer
 * @param stacks who the call stack is kept for
 * @throws FlowError if a flow is missing or the names within a flow are not unique
 */
export function compileTree(
	tree: Tree,
	vendor: Vendor,
	traced = false,
	stacks: Stacks = traced ? "observed" : "none",
): CompiledTree {
	verifyTree(tree);
	const instruments = { traced, stacks };
	const { entry, helpers, places } = compileForm<FlowFunction>(tree, vendor, instruments, false);
	let thread: FlowThread | null = null;
	return {
		tree,
		vendor,
		ioctlRun: entry,
		ioctlRunThread: () => {
			thread ??= compileForm<FlowThread>(tree, vendor, instruments, true).entry;
			return thread;
		},
		helpers,
		places,
	};
}

interface CompiledForm<T> {
	readonly entry: T;
	readonly helpers: CompiledTree["helpers"];
	readonly places: readonly NodePlace[];
}

function compileForm<T>(
	tree: Tree,
	vendor: Vendor,
	instruments: Instruments,
	threads: boolean,
): CompiledForm<T> {
	const emitter = new Emitter(tree, vendor, instruments, threads);
	const entry = emitter.flow(ENTRY_FLOW);
	const helpers = HELPER_FLOWS.map((name) => `${name}: ${emitter.flow(name)}`).join(", ");
	const names = emitter.constants.map((_, at) => `c${at}`);
	const source = `"use strict";\n${emitter.lines.join("\n")}\nreturn { entry: ${entry}, helpers: { ${helpers} } };`;
	const make = new Function(...names, source) as (
		...constants: unknown[]
	) => Pick<CompiledForm<T>, "entry" | "helpers">;
	return { ...make(...emitter.constants), places: emitter.places };
}
