/**
 * The flows of a tree as one path, from KVM_RUN down: each call is followed by what it calls, so that the whole loop can be
 * read, or drawn, from top to bottom. Rows are plain data: names, and how a patch file refers to them.
 */
import type { Vendor } from "../../silicon/models/model.ts";
import { ENTRY_FLOW, moduleOf } from "./compile.ts";
import { type Node, type Tree, type VendorOp, walk } from "./flow.ts";

/** What a row shows. `else` stands for the second branch of the guard above it. */
export type PathKind = "function" | "step" | "if" | "else" | "loop" | "break" | "return";

export interface PathRow {
	readonly kind: PathKind;
	/** The node's name; of a function its own. */
	readonly name: string;
	/** The function in which the node stands; of the outermost function "". */
	readonly flow: string;
	/** Its file below arch/x86/kvm/; of a function row the function's own. */
	readonly file: string;
	/** How a patch file names the node in its flow: `name`, or `name#2`; "" for what is no node. */
	readonly reference: string;
	/** The node's place: `flow#number in the order of walk()`; "" for what is no node. Both rows of a flow that is called twice have it. */
	readonly place: string;
	/** 0 for the outermost function. */
	readonly depth: number;
	/** Index of the first row behind it that is not below it. */
	end: number;
	/** Of a function: the member of kvm_x86_ops by which it is called, if it is. */
	readonly op?: VendorOp;
}

/** The places of a flow's nodes, as rows name them. */
export function placesOf(tree: Tree): ReadonlyMap<Node, string> {
	const places = new Map<Node, string>();
	for (const { name, body } of tree.flows.values()) {
		let at = 0;
		for (const node of walk(body)) places.set(node, `${name}#${at++}`);
	}
	return places;
}

class PathBuilder {
	readonly rows: PathRow[] = [];
	private readonly tree: Tree;
	private readonly vendor: Vendor;
	private readonly places: ReadonlyMap<Node, string>;
	private readonly open: string[] = [];

	constructor(tree: Tree, vendor: Vendor) {
		this.tree = tree;
		this.vendor = vendor;
		this.places = placesOf(tree);
	}

	/** A row with what stands below it. */
	private row(row: Omit<PathRow, "end">, below: () => void = () => {}): void {
		const made: PathRow = { ...row, end: 0 };
		this.rows.push(made);
		below();
		made.end = this.rows.length;
	}

	function(name: string, depth: number, from: Pick<PathRow, "flow" | "reference" | "place" | "op">): void {
		const flow = this.tree.flows.get(name)!;
		this.row({ ...from, kind: "function", name, file: flow.file, depth }, () => {
			// A function that calls itself is shown once.
			if (this.open.includes(name)) return;
			this.open.push(name);
			this.nodes(flow.body, name, flow.file, depth + 1, references(flow.body));
			this.open.pop();
		});
	}

	private nodes(
		nodes: readonly Node[],
		flow: string,
		file: string,
		depth: number,
		names: ReadonlyMap<Node, string>,
	): void {
		for (const node of nodes) {
			const reference = names.get(node)!;
			const place = this.places.get(node)!;
			const row = { name: node.name, flow, file, depth, reference, place };
			switch (node.kind) {
				case "call": {
					const member = typeof node.flow === "string" ? null : node.flow.op;
					const target =
						member === null ? (node.flow as string) : this.tree.ops[moduleOf(this.vendor)][member];
					this.function(target, depth, {
						flow,
						reference,
						place,
						...(member === null ? {} : { op: member }),
					});
					break;
				}
				case "if":
					this.row({ ...row, kind: "if" }, () => {
						this.nodes(node.then, flow, file, depth + 1, names);
					});
					if (node.otherwise.length > 0)
						this.row({ ...row, kind: "else", name: "else", reference: "", place: "" }, () => {
							this.nodes(node.otherwise, flow, file, depth + 1, names);
						});
					break;
				case "loop":
					this.row({ ...row, kind: "loop" }, () => {
						this.nodes(node.body, flow, file, depth + 1, names);
					});
					break;
				default:
					this.row({ ...row, kind: node.kind });
			}
		}
	}
}

/** How a patch file names each node of a flow. */
function references(body: readonly Node[]): ReadonlyMap<Node, string> {
	const nodes = [...walk(body)];
	const total = new Map<string, number>();
	for (const { name } of nodes) total.set(name, (total.get(name) ?? 0) + 1);
	const seen = new Map<string, number>();
	return new Map(
		nodes.map((node) => {
			const count = (seen.get(node.name) ?? 0) + 1;
			seen.set(node.name, count);
			return [node, total.get(node.name) === 1 ? node.name : `${node.name}#${count}`];
		}),
	);
}

/** The path of a tree for one vendor, from KVM_RUN down. The tree must be one that compiles. */
export function treePath(tree: Tree, vendor: Vendor): readonly PathRow[] {
	return pathFrom(tree, vendor, ENTRY_FLOW);
}

/** The path from a flow down. @param flow one that is there */
export function pathFrom(tree: Tree, vendor: Vendor, flow: string): readonly PathRow[] {
	const builder = new PathBuilder(tree, vendor);
	builder.function(flow, 0, { flow: "", reference: "", place: "" });
	return builder.rows;
}
