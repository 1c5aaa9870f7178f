/** Which nodes of a tree a search reaches: a mutant of a node that no run reaches behaves like the tree itself. */
import { type Node, type Step, type Tree, when } from "../../src/kvm/flow/flow.ts";
import type { Vcpu } from "../../src/kvm/vcpu.ts";

/** What has been seen of a node. */
export interface Reached {
	/** Times that it ran, or that its guard was asked; what is counted tells only whether it is more than 0. */
	ran: boolean;
	/** Its guard held, or did not. */
	held: boolean;
	failed: boolean;
}

/** What a search has reached, by node of the tree that was given. */
export type Coverage = ReadonlyMap<Node, Reached>;

/** A tree that does the same, and notes what it does. */
export interface WatchedTree {
	readonly tree: Tree;
	readonly coverage: Coverage;
}

/** Wraps every node of a tree. */
export function watchTree(tree: Tree): WatchedTree {
	const coverage = new Map<Node, Reached>();
	const note = (node: Node): Reached => {
		const reached = { ran: false, held: false, failed: false };
		coverage.set(node, reached);
		return reached;
	};
	const list = (nodes: readonly Node[]): Node[] => nodes.flatMap(watched);
	/** A step in front of a node that has no code of its own. */
	const mark = (node: Node): Step => {
		const reached = note(node);
		const run = () => {
			reached.ran = true;
		};
		return { kind: "step", name: `${node.name} is reached`, run, waiting: null, instructions: 0 };
	};
	const watched = (node: Node): Node[] => {
		if (node.kind === "step") {
			const reached = note(node);
			const run = (v: Vcpu) => {
				reached.ran = true;
				node.run(v);
			};
			return [{ ...node, run }];
		}
		if (node.kind === "if") {
			const reached = note(node);
			const test = (v: Vcpu) => {
				reached.ran = true;
				const holds = node.test(v);
				if (holds) reached.held = true;
				else reached.failed = true;
				return holds;
			};
			return [when(node.name, test, list(node.then), list(node.otherwise), node.instructions)];
		}
		if (node.kind === "loop") return [mark(node), { ...node, body: list(node.body) }];
		return [mark(node), node];
	};
	const flows = new Map([...tree.flows].map(([name, flow]) => [name, { ...flow, body: list(flow.body) }]));
	return { tree: { ...tree, flows }, coverage };
}
