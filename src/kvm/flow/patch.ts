/**
 * A patch is a list of edits to a tree, a series a list of patches. An edit whose step or anchor is not
 * where it says fails, like a hunk that does not apply.
 */
import { VENDORS } from "../../silicon/models/model.ts";
import { OP, TooManyOpsError, customOpId } from "../../silicon/ops.ts";
import { FlowError } from "./errors.ts";
import type { CustomOp } from "./custom-op.ts";
import {
	type Flow,
	type KvmModule,
	type Node,
	type Tree,
	type VendorModule,
	type VendorOp,
	call,
	walk,
} from "./flow.ts";

/** Where a node goes: next to another of the same flow, or at an end of it. */
export type Anchor =
	| { readonly before: string }
	| { readonly after: string }
	| { readonly at: "start" | "end" };

/** What a guard that is dropped counts as from then on. */
export type GuardAs = "always" | "never";

export type Edit =
	| ({ readonly edit: "move"; readonly node: string; readonly from: string; readonly to: string } & Anchor)
	| ({ readonly edit: "insert"; readonly node: Node; readonly into: string } & Anchor)
	| { readonly edit: "remove"; readonly node: string; readonly from: string }
	| { readonly edit: "replace"; readonly node: string; readonly in: string; readonly by: Node }
	| { readonly edit: "dropGuard"; readonly guard: string; readonly in: string; readonly as: GuardAs }
	| { readonly edit: "addFlow"; readonly flow: Flow }
	| { readonly edit: "removeFlow"; readonly flow: string }
	| { readonly edit: "setOp"; readonly module: KvmModule; readonly op: VendorOp; readonly flow: string }
	| { readonly edit: "addOp"; readonly op: CustomOp }
	| { readonly edit: "addVendor"; readonly vendor: VendorModule };

export interface Patch {
	/** The mail's subject. */
	readonly title: string;
	/** Where it comes from: commit, mail. */
	readonly source: string;
	readonly edits: readonly Edit[];
}

/** Moves a node. */
export function move(node: string, from: string, to: string, anchor: Anchor): Edit {
	return { edit: "move", node, from, to, ...anchor };
}

/** Inserts a node. */
export function insert(node: Node | string, into: string, anchor: Anchor): Edit {
	return { edit: "insert", node: typeof node === "string" ? call(node) : node, into, ...anchor };
}

/** Removes a node. */
export function remove(node: string, from: string): Edit {
	return { edit: "remove", node, from };
}

/** Puts a node in another's place. */
export function replace(node: string, inFlow: string, by: Node): Edit {
	return { edit: "replace", node, in: inFlow, by };
}

/** Drops a guard: what it guards is done always, or never (then what stands in its `otherwise` is). */
export function dropGuard(guard: string, inFlow: string, as: GuardAs): Edit {
	return { edit: "dropGuard", guard, in: inFlow, as };
}

/** Adds a kernel function. */
export function addFlow(flow: Flow): Edit {
	return { edit: "addFlow", flow };
}

/** Removes a kernel function that nothing calls any more. */
export function removeFlow(flow: string): Edit {
	return { edit: "removeFlow", flow };
}

/** Changes a member of kvm_x86_ops. */
export function setOp(module: KvmModule, op: VendorOp, flow: string): Edit {
	return { edit: "setOp", module, op, flow };
}

/** Defines an op. */
export function addOp(op: CustomOp): Edit {
	return { edit: "addOp", op };
}

/** Defines a vendor module; its flows must be there. */
export function addVendor(vendor: VendorModule): Edit {
	return { edit: "addVendor", vendor };
}

/**
 * Applies patches to a tree.
 * @param name the new tree's name
 * @throws FlowError that names the patch, the edit and the nearest name, when an edit does not apply
 */
