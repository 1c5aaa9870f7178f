/** Folded stacks, one line a stack: what FlameGraph's scripts, speedscope and inferno read. */
import { type CallTreeData, stackOf, type Weight } from "../call-tree.ts";

/** `a;b;c 12` lines. Weights are whole numbers. */
export function foldedText(tree: CallTreeData, weight: Weight): string {
	let text = "";
	for (let node = 1; node < tree.parent.length; node++) {
		const value = Math.round(tree[weight][node]!);
		if (value > 0) text += `${stackOf(tree, node).join(";")} ${value}\n`;
	}
	return text;
}
