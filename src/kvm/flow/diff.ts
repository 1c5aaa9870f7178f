/**
 * What differs between two trees: steps moved, put in, taken out, replaced; functions and kvm_x86_ops changed.
 *
 * The bodies of a function are compared list by list, by the longest common run of names, so that a step that
 * only changed its place within one function is seen as moved too.
 */
import { type Flow, type KvmModule, type Node, type Tree, type VendorOp, children } from "./flow.ts";

/** A node's place. */
export interface Place {
	readonly flow: string;
	/** The guard or loop around it: `if CR4.OSXSAVE`, `else of …`, `loop fastpath`; absent directly in the function. */
	readonly within?: string;
	/** The node in front of it, "" at the start. */
	readonly after: string;
}

export type Change =
	| { readonly change: "moved"; readonly step: string; readonly from: Place; readonly to: Place }
	| { readonly change: "inserted"; readonly step: string; readonly to: Place }
	| { readonly change: "removed"; readonly step: string; readonly from: Place }
	| { readonly change: "replaced"; readonly step: string; readonly in: Place }
	| { readonly change: "flow added"; readonly flow: string }
	| { readonly change: "flow removed"; readonly flow: string }
	| {
			readonly change: "op";
			readonly module: KvmModule;
			readonly op: VendorOp;
			readonly from: string;
			readonly to: string;
	  };

export interface TreeDifference {
	readonly a: string;
	readonly b: string;
	readonly changes: readonly Change[];
}

/** A node that one tree has and the other has not in that place. */
interface Odd {
	readonly node: Node;
	readonly place: Place;
	/** It stands in a function that both trees have, so it is worth a line of its own. */
	readonly reported: boolean;
}

interface Differences {
	readonly gone: Odd[];
	readonly come: Odd[];
	readonly replaced: { readonly node: Node; readonly place: Place }[];
}

/** Compares two trees. A step that left one place and came to another, by its name, was moved. */
export function diffTrees(a: Tree, b: Tree): TreeDifference {
	const found: Differences = { gone: [], come: [], replaced: [] };
	for (const flow of a.flows.values()) {
		const other = b.flows.get(flow.name);
		if (other === undefined) found.gone.push(...allOf(flow));
		else compareLists(flow.body, other.body, flow.name, "", found);
	}
	for (const flow of b.flows.values()) if (!a.flows.has(flow.name)) found.come.push(...allOf(flow));

	const changes: Change[] = matchMoves(found);
	for (const { node, place } of found.replaced) {
		changes.push({ change: "replaced", step: node.name, in: place });
	}
	for (const name of b.flows.keys())
		if (!a.flows.has(name)) changes.push({ change: "flow added", flow: name });
	for (const name of a.flows.keys()) {
		if (!b.flows.has(name)) changes.push({ change: "flow removed", flow: name });
	}
	for (const module of ["kvm_intel", "kvm_amd"] as const) {
		for (const [op, from] of Object.entries(a.ops[module]) as [VendorOp, string][]) {
			const to = b.ops[module][op];
			if (to !== from) changes.push({ change: "op", module, op, from, to });
		}
	}
	return { a: a.name, b: b.name, changes };
}

/** The nodes of a function that only one tree has: sources and targets of moves, but no lines of their own. */
function allOf(flow: Flow): Odd[] {
	return placed(flow.body, flow.name, "").map(([node, place]) => ({ node, place, reported: false }));
}

function placed(nodes: readonly Node[], flow: string, within: string): (readonly [Node, Place])[] {
	return nodes.map((node, at) => {
		const after = nodes[at - 1]?.name ?? "";
		return [node, within === "" ? { flow, after } : { flow, within, after }] as const;
	});
}

function compareLists(
	a: readonly Node[],
	b: readonly Node[],
	flow: string,
	within: string,
	found: Differences,
): void {
	const pairs = commonRun(a, b);
	const inA = placed(a, flow, within);
	const inB = placed(b, flow, within);
	for (const [node, place] of inA) {
		if (!pairs.has(node)) found.gone.push({ node, place, reported: true });
	}
	const partners = new Set(pairs.values());
	for (const [node, place] of inB) {
		if (!partners.has(node)) found.come.push({ node, place, reported: true });
	}
	for (const [node, place] of inA) {
		const other = pairs.get(node);
		if (other === undefined || other === node) continue;
		if (!doesTheSame(node, other)) found.replaced.push({ node, place });
		const others = children(other);
		for (const [at, list] of children(node).entries()) {
			compareLists(list, others[at]!, flow, withinOf(node, at), found);
		}
	}
}

