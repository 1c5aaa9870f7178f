/**
 * Where cycles went, as a calling context tree: one node for each distinct call stack. It is plain data, so that a
 * page, a file and a command share it; the functions here are pure.
 *
 *     root ── vcpu_run ── vmx_vcpu_run ─┬─ kvm_load_guest_xsave_state
 *                                       └─ vmx_vcpu_enter_exit ── __vmx_vcpu_run ── [VM exit]
 */

/** A calling context tree. Node 0 is the root, which is no function; a parent's index is below its children's. */
export interface CallTreeData {
	/** Names that `symbol` indexes. */
	readonly symbols: readonly string[];
	/** Parent of each node; -1 for the root. */
	readonly parent: readonly number[];
	/** Symbol of each node, an index into `symbols`; -1 for the root. */
	readonly symbol: readonly number[];
	/** Cycles spent in each node itself, without its callees. */
	readonly cycles: readonly number[];
	/** Samples that the virtual PMU took in it. */
	readonly samples: readonly number[];
	/** How often it was entered. */
	readonly calls: readonly number[];
}

/** What a node is weighed by. */
export type Weight = "cycles" | "samples";

const FIRST_NODES = 256;

/** A calling context tree that grows while a machine runs. Symbols are ids of silicon/cpu/symbols.ts. */
export class CallTree {
	count = 1;
	parent = new Int32Array(FIRST_NODES).fill(-1);
	symbol = new Int32Array(FIRST_NODES).fill(-1);
	cycles = new Float64Array(FIRST_NODES);
	samples = new Float64Array(FIRST_NODES);
	calls = new Float64Array(FIRST_NODES);
	/** The child that was entered last, which mostly is the next one too; and the rest as a list. */
	private firstChild = new Int32Array(FIRST_NODES).fill(-1);
	private nextSibling = new Int32Array(FIRST_NODES).fill(-1);

	/** The child of a node for a symbol; made when it is new. */
	child(node: number, symbol: number): number {
		let at = this.firstChild[node]!;
		while (at >= 0) {
			if (this.symbol[at] === symbol) return at;
			at = this.nextSibling[at]!;
		}
		return this.add(node, symbol);
	}

	private add(node: number, symbol: number): number {
		if (this.count === this.parent.length) this.grow();
		const at = this.count++;
		this.parent[at] = node;
		this.symbol[at] = symbol;
		this.nextSibling[at] = this.firstChild[node]!;
		this.firstChild[node] = at;
		return at;
	}

	private grow(): void {
		const size = this.parent.length * 2;
		const wider = <T extends Int32Array | Float64Array>(from: T, to: T): T => {
			to.set(from);
			return to;
		};
		this.parent = wider(this.parent, new Int32Array(size));
		this.symbol = wider(this.symbol, new Int32Array(size));
		this.firstChild = wider(this.firstChild, new Int32Array(size).fill(-1));
		this.nextSibling = wider(this.nextSibling, new Int32Array(size).fill(-1));
		this.cycles = wider(this.cycles, new Float64Array(size));
		this.samples = wider(this.samples, new Float64Array(size));
		this.calls = wider(this.calls, new Float64Array(size));
	}

	/** Forgets the weights; the nodes stay. */
	clear(): void {
		this.cycles.fill(0);
		this.samples.fill(0);
		this.calls.fill(0);
	}

	/**
	 * The tree as data.
	 * @param nameOf a symbol's name by its id
	 */
	data(nameOf: (symbol: number) => string): CallTreeData {
		const { count } = this;
		const symbols: string[] = [];
		const indexes = new Map<number, number>();
		const symbol = [-1];
		for (let node = 1; node < count; node++) {
			const id = this.symbol[node]!;
			let index = indexes.get(id);
			if (index === undefined) {
				index = symbols.push(nameOf(id)) - 1;
				indexes.set(id, index);
			}
			symbol.push(index);
		}
		const list = (from: Int32Array | Float64Array) => Array.from(from.subarray(0, count));
		return {
			symbols,
			parent: list(this.parent),
			symbol,
			cycles: list(this.cycles).map(round),
			samples: list(this.samples),
			calls: list(this.calls),
		};
	}
}

