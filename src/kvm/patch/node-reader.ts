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
import { ConditionReader } from "./condition.ts";
import { declaredOp, sequence } from "./declared-op.ts";
import type {
	AssignDocument,
	BreakDocument,
	CallDocument,
	CallOpDocument,
	ConditionDocument,
	Deed,
	GuardDocument,
	LoopDocument,
	OpStepDocument,
	ReturnDocument,
	StepDocument,
} from "./document.ts";
import { guardCode } from "./guard-code.ts";
import { readForm } from "./read-form.ts";
import { CONDITION_FORMS, NODE_FORMS } from "./schema.ts";

/** A way into a document: keys and indices. */
export type Path = readonly (string | number)[];

/** Says where a part of a document stands. */
export type Locate = (path: Path) => string;

type OwnNode =
	| StepDocument
	| OpStepDocument
	| AssignDocument
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
	private readonly conditions = new ConditionReader();

	/** @param trees the tree as patched so far, then the libraries */
	constructor(locate: Locate, trees: () => readonly Tree[]) {
		this.locate = locate;
		this.trees = trees;
	}

	/** A flow of the file that is read later and may be called already. */
	promiseFlow(name: string): void {
		this.promised.add(name);
	}

	/** Fields that the file keeps on the vCPU. @throws FlowError with one line */
	declareFields(names: readonly string[], path: Path): void {
		try {
			this.conditions.declare(names);
		} catch (error) {
			throw located(error, this.locate(path));
		}
	}

	/**
	 * Reads a node.
	 * @param what names it in messages: `edit 2`, `my_flow, step 3`
	 * @param near the flow that it goes to: of several things of one name, those that are there are meant
	 * @throws FlowError with one line
	 */
	read(document: unknown, path: Path, what: string, near: string): Node {
		if (isNode(document)) return document;
		const where = `${this.locate(path)}: ${what}`;
		if (typeof document === "string") return this.named(document, where, near);
		const form = readForm(NODE_FORMS, document, where, ["then", "else", "body", "when"]) as OwnNode;
		const list = (nodes: readonly unknown[] | undefined, key: string) =>
			(nodes ?? []).map((node, at) => this.read(node, [...path, key, at], `${what}, ${key} ${at + 1}`, near));
		const code = <F extends (...args: never[]) => unknown>(run: F, name: string) =>
			guardCode(run, this.locate([]), name);
		try {
			if ("step" in form) return this.step(form, code);
			if ("op" in form) return this.opStep(form);
			if ("assign" in form) return this.assign(form);
			if ("if" in form) {
				const { test, instructions } = this.test(form, where, near, code);
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
			throw located(error, where);
		}
	}

	/** What a guard asks: its own code, a condition that it writes out, or what the known guard of its name asks. */
	private test(
		form: GuardDocument,
		where: string,
		near: string,
		code: <F extends (v: Vcpu) => boolean>(run: F, name: string) => F,
	): Pick<Guard, "test"> & { readonly instructions?: number | undefined } {
		const { if: name, test, when: condition, instructions } = form;
		if (test !== undefined && condition !== undefined)
			throw new FlowError('it has both "test" and "when"; it asks one thing');
		if (test !== undefined) return { test: code(test, name), instructions };
		if (condition === undefined) {
			const known = this.guard(name, `${where} has no "when" or "test"`, near);
			return { test: known.test, instructions: instructions ?? known.instructions };
		}
		const find = (guard: string) => this.guard(guard, where, near).test;
		return { test: this.conditions.test(this.condition(condition, where), find), instructions };
	}

	/** A condition, looked at part by part. */
	private condition(document: unknown, where: string): ConditionDocument {
		if (typeof document === "string") return document;
		const form = readForm(CONDITION_FORMS, document, `${where}, "when"`, ["not", "all", "any"]);
		const read = form as Exclude<ConditionDocument, string>;
		if ("not" in read) return { not: this.condition(read.not, where) };
		if ("all" in read) return { all: this.conditionList(read.all, "all", where) };
		if ("any" in read) return { any: this.conditionList(read.any, "any", where) };
		return read;
	}

	private conditionList(parts: unknown, key: string, where: string): readonly ConditionDocument[] {
		if (!Array.isArray(parts)) throw new FlowError(`"${key}" must be a list of conditions`);
		return parts.map((part) => this.condition(part, where));
	}

	private assign({ assign, to, name, instructions }: AssignDocument): Node {
		return step(name ?? `${assign} = ${to}`, this.conditions.assignment(assign, to), instructions ?? 1);
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
	private named(name: string, where: string, near: string): Node {
		const [first] = this.trees();
		if (first!.flows.has(name) || this.promised.has(name)) return call(name);
		return copyOf(this.known(name, where, near, () => true, sameNode));
	}

	/** The guard of a known tree that has this name. */
	private guard(name: string, where: string, near: string): Guard {
		const sameTest = (a: Node, b: Node) => (a as Guard).test === (b as Guard).test;
		return this.known(name, where, near, ({ kind }) => kind === "if", sameTest) as Guard;
	}

	private known(
		name: string,
		where: string,
		near: string,
		fits: (node: Node) => boolean,
		same: (a: Node, b: Node) => boolean,
	): Node {
		const names = new Set<string>();
		for (const tree of this.trees()) {
			const found = findNodes(tree, name, fits);
			if (found.length > 0) {
				const kinds = unlike(found, same);
				if (kinds.length === 1) return kinds[0]!.node;
				for (const one of this.trees()) {
					const here = unlike(
						findNodes(one, name, fits).filter(({ flow }) => flow.name === near),
						same,
					);
					if (here.length === 1) return here[0]!.node;
				}
				const choices = kinds.map(({ flow }) => `"${flow.name}/${name}"`);
				throw new FlowError(
					`${where}: "${name}" stands for ${kinds.length} things; write ${choices.slice(0, -1).join(", ")} or ${choices.at(-1)}`,
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

/** An error with its place, if it has none yet. */
function located(error: unknown, where: string): unknown {
	if (!(error instanceof FlowError) || error.located) return error;
	return new FlowError(`${where}: ${error.message}`, true);
}

interface Found {
	readonly flow: Flow;
	readonly node: Node;
}

/** The first of each kind. */
function unlike(found: readonly Found[], same: (a: Node, b: Node) => boolean): readonly Found[] {
	const kinds: Found[] = [];
	for (const one of found) if (!kinds.some(({ node }) => same(node, one.node))) kinds.push(one);
	return kinds;
}

/** Nodes of that name; `flow/name` looks in one flow. */
function findNodes(tree: Tree, name: string, fits: (node: Node) => boolean): Found[] {
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
