/** The texts of `reenter trees`, `show` and `diff`. */
import type { Place, TreeDifference } from "../../kvm/flow/diff.ts";
import type { Flow, Node, Tree } from "../../kvm/flow/flow.ts";
import type { BuiltInTree } from "../../kvm/trees/trees.ts";
import type { Style } from "../style.ts";

/** The list of built-in trees. */
export function treesText(trees: readonly BuiltInTree[], style: Style): string {
	const lines: string[] = [];
	for (const tree of trees) {
		lines.push(`${style.bold(tree.name.padEnd(10))} ${tree.title}`);
		for (const [at, patch] of tree.patches.entries()) lines.push(`  :${at + 1}  ${patch.title}`);
	}
	return `${lines.join("\n")}\n`;
}

/** One flow, or all of them. */
export function showText(tree: Tree, flows: readonly Flow[], style: Style): string {
	const lines: string[] = [];
	for (const flow of flows) {
		lines.push(`${style.bold(flow.name)}  ${style.dim(`arch/x86/kvm/${flow.file}`)}`);
		lines.push(...nodeLines(flow.body, 1));
		lines.push("");
	}
	if (flows.length > 1) {
		for (const [module, ops] of Object.entries(tree.ops)) {
			lines.push(style.bold(`${module}: kvm_x86_ops`));
			for (const [op, flow] of Object.entries(ops)) lines.push(`  .${op} = ${flow}`);
		}
	}
	return `${lines.join("\n").trimEnd()}\n`;
}

function nodeLines(nodes: readonly Node[], depth: number): string[] {
	const pad = "  ".repeat(depth);
	return nodes.flatMap((node): string[] => {
		switch (node.kind) {
			case "step":
				return [`${pad}${node.name}`];
			case "call":
				return [`${pad}${node.name}()`];
			case "if":
				return [
					`${pad}if (${node.name})`,
					...nodeLines(node.then, depth + 1),
					...(node.otherwise.length > 0 ? [`${pad}else`, ...nodeLines(node.otherwise, depth + 1)] : []),
				];
			case "loop":
				return [`${pad}for (;;)  ${node.name}`, ...nodeLines(node.body, depth + 1)];
			default:
				return [`${pad}${node.name}`];
		}
	});
}

/** A flow as JSON: names and structure. */
export function nodeJson(node: Node): object {
	switch (node.kind) {
		case "if":
			return {
				kind: node.kind,
				name: node.name,
				body: node.then.map(nodeJson),
				otherwise: node.otherwise.map(nodeJson),
			};
		case "loop":
			return { kind: node.kind, name: node.name, body: node.body.map(nodeJson) };
		default:
			return { kind: node.kind, name: node.name };
	}
}

const where = ({ flow, within, after }: Place) =>
	[flow, ...(within === undefined ? [] : [within]), after === "" ? "at the start" : `behind ${after}`].join(
		", ",
	);

/** What moved, from where to where. */
export function diffText(difference: TreeDifference, style: Style): string {
	if (difference.changes.length === 0) return `${difference.a} and ${difference.b} are the same\n`;
	const lines = difference.changes.flatMap((change): string[] => {
		switch (change.change) {
			case "moved":
				return [
					style.bold(`moved     ${change.step}`),
					`    from  ${where(change.from)}`,
					`    to    ${where(change.to)}`,
				];
			case "inserted":
				return [style.good(`inserted  ${change.step}`), `    in    ${where(change.to)}`];
			case "removed":
				return [style.bad(`removed   ${change.step}`), `    from  ${where(change.from)}`];
			case "replaced":
				return [style.bold(`replaced  ${change.step}`), `    in    ${where(change.in)}`];
			case "flow added":
				return [style.good(`new       ${change.flow}()`)];
			case "flow removed":
				return [style.bad(`gone      ${change.flow}()`)];
			case "op":
				return [`${change.module}  .${change.op}: ${change.from} → ${change.to}`];
			default:
				return change satisfies never;
		}
	});
	return `${lines.join("\n")}\n`;
}
