/** Writes the calls of host functions down, and how far each has got. */
import type { NodePlace } from "../../kvm/flow/compile.ts";
import type { Node, Tree } from "../../kvm/flow/flow.ts";
import { children } from "../../kvm/flow/flow.ts";
import type { CallRecord } from "../../profile/timeline/frames.ts";
import type { Cpu } from "../../silicon/cpu/cpu.ts";
import { symbolName } from "../../silicon/cpu/symbols.ts";

/** A function that has been entered and not left. */
interface OpenCall {
	readonly symbol: number;
	/** Index of its record; -1 while nothing is written down. */
	record: number;
	/** The node that it is at. */
	place: NodePlace | null;
	site: NodeSite | null;
	/** Plain instructions of its steps that are not charged yet. */
	uncharged: number;
}

const opened = (symbol: number): OpenCall => ({
	symbol,
	record: -1,
	place: null,
	site: null,
	uncharged: 0,
});

type MutableCall = { -readonly [K in keyof CallRecord]: CallRecord[K] };

export class CallLog {
	readonly records: MutableCall[] = [];
	private readonly open: OpenCall[] = [];

	/** @param cpu its stack is what has been entered before */
	constructor(cpu: Cpu) {
		for (let depth = 0; depth < cpu.stackDepth; depth++) this.open.push(opened(cpu.stack[depth]!));
	}

	/** The innermost record plus 1; 0 if there is none. */
	get innermost(): number {
		return (this.open.at(-1)?.record ?? -1) + 1;
	}

	/**
	 * Begins to write: what is under way begins now, at 0.
	 * @param at writes the node down at which an open function is
	 * @param frame number of the next frame
	 */
	begin(at: (place: NodePlace) => void, frame: () => number): void {
		const open = this.open.splice(0);
		for (const call of open) {
			this.open.push(call);
			this.record(frame(), 0);
			if (call.place !== null) at(call.place);
		}
	}

	private record(frame: number, cycles: number): void {
		const call = this.open.at(-1)!;
		const parent = this.open.at(-2)?.record ?? -1;
		call.record =
			this.records.push({
				name: symbolName(call.symbol),
				parent,
				fromFrame: frame,
				toFrame: frame,
				fromCycles: cycles,
				toCycles: cycles,
			}) - 1;
	}

	/** A function is entered. @param writes whether it is written down */
	enter(symbol: number, writes: boolean, frame: number, cycles: number): void {
		this.open.push(opened(symbol));
		if (writes) this.record(frame, cycles);
	}

	/** The innermost function is left. */
	leave(frame: number, cycles: number): void {
		const record = this.records[this.open.pop()?.record ?? -1];
		if (record === undefined) return;
		record.toFrame = frame;
		record.toCycles = cycles;
	}

	/**
	 * The innermost function is at a node. Compiled code charges the plain instructions of neighbouring steps together: at
	 * whatever is no step, and at the end of their list.
	 * @param site where the node stands
	 */
	at(place: NodePlace, site: NodeSite): void {
		const call = this.open.at(-1);
		if (call === undefined) return;
		const before = call.site;
		if (before !== null && (before.list !== site.list || before.position >= site.position))
			call.uncharged = 0;
		call.place = place;
		call.site = site;
	}

	/** The node has been written down, and its own instructions begin. */
	passed({ node }: NodePlace): void {
		const call = this.open.at(-1);
		if (call === undefined) return;
		if (node.kind === "step") call.uncharged += node.instructions;
		else call.uncharged = 0;
	}

	/** Plain instructions that were carried out and are not charged yet. */
	get uncharged(): number {
		let sum = 0;
		for (const call of this.open) sum += call.uncharged;
		return sum;
	}

	/** Ends what has been entered and not left. */
	finish(frame: number, cycles: number): void {
		while (this.open.length > 0) this.leave(frame, cycles);
	}
}

/** Where a node stands in its flow. */
export interface NodeSite {
	/** Names of the loops around it, outermost first. A loop is in itself. */
	readonly loops: readonly string[];
	/** The list of nodes that it is of: the flow's, a branch's, a loop's; and its place there. */
	readonly list: readonly Node[];
	readonly position: number;
}

const NOWHERE: NodeSite = { loops: [], list: [], position: 0 };

/** Where each node stands, by flow: a step may stand in several flows. */
export class NodeSites {
	private readonly tree: Tree;
	private readonly flows = new Map<string, ReadonlyMap<Node, NodeSite>>();

	constructor(tree: Tree) {
		this.tree = tree;
	}

	of({ flow, node }: NodePlace): NodeSite {
		let nodes = this.flows.get(flow);
		if (nodes === undefined) {
			const found = new Map<Node, NodeSite>();
			const visit = (list: readonly Node[], loops: readonly string[]) => {
				for (const [position, one] of list.entries()) {
					const own = one.kind === "loop" ? [...loops, one.name] : loops;
					found.set(one, { loops: own, list, position });
					for (const below of children(one)) visit(below, own);
				}
			};
			visit(this.tree.flows.get(flow)?.body ?? [], []);
			this.flows.set(flow, found);
			nodes = found;
		}
		return nodes.get(node) ?? NOWHERE;
	}
}
