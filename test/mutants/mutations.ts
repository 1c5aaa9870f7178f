/**
 * Mutants of a tree: each is one small mistake in the run loop, written as a patch file. Steps and calls are left out, done
 * twice, and moved over the border to the phase before and behind; guards are dropped, as if they always or never held.
 *
 *     const [first] = mutantsOf(findTree("series-v2"), "vmx");
 *     first.document;        // { name, base: "series-v2", edits: [ … ] }: what `reenter check --patch` takes
 */
import { ENTRY_FLOW, HELPER_FLOWS } from "../../src/kvm/flow/compile.ts";
import { type Node, type Step, type Tree, nothing, walk } from "../../src/kvm/flow/flow.ts";
import { type PathRow, pathFrom } from "../../src/kvm/flow/path.ts";
import type { EditDocument, PatchDocument } from "../../src/kvm/patch/document.ts";
import type { Vendor } from "../../src/silicon/models/model.ts";

/** What was done to the tree. */
export const MUTATIONS = ["deleted", "twice", "earlier", "later", "always", "never"] as const;
export type Mutation = (typeof MUTATIONS)[number];

export interface Mutant {
	readonly mutation: Mutation;
	/** The flow and the node in it, as a patch file names it. */
	readonly flow: string;
	readonly reference: string;
	/** Where it was moved to: `before X` or `behind X`; empty for other mutations. */
	readonly to: string;
	readonly document: PatchDocument;
	/** The node of the tree that it is made of. */
	readonly node: Node;
}

/** A mutant's name without its tree and vendor: what rows of the survivors' table and reports say. */
export function mutantName({ mutation, flow, reference, to }: Omit<Mutant, "document" | "node">): string {
	return `${flow}: ${reference} ${mutation}${to === "" ? "" : `, ${to}`}`;
}

/**
 * Borders of the run loop's phases, by function: behind each another context begins. The loops' heads and ends are borders
 * besides, and so are the VM entries.
 */
// biome-ignore format: one row a function
const BORDERS: Readonly<Record<string, readonly string[]>> = {
	kvm_arch_vcpu_ioctl_run: ["preempt_disable (vcpu_load)", "preempt_enable (vcpu_load)", "kvm_load_guest_fpu", "srcu_read_lock", "vcpu_run", "kvm_put_guest_fpu", "srcu_read_unlock", "preempt_disable (vcpu_put)", "preempt_enable (vcpu_put)"],
	vcpu_run:                ["vcpu_enter_guest", "srcu_read_unlock (work)", "srcu_read_lock (work)"],
	vcpu_enter_guest:        ["preempt_disable", "local_irq_disable", "mode = IN_GUEST_MODE", "srcu_read_unlock", "guest_timing_enter_irqoff", "mode = OUTSIDE_GUEST_MODE (after exit)", "kvm_x86_ops.handle_exit_irqoff", "local_irq_enable (window)", "local_irq_disable (window)", "guest_timing_exit_irqoff", "local_irq_enable", "preempt_enable", "srcu_read_lock"],
	vmx_vcpu_run:            ["vmx_vcpu_enter_exit"],
	vmx_vcpu_enter_exit:     ["guest_state_enter_irqoff", "__vmx_vcpu_run", "guest_state_exit_irqoff"],
	svm_vcpu_run:            ["clgi", "svm_vcpu_enter_exit", "stgi"],
	svm_vcpu_enter_exit:     ["guest_state_enter_irqoff", "raw_local_irq_enable", "__svm_vcpu_run", "raw_local_irq_disable", "guest_state_exit_irqoff"],
	tdx_vcpu_run:            ["tdx_vcpu_enter_exit"],
	tdx_vcpu_enter_exit:     ["guest_state_enter_irqoff", "tdh_vp_enter", "guest_state_exit_irqoff"],
	fpu_update_guest_xfd:    ["fpregs_lock", "fpregs_unlock"],
	kvm_pmu_trigger_event:   ["srcu_read_lock", "srcu_read_unlock"],
};

/** A border in a path: where what crosses it upwards or downwards comes to stand. */
interface Border {
	/** Row at which it stands; what is above it lies before. */
	readonly row: number;
	/** Row that is the border itself, so that it does not cross itself; -1 for a loop's end. */
	readonly self: number;
	/** Row behind what it encloses; a loop's head encloses nothing. */
	readonly end: number;
	readonly up: Place;
	readonly down: Place;
}

interface Place {
	readonly flow: string;
	readonly side: "before" | "after";
	readonly reference: string;
}

/** A row with what is around it in its own function. */
interface Placed {
	readonly row: PathRow;
	readonly at: number;
	/** It stands below no guard of its function. */
	readonly isUnit: boolean;
	/** Its function's row. */
	readonly functionAt: number;
}

