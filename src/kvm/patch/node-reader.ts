/** The nodes of a patch file: names of what a known tree has, or nodes of its own. */
import { sameNode } from "../flow/diff.ts";
import { FlowError } from "../flow/errors.ts";
import {
	type Flow,
	type Guard,
	type Node,
	type Tree,
	breakFrom,
	call,
	callOp,
	leave,
	loop,
	nothing,
	step,
	walk,
	when,
} from "../flow/flow.ts";
import { hint } from "../flow/patch.ts";
import type { Vcpu } from "../vcpu.ts";
import { declaredOp, sequence } from "./declared-op.ts";
import type {
	BreakDocument,
	CallDocument,
	CallOpDocument,
	Deed,
	GuardDocument,
	LoopDocument,
	OpStepDocument,
	ReturnDocument,
	StepDocument,
} from "./document.ts";
import { guardCode } from "./guard-code.ts";
import { readForm } from "./read-form.ts";
import { NODE_FORMS } from "./schema.ts";

/** A way into a document: keys and indices. */
export type Path = readonly (string | number)[];

/** Says where a part of a document stands. */
export type Locate = (path: Path) => string;

type OwnNode =
	| StepDocument
	| OpStepDocument
	| GuardDocument
	| LoopDocument
	| BreakDocument
	| CallDocument
	| CallOpDocument
	| ReturnDocument;

/** What `keep: "exit_fastpath"` does, and what `value: "exit_fastpath"` reads. */
const keepFastpath = (v: Vcpu, result: number) => {
	v.exitFastpath = result;
};
const readFastpath = (v: Vcpu) => v.exitFastpath;

/** Reads the nodes of one file. */
export class NodeReader {
	private readonly locate: Locate;
	private readonly trees: () => readonly Tree[];
	private readonly promised = new Set<string>();

	/** @param trees the tree as patched so far, then the libraries */
	constructor(locate: Locate, trees: () => readonly Tree[]) {
		this.locate = locate;
		this.trees = trees;
	}

	/** A flow of the file that is read later and may be called already. */
	promiseFlow(name: string): void {
		this.promised.add(name);
	}

	/**
	 * Reads a node.
	 * @param what names it in messages: `edit 2`, `my_flow, step 3`
	 * @throws FlowError with one line
	 */
	read(document: unknown, path: Path, what: string): Node {
		if (isNode(document)) return document;
		const where = `${this.locate(path)}: ${what}`;
		if (typeof document === "string") return this.named(document, where);
		const form = readForm(NODE_FORMS, document, where, ["then", "else", "body"]) as OwnNode;
		const list = (nodes: readonly unknown[] | undefined, key: string) =>
			(nodes ?? []).map((node, at) => this.read(node, [...path, key, at], `${what}, ${key} ${at + 1}`));
		const code = <F extends (...args: never[]) => unknown>(run: F, name: string) =>
			guardCode(run, this.locate([]), name);
		try {
			if ("step" in form) return this.step(form, code);
			if ("op" in form) return this.opStep(form);
			if ("if" in form) {
				const known = form.test === undefined ? this.guard(form.if, where) : null;
				const test = known === null ? code(form.test!, form.if) : known.test;
				const instructions = form.instructions ?? known?.instructions;
				return when(form.if, test, list(form.then, "then"), list(form.else, "else"), instructions);
			}
			if ("loop" in form) return loop(form.loop, list(form.body, "body"));
			if ("break" in form) return breakFrom(form.break);
			if ("return" in form) {
				const { value } = form;
				if (value === undefined) return leave(form.return);
				if (value === "exit_fastpath") return leave(form.return, readFastpath);
				return leave(form.return, typeof value === "number" ? () => value : code(value, form.return));
			}
			const keep = form.keep === "exit_fastpath" ? keepFastpath : (form.keep ?? null);
			return "callOp" in form ? callOp(this.member(form.callOp), keep) : this.call(form.call, keep);
		} catch (error) {
			if (!(error instanceof FlowError) || error.located) throw error;
			throw new FlowError(`${where}: ${error.message}`, true);
		}
	}

