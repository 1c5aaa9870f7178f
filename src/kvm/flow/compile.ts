/**
 * A tree becomes straight JavaScript once, for one vendor, so that its being data costs nothing at run time.
 * Steps are called by monomorphic call sites that V8 inlines; plain instructions of neighbouring steps are
 * charged together.
 *
 * The traced form also reports every node before it runs and keeps the call stack; the check uses it.
 */
import { symbol } from "../../silicon/cpu/cpu.ts";
import type { Vendor } from "../../silicon/models/model.ts";
import type { Vcpu } from "../vcpu.ts";
import { FlowError } from "./errors.ts";
import { type Flow, type KvmModule, type Node, type Tree, nothing, walk } from "./flow.ts";

/** A compiled flow: runs it and gives its return value. */
export type FlowFunction = (v: Vcpu) => number;

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
	private readonly functionNames = new Map<string, string>();
	private flowName = "";

	constructor(tree: Tree, vendor: Vendor, traced: boolean) {
		this.tree = tree;
		this.vendor = vendor;
		this.traced = traced;
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
		const outer = this.flowName;
		this.flowName = name;
		const body: string[] = [`function ${jsName}(v) {`, "const cpu = v.cpu;"];
		if (this.traced) body.push(`cpu.enter(${symbol(name)});`);
		this.nodes(flow.body, body);
		if (this.traced) body.push("cpu.leave();");
		body.push("return 0;", "}");
		this.flowName = outer;
		this.lines.push(...body);
		return jsName;
	}

	private nodes(nodes: readonly Node[], out: string[]): void {
		let instructions = 0;
		const charge = () => {
			if (instructions > 0) out.push(`cpu.code(${instructions});`);
			instructions = 0;
		};
		for (const node of nodes) {
			if (this.traced) {
				const place = { id: this.places.length, flow: this.flowName, node };
				this.places.push(place);
				out.push(`if (v.nodeObserver !== null) v.nodeObserver.onNode(v, ${this.constant(place)});`);
			}
			switch (node.kind) {
				case "step":
					instructions += node.instructions;
					if (node.run !== nothing) out.push(`${this.constant(node.run)}(v);`);
					break;
				case "if":
					instructions += node.instructions;
					charge();
					out.push(`if (${this.constant(node.test)}(v)) {`);
					this.nodes(node.then, out);
					if (node.otherwise.length > 0) {
						out.push("} else {");
						this.nodes(node.otherwise, out);
					}
					out.push("}");
					break;
				case "loop":
					charge();
					out.push(`${label(node.name)}: for (;;) {`);
					this.nodes(node.body, out);
					out.push("}");
					break;
				case "break":
					charge();
					out.push(`break ${label(node.loop)};`);
					break;
				case "call": {
					charge();
					const target =
						typeof node.flow === "string" ? node.flow : this.tree.ops[moduleOf(this.vendor)][node.flow.op];
					const callee = `${this.flow(target)}(v)`;
					out.push(node.keep === null ? `${callee};` : `${this.constant(node.keep)}(v, ${callee});`);
					break;
				}
				case "return":
					charge();
					out.push(node.value === null ? "const r = 0;" : `const r = ${this.constant(node.value)}(v);`);
					if (this.traced) out.push("cpu.leave();");
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

/**
 * Compiles a tree for one vendor.
 * @param traced report nodes to `v.nodeObserver` and keep the call stack
 * @throws FlowError if a flow is missing or the names within a flow are not unique
 */
export function compileTree(tree: Tree, vendor: Vendor, traced = false): CompiledTree {
	for (const flow of tree.flows.values()) verifyFlow(tree, flow);
	const emitter = new Emitter(tree, vendor, traced);
	const entry = emitter.flow(ENTRY_FLOW);
	const helpers = HELPER_FLOWS.map((name) => `${name}: ${emitter.flow(name)}`).join(", ");
	const names = emitter.constants.map((_, at) => `c${at}`);
	const source = `"use strict";\n${emitter.lines.join("\n")}\nreturn { ioctlRun: ${entry}, helpers: { ${helpers} } };`;
	const make = new Function(...names, source) as (
		...constants: unknown[]
	) => Pick<CompiledTree, "ioctlRun" | "helpers">;
	return { tree, vendor, ...make(...emitter.constants), places: emitter.places };
}

/** Names within a flow are unique, and breaks name a loop around them. */
function verifyFlow(tree: Tree, flow: Flow): void {
	const loops = new Set<string>();
	for (const node of walk(flow.body)) if (node.kind === "loop") loops.add(node.name);
	for (const node of walk(flow.body)) {
		if (node.kind === "break" && !loops.has(node.loop)) {
			throw new FlowError(`tree ${tree.name}: ${flow.name} has "${node.name}" but no such loop`);
		}
	}
}
