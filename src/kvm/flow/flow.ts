/**
 * The run loop as data. A flow is one kernel function; its body is an ordered list of nodes: named steps,
 * guards, loops, calls of other flows. A tree is a complete set of flows: KVM at one point of its history.
 *
 *     flow("kvm_load_guest_pkru", "x86.c", [
 *         when("guest_state_protected", (v) => v.guestStateProtected, [leave()]),
 *         step("WRPKRU(guest)", (v) => ..., 8),
 *     ])
 *
 * The names of nodes are what patches refer to, what `reenter show` prints and what a counterexample lists.
 */
import type { Vendor } from "../../silicon/models/model.ts";
import type { Vcpu } from "../vcpu.ts";
import type { CustomOp } from "./custom-op.ts";

/** The kernel module whose kvm_x86_ops is in force: TDs run under kvm_intel's. */
export type KvmModule = "kvm_intel" | "kvm_amd";

/** Members of kvm_x86_ops that are flows. */
export type VendorOp =
	| "vcpu_load"
	| "vcpu_put"
	| "vcpu_pre_run"
	| "prepare_switch_to_guest"
	| "vcpu_run"
	| "handle_exit_irqoff";

/** What a step that has to wait does behind its beginning. */
export interface Waiting {
	/** Asked until true. In between, other threads and processors of the machine may run. */
	readonly isOver: (v: Vcpu) => boolean;
	/** What the step does then. */
	readonly end: (v: Vcpu) => void;
}

/** One named thing that KVM does. */
export interface Step {
	readonly kind: "step";
	readonly name: string;
	readonly run: (v: Vcpu) => void;
	/** null: the step is over when `run` is. */
	readonly waiting: Waiting | null;
	/** Plain instructions that the compiler emits for it, besides the ops it does. An estimate. */
	readonly instructions: number;
}

/** A condition. The nodes of `then` or `otherwise` follow. */
export interface Guard {
	readonly kind: "if";
	readonly name: string;
	readonly test: (v: Vcpu) => boolean;
	readonly instructions: number;
	readonly then: readonly Node[];
	readonly otherwise: readonly Node[];
}

/** An endless loop, left by a `break` that names it. */
export interface Loop {
	readonly kind: "loop";
	readonly name: string;
	readonly body: readonly Node[];
}

/** Leaves the named loop. */
export interface Break {
	readonly kind: "break";
	readonly name: string;
	readonly loop: string;
}

/** Calls a flow, or what kvm_x86_ops has for this vendor; may keep what it returned. */
export interface Call {
	readonly kind: "call";
	readonly name: string;
	readonly flow: string | { readonly op: VendorOp };
	readonly keep: ((v: Vcpu, result: number) => void) | null;
}

/** Returns from the flow. */
export interface Return {
	readonly kind: "return";
	readonly name: string;
	/** null: nothing of interest (0). */
	readonly value: ((v: Vcpu) => number) | null;
	/** It reads clocks or reaches devices: no other processor may be behind this one in time. */
	readonly inOrder: boolean;
}

export type Node = Step | Guard | Loop | Break | Call | Return;

export interface Flow {
	/** The kernel function's name. */
	readonly name: string;
	/** Its file below arch/x86/kvm/ (or a path from the kernel's root). */
	readonly file: string;
	readonly body: readonly Node[];
}

/** A vendor module that a patch defines: a kvm_x86_ops of its own, on the hardware of a known vendor. */
export interface VendorModule {
	/** What --vendor takes. */
	readonly name: string;
	/** One line: what it is. */
	readonly title: string;
	/** The vendor that it is based on: its hardware, and every member of kvm_x86_ops that `ops` leaves out. */
	readonly basedOn: Vendor;
	/** Flows of its own, by member. */
	readonly ops: Readonly<Partial<Record<VendorOp, string>>>;
}

export interface Tree {
	readonly name: string;
	/** One line: what this tree is. */
	readonly title: string;
	readonly flows: ReadonlyMap<string, Flow>;
	readonly ops: Readonly<Record<KvmModule, Readonly<Record<VendorOp, string>>>>;
	/** Ops that its patches define. */
	readonly customOps: readonly CustomOp[];
	/** Vendor modules that its patches define. */
	readonly vendorModules: readonly VendorModule[];
	/** What the command line writes for it, where that is not its name: `--patch mine.json`. */
	readonly spec?: string;
	/** Name of the vendor module that is loaded (`selectVendor`), if it is one of `vendorModules`. */
	readonly loadedModule?: string;
}

/** What a step does of which nothing but its instructions matters here. */
export const nothing = (_v: Vcpu): void => {};

/** A step. @param instructions plain instructions besides its ops */
export function step(name: string, run: (v: Vcpu) => void, instructions = 4): Step {
	return { kind: "step", name, run, waiting: null, instructions };
}

/**
 * A step in which the guest runs or the thread sleeps.
 * @param begin what it does first
 * @param waiting when it is over, and what it does then
 */
export function waitingStep(
	name: string,
	begin: (v: Vcpu) => void,
	waiting: Waiting,
	instructions = 4,
): Step {
	return { kind: "step", name, run: begin, waiting, instructions };
}

/** A guard. */
export function when(
	name: string,
	test: (v: Vcpu) => boolean,
	then: readonly Node[],
	otherwise: readonly Node[] = [],
	instructions = 3,
): Guard {
	return { kind: "if", name, test, instructions, then, otherwise };
}

/** An endless loop. */
export function loop(name: string, body: readonly Node[]): Loop {
	return { kind: "loop", name, body };
}

/** Leaves a loop. */
export function breakFrom(loopName: string): Break {
	return { kind: "break", name: `break ${loopName}`, loop: loopName };
}

/** A call of another flow. */
export function call(flowName: string, keep: ((v: Vcpu, result: number) => void) | null = null): Call {
	return { kind: "call", name: flowName, flow: flowName, keep };
}

/** A call through kvm_x86_ops. */
export function callOp(op: VendorOp, keep: ((v: Vcpu, result: number) => void) | null = null): Call {
	return { kind: "call", name: `kvm_x86_ops.${op}`, flow: { op }, keep };
}

/** Returns from the flow. @param name what `reenter show` prints behind "return" */
export function leave(name = "", value: ((v: Vcpu) => number) | null = null, inOrder = false): Return {
	return { kind: "return", name: name === "" ? "return" : `return ${name}`, value, inOrder };
}

/** A flow. @param file below arch/x86/kvm/ */
export function flow(name: string, file: string, body: readonly Node[]): Flow {
	return { name, file, body };
}

/** The nodes directly below a node. */
export function children(node: Node): readonly (readonly Node[])[] {
	if (node.kind === "if") return [node.then, node.otherwise];
	if (node.kind === "loop") return [node.body];
	return [];
}

/** All nodes of a list with those below them, in order. */
export function* walk(nodes: readonly Node[]): Generator<Node> {
	for (const node of nodes) {
		yield node;
		for (const list of children(node)) yield* walk(list);
	}
}
