/** A flame graph's boxes: pure layout over a call tree, for SVG and for the page. */
import { type CallTreeData, type Weight, nodeName, totals } from "./call-tree.ts";

/** One function at one place of a call stack. */
export interface FlameBox {
	/** Node of the call tree. */
	readonly node: number;
	readonly name: string;
	/** Functions below it on the stack; the outermost is 0. */
	readonly depth: number;
	/** Left edge and width, as shares of the whole. */
	readonly left: number;
	readonly width: number;
	readonly total: number;
	readonly self: number;
}

export interface FlameLayout {
	readonly boxes: readonly FlameBox[];
	readonly depth: number;
	/** Weight of the whole. */
	readonly total: number;
}

/**
 * Lays a tree out: children side by side, in the order of their names, so that two graphs compare.
 * @param root the node that fills the width; 0 for all
 * @param leastShare boxes narrower than this are left out
 */
export function layoutFlame(tree: CallTreeData, weight: Weight, root = 0, leastShare = 0): FlameLayout {
	const sums = totals(tree, weight);
	const children: number[][] = tree.parent.map(() => []);
	for (let node = 1; node < tree.parent.length; node++) children[tree.parent[node]!]!.push(node);
	const total = sums[root]!;
	const boxes: FlameBox[] = [];
	let deepest = 0;
	const place = (node: number, depth: number, left: number) => {
		const width = sums[node]! / total;
		if (width <= leastShare || sums[node] === 0) return;
		if (node > 0) {
			boxes.push({
				node,
				name: nodeName(tree, node),
				depth,
				left,
				width,
				total: sums[node]!,
				self: tree[weight][node]!,
			});
			deepest = Math.max(deepest, depth + 1);
		}
		let at = left;
		const inOrder = children[node]!.sort((a, b) => (nodeName(tree, a) < nodeName(tree, b) ? -1 : 1));
		for (const child of inOrder) {
			place(child, node === 0 ? 0 : depth + 1, at);
			at += sums[child]! / total;
		}
	};
	if (total > 0) place(root, 0, 0);
	return { boxes, depth: deepest, total };
}