	private step(form: StepDocument, code: <F extends (v: Vcpu) => void>(run: F, name: string) => F): Node {
		const { step: name, run, does = [], instructions } = form;
		const effects = does.map((deed) =>
			typeof deed === "function"
				? code(deed, name)
				: this.deed(typeof deed === "string" ? { op: deed } : deed),
		);
		if (run !== undefined) effects.push(code(run, name));
		if (effects.length === 0) return step(name, nothing, instructions);
		const hasCode = run !== undefined || does.some((deed) => typeof deed === "function");
		return step(name, sequence(effects, hasCode ? null : JSON.stringify(does)), instructions);
	}

	private opStep({ op, value, name, instructions }: OpStepDocument): Node {
		return step(
			name ?? (value === undefined ? op : `${op} (${value})`),
			this.deed(value === undefined ? { op } : { op, value }),
			instructions,
		);
	}

	private deed({ op, value }: Exclude<Deed, string | ((v: Vcpu) => void)>): (v: Vcpu) => void {
		return declaredOp(op, value, this.trees()[0]!.customOps);
	}

	private member(name: string) {
		const members = Object.keys(this.trees()[0]!.ops.kvm_intel) as (keyof Tree["ops"]["kvm_intel"])[];
		const member = members.find((one) => one === name);
		if (member === undefined)
			throw new FlowError(`kvm_x86_ops has no member ${name} here${hint(name, members)}`);
		return member;
	}

	private call(name: string, keep: ((v: Vcpu, result: number) => void) | null): Node {
		const { flows } = this.trees()[0]!;
		if (!flows.has(name) && !this.promised.has(name)) {
			throw new FlowError(`there is no flow ${name}${hint(name, [...flows.keys(), ...this.promised])}`);
		}
		return call(name, keep);
	}

	/** A node of any known tree by its name, or a call of a flow. */
	private named(name: string, where: string): Node {
		const [first] = this.trees();
		if (first!.flows.has(name) || this.promised.has(name)) return call(name);
		return copyOf(this.known(name, where, () => true, sameNode));
	}

	/** The guard of a known tree that has this name. */
	private guard(name: string, where: string): Guard {
		const sameTest = (a: Node, b: Node) => (a as Guard).test === (b as Guard).test;
		return this.known(name, `${where} has no "test"`, ({ kind }) => kind === "if", sameTest) as Guard;
	}

	private known(
		name: string,
		where: string,
		fits: (node: Node) => boolean,
		same: (a: Node, b: Node) => boolean,
	): Node {
		const names = new Set<string>();
		for (const tree of this.trees()) {
			const found = findNodes(tree, name, fits);
			const [first] = found;
			if (first !== undefined) {
				const other = found.find(({ node }) => !same(node, first.node));
				if (other === undefined) return first.node;
				throw new FlowError(
					`${where}: "${name}" is one thing in ${first.flow.name} and another in ${other.flow.name}; write "${first.flow.name}/${name}"`,
					true,
				);
			}
			for (const flow of tree.flows.values())
				for (const node of walk(flow.body)) if (fits(node)) names.add(node.name);
			for (const flow of tree.flows.keys()) names.add(flow);
		}
		throw new FlowError(`${where}: no step or flow "${name}" in any known tree${hint(name, names)}`, true);
	}
}

/** Nodes of that name; `flow/name` looks in one flow. */
function findNodes(
	tree: Tree,
	name: string,
	fits: (node: Node) => boolean,
): { readonly flow: Flow; readonly node: Node }[] {
	const all = [...tree.flows.values()].flatMap((flow) =>
		[...walk(flow.body)].filter(fits).map((node) => ({ flow, node })),
	);
	const named = all.filter(({ node }) => node.name === name);
	return named.length > 0 ? named : all.filter(({ flow, node }) => `${flow.name}/${node.name}` === name);
}

/** A node that the helpers of flow/flow.ts made. */
function isNode(document: unknown): document is Node {
	return typeof document === "object" && document !== null && "kind" in document && "name" in document;
}

/** A node of its own: edits find nodes by identity, so a step that is done twice is two nodes. */
function copyOf(node: Node): Node {
	if (node.kind === "if") {
		const { name, test, instructions } = node;
		return when(name, test, node.then.map(copyOf), node.otherwise.map(copyOf), instructions);
	}
	if (node.kind === "loop") return { ...node, body: node.body.map(copyOf) };
	return { ...node };
}