/** Sums of costs such as 0.4 differ in their last bits by the order of summing; a thousandth of a cycle is enough. */
function round(cycles: number): number {
	return Math.round(cycles * 1000) / 1000;
}

/** Name of a node's function; "" for the root. */
export function nodeName(tree: CallTreeData, node: number): string {
	return tree.symbols[tree.symbol[node]!] ?? "";
}

/** Names of the functions on a node's stack, outermost first. */
export function stackOf(tree: CallTreeData, node: number): string[] {
	const names: string[] = [];
	for (let at = node; at > 0; at = tree.parent[at]!) names.unshift(nodeName(tree, at));
	return names;
}

/** A node's weight with its callees', for all nodes. */
export function totals(tree: CallTreeData, weight: Weight): number[] {
	const sums = [...tree[weight]];
	for (let node = sums.length - 1; node > 0; node--) {
		sums[tree.parent[node]!]! += sums[node]!;
	}
	return sums;
}

/** Builds a tree node by node, merging those that come to stand at the same place. */
export class TreeBuilder {
	private readonly symbols: string[] = [];
	private readonly parent = [-1];
	private readonly symbol = [-1];
	private readonly cycles = [0];
	private readonly samples = [0];
	private readonly calls = [0];
	private readonly symbolIndexes = new Map<string, number>();
	private readonly children: Map<number, number>[] = [new Map()];

	/** The child of a node for a name; made when it is new. */
	child(node: number, name: string): number {
		let index = this.symbolIndexes.get(name);
		if (index === undefined) {
			index = this.symbols.push(name) - 1;
			this.symbolIndexes.set(name, index);
		}
		const known = this.children[node]!.get(index);
		if (known !== undefined) return known;
		const at = this.parent.push(node) - 1;
		this.symbol.push(index);
		this.cycles.push(0);
		this.samples.push(0);
		this.calls.push(0);
		this.children.push(new Map());
		this.children[node]!.set(index, at);
		return at;
	}

	/** Adds to a node's weights. */
	add(
		node: number,
		weights: { readonly cycles?: number; readonly samples?: number; readonly calls?: number },
	): void {
		this.cycles[node]! += weights.cycles ?? 0;
		this.samples[node]! += weights.samples ?? 0;
		this.calls[node]! += weights.calls ?? 0;
	}

	/** What was built. */
	finish(): CallTreeData {
		const { symbols, parent, symbol, cycles, samples, calls } = this;
		return { symbols, parent, symbol, cycles, samples, calls };
	}
}

/**
 * A tree with some nodes folded into their callers: their weights go to the nearest ancestor that stays.
 * @param isFolded whether a node's function has no symbol of its own
 */
export function foldTree(
	tree: CallTreeData,
	isFolded: (name: string, node: number) => boolean,
): CallTreeData {
	const builder = new TreeBuilder();
	const place = [0];
	for (let node = 1; node < tree.parent.length; node++) {
		const above = place[tree.parent[node]!]!;
		const name = nodeName(tree, node);
		const folded = isFolded(name, node);
		place[node] = folded ? above : builder.child(above, name);
		builder.add(place[node]!, {
			cycles: tree.cycles[node]!,
			samples: tree.samples[node]!,
			...(folded ? {} : { calls: tree.calls[node]! }),
		});
	}
	builder.add(0, { cycles: tree.cycles[0]!, samples: tree.samples[0]! });
	return builder.finish();
}

/** Symbols with the weight that they have themselves, heaviest first; equal ones by name. */
export function bySymbol(
	tree: CallTreeData,
	weight: Weight,
): { readonly name: string; readonly weight: number }[] {
	const sums = new Float64Array(tree.symbols.length);
	for (let node = 1; node < tree.parent.length; node++) sums[tree.symbol[node]!]! += tree[weight][node]!;
	return tree.symbols
		.map((name, at) => ({ name, weight: sums[at]! }))
		.filter((row) => row.weight > 0)
		.sort((a, b) => b.weight - a.weight || (a.name < b.name ? -1 : 1));
}