/** How a place names the guard or loop around it. */
function withinOf(node: Node, at: number): string {
	if (node.kind === "loop") return `loop ${node.name}`;
	return at === 0 ? `if ${node.name}` : `else of ${node.name}`;
}

/** Same name and kind; the functions behind them may still differ. */
function isAlike(a: Node, b: Node): boolean {
	return a.kind === b.kind && a.name === b.name;
}

/** Whether two nodes have the same name and do the same, with all that is below them. */
export function sameNode(a: Node, b: Node): boolean {
	if (a === b) return true;
	if (!isAlike(a, b) || !doesTheSame(a, b)) return false;
	const others = children(b);
	return children(a).every(
		(list, at) =>
			list.length === others[at]!.length && list.every((node, n) => sameNode(node, others[at]![n]!)),
	);
}

/** Whether two nodes that are alike run the same code, what is below them left aside. */
function doesTheSame(a: Node, b: Node): boolean {
	if (a.kind === "step" && b.kind === "step") return a.run === b.run && a.instructions === b.instructions;
	if (a.kind === "if" && b.kind === "if") return a.test === b.test;
	if (a.kind === "return" && b.kind === "return") return a.value === b.value;
	if (a.kind === "call" && b.kind === "call") return a.keep === b.keep;
	return true;
}

/** The longest common subsequence of two lists, as pairs. */
function commonRun(a: readonly Node[], b: readonly Node[]): Map<Node, Node> {
	// lengths[i][j]: how much a[i…] and b[j…] have in common.
	const lengths = Array.from({ length: a.length + 1 }, () => new Array<number>(b.length + 1).fill(0));
	for (let i = a.length - 1; i >= 0; i--) {
		for (let j = b.length - 1; j >= 0; j--) {
			lengths[i]![j] = isAlike(a[i]!, b[j]!)
				? lengths[i + 1]![j + 1]! + 1
				: Math.max(lengths[i + 1]![j]!, lengths[i]![j + 1]!);
		}
	}
	const pairs = new Map<Node, Node>();
	for (let i = 0, j = 0; i < a.length && j < b.length; ) {
		if (isAlike(a[i]!, b[j]!)) pairs.set(a[i++]!, b[j++]!);
		else if (lengths[i + 1]![j]! >= lengths[i]![j + 1]!) i++;
		else j++;
	}
	return pairs;
}

/** Returns and breaks do not move: one is like another. */
function canMove({ node, reported }: Odd): boolean {
	if (node.kind === "step" || node.kind === "call" || node.kind === "loop") return true;
	// Many functions begin with the same `if (…) return`: in a new function that is no move.
	return (
		node.kind === "if" &&
		(reported || children(node).some((list) => list.some(({ kind }) => kind !== "return")))
	);
}

/** Pairs what is gone with what has come; looks into guards and loops where the whole has no partner. */
function matchMoves({ gone, come }: Differences): Change[] {
	const changes: Change[] = [];
	const sources = [...gone];
	const targets = [...come];
	const settled = new Set<Odd>();
	const pairUp = () => {
		for (const target of targets) {
			if (settled.has(target) || !canMove(target)) continue;
			const fits = sources.filter((source) => !settled.has(source) && isAlike(source.node, target.node));
			const source = fits.find(({ place }) => place.flow === target.place.flow) ?? fits[0];
			if (source === undefined) continue;
			settled.add(source).add(target);
			changes.push({ change: "moved", step: target.node.name, from: source.place, to: target.place });
		}
	};
	pairUp();
	// What is below an odd guard may have moved without it.
	for (const list of [sources, targets]) {
		for (const odd of [...list]) if (!settled.has(odd)) list.push(...below(odd));
	}
	pairUp();
	for (const target of targets) {
		if (target.reported && !settled.has(target)) {
			changes.push({ change: "inserted", step: target.node.name, to: target.place });
		}
	}
	for (const source of sources) {
		if (!source.reported || settled.has(source)) continue;
		// Two places can become one: patch 2 handles #MCs on VM entry and on TD entry in the same function.
		const shared = canMove(source) ? targets.find(({ node }) => isAlike(node, source.node)) : undefined;
		if (shared !== undefined) {
			changes.push({ change: "moved", step: source.node.name, from: source.place, to: shared.place });
		} else {
			changes.push({ change: "removed", step: source.node.name, from: source.place });
		}
	}
	return changes;
}

/** All nodes below an odd one; the line of the odd one covers them. */
function below({ node, place }: Odd): Odd[] {
	return children(node).flatMap((list, at) =>
		placed(list, place.flow, withinOf(node, at)).flatMap(([child, childPlace]) => {
			const odd = { node: child, place: childPlace, reported: false };
			return [odd, ...below(odd)];
		}),
	);
}