function placed(rows: readonly PathRow[]): Placed[] {
	const open: number[] = [];
	return rows.map((row, at): Placed => {
		while (open.length > 0 && rows[open.at(-1)!]!.end <= at) open.pop();
		const functionAt = open.findLast((one) => rows[one]!.kind === "function") ?? -1;
		const around = open.slice(open.indexOf(functionAt) + 1);
		const isUnit = around.every((one) => rows[one]!.kind === "loop");
		open.push(at);
		return { row, at, isUnit, functionAt };
	});
}

const at = (row: PathRow, side: Place["side"]): Place => ({ flow: row.flow, side, reference: row.reference });

/** The borders of a path, in order. */
function bordersOf(rows: readonly PathRow[], all: readonly Placed[]): Border[] {
	const borders: Border[] = [];
	for (const { row, at: index, isUnit } of all) {
		if (row.kind === "loop") {
			const below = all.filter(
				(one) => one.at > index && one.at < row.end && one.row.depth === row.depth + 1,
			);
			const exit = below.find(
				(one) =>
					one.row.kind === "if" && rows.slice(one.at, one.row.end).some(({ kind }) => kind === "break"),
			);
			borders.push({
				row: index,
				self: index,
				end: index,
				up: at(row, "before"),
				down: at(below[0]!.row, "before"),
			});
			borders.push({
				row: row.end - 0.5,
				self: -1,
				end: row.end,
				up: at((exit ?? below.at(-1)!).row, exit === undefined ? "after" : "before"),
				down: at(row, "after"),
			});
		} else if (BORDERS[row.flow]?.includes(row.reference) === true) {
			// What stands below a guard leads out of the loop, but for the way into the guest itself.
			if (!isUnit && row.kind !== "function") continue;
			borders.push({ row: index, self: index, end: row.end, up: at(row, "before"), down: at(row, "after") });
		}
	}
	return borders.sort((a, b) => a.row - b.row);
}

const leavesFlow = (node: Node): boolean =>
	[...walk([node])].some(({ kind }) => kind === "return" || kind === "break");

/** Moves of a unit over the next border in both directions. */
function moves({ row, at: index }: Placed, borders: readonly Border[]): [Mutation, Place][] {
	const above = borders.findLast(
		(border) => border.row < index && border.self !== index && border.end <= index,
	);
	const below = borders.find((border) => border.row >= row.end || (border.row > index && border.self === -1));
	const found: [Mutation, Place][] = [];
	if (above !== undefined) found.push(["earlier", above.up]);
	if (below !== undefined) found.push(["later", below.down]);
	return found;
}

/** Its plain instructions are all that a step does here. */
export const doesNothing = (node: Node): boolean =>
	node.kind === "step" && (node as Step).run === nothing && node.waiting === null;

/**
 * All mutants of a tree as one vendor runs it. Names within are unique.
 * @param enters whether the vendor comes into a flow; those of the other kind of vCPU are linked and never called
 */
export function mutantsOf(tree: Tree, vendor: Vendor, enters: (flow: string) => boolean): readonly Mutant[] {
	const mutants = new Map<string, Mutant>();
	const add = (
		node: Node,
		row: PathRow,
		mutation: Mutation,
		edit: EditDocument,
		to: Place | null = null,
	): void => {
		const where =
			to === null
				? ""
				: `${to.side === "before" ? "before" : "behind"} ${to.reference}${to.flow === row.flow ? "" : ` of ${to.flow}`}`;
		const mutant = { mutation, flow: row.flow, reference: row.reference, to: where };
		const name = mutantName(mutant);
		if (mutants.has(name)) return;
		const document = { name: "mutant", base: tree.name, title: name, edits: [edit] };
		mutants.set(name, { ...mutant, node, document });
	};
	for (const root of [ENTRY_FLOW, ...HELPER_FLOWS]) {
		const rows = pathFrom(tree, vendor, root);
		const all = placed(rows).filter(({ row }) => row.flow === "" || enters(row.flow));
		const borders = bordersOf(rows, all);
		for (const one of all) {
			const { row, isUnit } = one;
			if (row.reference === "" || !enters(row.flow)) continue;
			const node = nodeOf(tree, row);
			const { flow, reference } = row;
			if (node.kind === "if") {
				add(node, row, "always", { dropGuard: reference, in: flow, as: "always" });
				add(node, row, "never", { dropGuard: reference, in: flow, as: "never" });
			} else if (node.kind !== "loop") add(node, row, "deleted", { remove: reference, from: flow });
			if (node.kind === "step" || node.kind === "call")
				add(node, row, "twice", { insert: `${flow}/${node.name}`, into: flow, after: reference });
			if (!isUnit || node.kind === "loop" || leavesFlow(node)) continue;
			for (const [mutation, to] of moves(one, borders)) {
				const anchor = to.side === "before" ? { before: to.reference } : { after: to.reference };
				add(node, row, mutation, { move: reference, from: flow, to: to.flow, ...anchor }, to);
			}
		}
	}
	return [...mutants.values()];
}

/** The node of a row: rows name it by its number in the order of walk(). */
function nodeOf(tree: Tree, { flow, place }: PathRow): Node {
	return [...walk(tree.flows.get(flow)!.body)][Number(place.slice(flow.length + 1))]!;
}
