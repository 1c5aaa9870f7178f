/** What must hold of a whole tree before it can be compiled. */
import { FlowError } from "./errors.ts";
import { type Flow, type Tree, walk } from "./flow.ts";
import { hint } from "./patch.ts";

/** @throws FlowError if a call's flow is missing, or a break names no loop */
export function verifyTree(tree: Tree): void {
	for (const flow of tree.flows.values()) verifyFlow(tree, flow);
	for (const [module, ops] of Object.entries(tree.ops)) {
		for (const [op, name] of Object.entries(ops)) {
			if (!tree.flows.has(name)) throw new FlowError(`${module}'s ${op} is ${name}, which is not there`);
		}
	}
}

function verifyFlow(tree: Tree, flow: Flow): void {
	const loops = new Set<string>();
	for (const node of walk(flow.body)) if (node.kind === "loop") loops.add(node.name);
	for (const node of walk(flow.body)) {
		if (node.kind === "break" && !loops.has(node.loop)) {
			throw new FlowError(`${flow.name} has "${node.name}" but no such loop${hint(node.loop, loops)}`);
		}
		if (node.kind === "call" && typeof node.flow === "string" && !tree.flows.has(node.flow)) {
			throw new FlowError(
				`${flow.name} calls ${node.flow}, which is not there${hint(node.flow, tree.flows.keys())}`,
			);
		}
	}
}