export function applyPatches(base: Tree, patches: readonly Patch[], name: string, title: string): Tree {
	let tree: Tree = { ...base, name, title };
	for (const [at, patch] of patches.entries()) {
		for (const edit of patch.edits) {
			try {
				tree = applyEdit(tree, edit);
			} catch (error) {
				if (!(error instanceof FlowError)) throw error;
				throw new FlowError(`${name}: patch ${at + 1} "${patch.title}" does not apply: ${error.message}`);
			}
		}
	}
	return tree;
}

/** Applies one edit. @throws FlowError if it does not apply */
export function applyEdit(tree: Tree, edit: Edit): Tree {
	switch (edit.edit) {
		case "move": {
			const node = findNode(tree, edit.from, edit.node);
			if (edit.from === edit.to) assertApart(tree, node, edit);
			const without = withFlow(tree, edit.from, (body) => drop(body, node));
			return withFlow(without, edit.to, (body) => place(without, body, edit.to, node, edit));
		}
		case "insert": {
			if (edit.node.kind === "call" && typeof edit.node.flow === "string") flowOf(tree, edit.node.flow);
			return withFlow(tree, edit.into, (body) => place(tree, body, edit.into, edit.node, edit));
		}
		case "remove": {
			const node = findNode(tree, edit.from, edit.node);
			return withFlow(tree, edit.from, (body) => drop(body, node));
		}
		case "replace": {
			const node = findNode(tree, edit.in, edit.node);
			return withFlow(tree, edit.in, (body) => splice(body, node, [edit.by]));
		}
		case "dropGuard": {
			const node = findNode(tree, edit.in, edit.guard);
			if (node.kind !== "if") throw new FlowError(`${edit.in}'s "${edit.guard}" is a ${node.kind}, no guard`);
			const kept = edit.as === "always" ? node.then : node.otherwise;
			return withFlow(tree, edit.in, (body) => splice(body, node, kept));
		}
		case "addFlow": {
			if (tree.flows.has(edit.flow.name)) throw new FlowError(`a flow ${edit.flow.name} is there already`);
			return { ...tree, flows: new Map([...tree.flows, [edit.flow.name, edit.flow]]) };
		}
		case "removeFlow": {
			flowOf(tree, edit.flow);
			for (const other of tree.flows.values()) {
				for (const node of walk(other.body)) {
					if (node.kind === "call" && node.flow === edit.flow) {
						throw new FlowError(`${other.name} still calls ${edit.flow}`);
					}
				}
			}
			return { ...tree, flows: new Map([...tree.flows].filter(([flowName]) => flowName !== edit.flow)) };
		}
		case "setOp": {
			flowOf(tree, edit.flow);
			const ops = { ...tree.ops, [edit.module]: { ...tree.ops[edit.module], [edit.op]: edit.flow } };
			return { ...tree, ops };
		}
		case "addOp": {
			const { name } = edit.op;
			if (Object.hasOwn(OP, name) || tree.customOps.some((op) => op.name === name))
				throw new FlowError(`an op ${name} is there already`);
			reserveOp(name);
			return { ...tree, customOps: [...tree.customOps, edit.op] };
		}
		case "addVendor": {
			const { name, ops } = edit.vendor;
			if ([...VENDORS, ...tree.vendorModules.map((one) => one.name)].includes(name))
				throw new FlowError(`a vendor ${name} is there already`);
			for (const flow of Object.values(ops)) flowOf(tree, flow);
			return { ...tree, vendorModules: [...tree.vendorModules, edit.vendor] };
		}
		default:
			return edit satisfies never;
	}
}

function flowOf(tree: Tree, name: string): Flow {
	const flow = tree.flows.get(name);
	if (flow !== undefined) return flow;
	throw new FlowError(`there is no flow ${name}${hint(name, tree.flows.keys())}`, false, { flow: name });
}

/** The node of a name in a flow; `name#2` is the second one. @throws FlowError if there is none, or no single one */
export function findNode(tree: Tree, flowName: string, reference: string): Node {
	const [, name, count] = /^(.*?)(?:#(\d+))?$/.exec(reference) as unknown as [string, string, string?];
	const nodes = [...walk(flowOf(tree, flowName).body)];
	const named = nodes.filter((node) => node.name === name);
	if (count === undefined && named.length > 1) {
		throw new FlowError(
			`${flowName} has ${named.length} steps "${name}"; write "${name}#1" for the first, "${name}#2" for the second`,
		);
	}
	const node = named[count === undefined ? 0 : Number(count) - 1];
	if (node !== undefined) return node;
	const elsewhere = [...tree.flows.values()].find((flow) =>
		[...walk(flow.body)].some((one) => one.name === name),
	);
	const mend =
		elsewhere === undefined || named.length > 0
			? hint(
					name,
					nodes.map((one) => one.name),
				)
			: `; it is in ${elsewhere.name}`;
	throw new FlowError(`${flowName} has no step "${reference}"${mend}`, false, { flow: flowName, node: name });
}

/** @throws FlowError if a node is to go next to itself, or to what is in it */
function assertApart(tree: Tree, node: Node, move: { readonly to: string } & Anchor): void {
	if ("at" in move) return;
	const anchor = findNode(tree, move.to, "before" in move ? move.before : move.after);
	if (anchor === node) throw new FlowError(`"${node.name}" cannot go next to itself`);
	if ([...walk([node])].includes(anchor))
		throw new FlowError(`"${node.name}" cannot go next to "${anchor.name}", which is in it`);
}

function withFlow(tree: Tree, name: string, change: (body: readonly Node[]) => readonly Node[]): Tree {
	const flow = flowOf(tree, name);
	return { ...tree, flows: new Map(tree.flows).set(name, { ...flow, body: change(flow.body) }) };
}

/** The list with `target` (found by identity) replaced by `by`. */
function splice(nodes: readonly Node[], target: Node, by: readonly Node[]): readonly Node[] {
	return nodes.flatMap((node): readonly Node[] => {
		if (node === target) return by;
		if (node.kind === "if") {
			const then = splice(node.then, target, by);
			const otherwise = splice(node.otherwise, target, by);
			return [{ ...node, then, otherwise }];
		}
		if (node.kind === "loop") return [{ ...node, body: splice(node.body, target, by) }];
		return [node];
	});
}

function drop(nodes: readonly Node[], target: Node): readonly Node[] {
	return splice(nodes, target, []);
}

function place(tree: Tree, body: readonly Node[], flow: string, node: Node, anchor: Anchor): readonly Node[] {
	if ("at" in anchor) return anchor.at === "start" ? [node, ...body] : [...body, node];
	if ("before" in anchor) {
		const target = findNode(tree, flow, anchor.before);
		return splice(body, target, [node, target]);
	}
	const target = findNode(tree, flow, anchor.after);
	return splice(body, target, [target, node]);
}

/** `; did you mean X?` for the nearest of the names, if one is near. */
export function hint(wanted: string, names: Iterable<string>): string {
	let best = "";
	let bestDistance = Math.max(3, Math.floor(wanted.length / 2));
	const meant = wanted.toLowerCase().replace(/\(\)$/, "");
	for (const name of names) {
		const distance = editDistance(meant, name.toLowerCase());
		if (distance < bestDistance) {
			best = name;
			bestDistance = distance;
		}
	}
	return best === "" ? "" : `; did you mean "${best}"?`;
}

/** Levenshtein distance. */
function editDistance(a: string, b: string): number {
	let previous = Array.from({ length: b.length + 1 }, (_, at) => at);
	for (let i = 1; i <= a.length; i++) {
		const row = [i];
		for (let j = 1; j <= b.length; j++) {
			const substitution = previous[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
			row.push(Math.min(substitution, previous[j]! + 1, row[j - 1]! + 1));
		}
		previous = row;
	}
	return previous[b.length]!;
}

/** Gives an op of a patch's own its id, while it is known where it was written. @throws FlowError if there is no room for it */
function reserveOp(name: string): void {
	try {
		customOpId(name);
	} catch (error) {
		if (!(error instanceof TooManyOpsError)) throw error;
		throw new FlowError(error.message);
	}
}
