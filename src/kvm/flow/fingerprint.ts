/**
 * Short hashes of a tree, by which a replay token knows it again and says which flows differ.
 *
 * Hashed is the canonical form: flows by name, and of each node its kind, name, instructions, what it calls, and what is
 * below it. The code of a step is in it where a patch file gave it; a built-in step's is named by the program's version.
 */
import type { Flow, Node, Tree } from "./flow.ts";
import { onlyReached, type VendorTree } from "./vendor-module.ts";

const codeOf = new WeakMap<object, string>();

/** Says what a patch's function does, so that two that do not do the same are told apart. */
export function describeCode(run: object, text: string): void {
	codeOf.set(run, text);
}

type Canonical = readonly (string | number | Canonical)[];

const code = (run: object | null) => (run === null ? "" : (codeOf.get(run) ?? ""));
const list = (nodes: readonly Node[]): Canonical => nodes.map(canonicalNode);

function canonicalNode(node: Node): Canonical {
	const { kind, name } = node;
	switch (node.kind) {
		case "step":
			return [kind, name, node.instructions, code(node.run)];
		case "if":
			return [kind, name, node.instructions, code(node.test), list(node.then), list(node.otherwise)];
		case "loop":
			return [kind, name, list(node.body)];
		case "call":
			return [kind, typeof node.flow === "string" ? node.flow : node.flow.op, code(node.keep)];
		case "return":
			return [kind, name, code(node.value)];
		case "break":
			return [kind, name];
		default:
			return node satisfies never;
	}
}

const FNV_OFFSET = 0xcbf29ce484222325n;
const FNV_PRIME = 0x100000001b3n;

/** FNV-1a, 64 bits. */
function fnv1a(text: string): bigint {
	let hash = FNV_OFFSET;
	for (const byte of new TextEncoder().encode(text))
		hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * FNV_PRIME);
	return hash;
}

const DIGITS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_";

/** The top bits of a hash as digits of base 64. FNV's low bits are its best mixed; they are folded in. */
function digits(hash: bigint, count: number): string {
	let rest = hash ^ (hash >> 32n);
	let text = "";
	for (let at = 0; at < count; at++) {
		text += DIGITS[Number(rest & 63n)];
		rest >>= 6n;
	}
	return text;
}

const hashOf = (value: Canonical, count: number) => digits(fnv1a(JSON.stringify(value)), count);
const byName = (a: Flow, b: Flow) => (a.name < b.name ? -1 : 1);

/**
 * The hash of a whole tree: 8 characters.
 * @param salt what else must be the same, such as the program's version
 */
export function treeHash(tree: Tree, salt: string): string {
	const flows = [...tree.flows.values()].sort(byName).map(({ name, body }) => [name, list(body)] as const);
	const ops = Object.entries(tree.ops).map(([module, members]) => [
		module,
		...Object.entries(members).flat(),
	]);
	const own = tree.customOps.map((op) => [op.name, op.symbol]);
	return hashOf([salt, flows, ops, own, tree.loadedModule ?? ""], 8);
}

/** Flows that a vendor runs, by name, each with a hash of one character. */
export function flowLetters(target: VendorTree): readonly (readonly [name: string, letter: string])[] {
	const flows = [...onlyReached(target).flows.values()].sort(byName);
	return flows.map(({ name, body }) => [name, hashOf([name, list(body)], 1)] as const);
}

/** Names of the flows of two trees that are not the same, or that one of them does not have. */
export function differingFlows(a: VendorTree, b: VendorTree): string[] {
	const flowsOf = (target: VendorTree) =>
		new Map([...onlyReached(target).flows].map(([name, { body }]) => [name, JSON.stringify(list(body))]));
	const [ours, theirs] = [flowsOf(a), flowsOf(b)];
	const names = new Set([...ours.keys(), ...theirs.keys()]);
	return [...names].filter((name) => ours.get(name) !== theirs.get(name)).sort();
}

/** Costs of an alignment: a flow that changed, and one that came or went. */
const CHANGE_COST = 2;
const GAP_COST = 3;

/**
 * Names of the flows that differ from those which the letters were made of: changed, or not there then.
 * @param letters one a flow, in the order of names then
 */
export function changedFlows(target: VendorTree, letters: string): string[] {
	const now = flowLetters(target);
	// The cheapest alignment: one that changed costs less than one that went and one that came.
	const cost = Array.from({ length: letters.length + 1 }, () => new Array<number>(now.length + 1).fill(0));
	const choices = (i: number, j: number) => ({
		both: i < letters.length && j < now.length ? cost[i + 1]![j + 1]! + swap(i, j) : Number.POSITIVE_INFINITY,
		came: j < now.length ? cost[i]![j + 1]! + GAP_COST : Number.POSITIVE_INFINITY,
		went: i < letters.length ? cost[i + 1]![j]! + GAP_COST : Number.POSITIVE_INFINITY,
	});
	const swap = (i: number, j: number) => (letters[i] === now[j]![1] ? 0 : CHANGE_COST);
	for (let i = letters.length; i >= 0; i--) {
		for (let j = now.length; j >= 0; j--) {
			if (i === letters.length && j === now.length) continue;
			const { both, came, went } = choices(i, j);
			cost[i]![j] = Math.min(both, came, went);
		}
	}
	const changed: string[] = [];
	for (let i = 0, j = 0; i < letters.length || j < now.length; ) {
		const { both, came } = choices(i, j);
		const least = cost[i]![j]!;
		if (both === least) {
			if (swap(i, j) > 0) changed.push(now[j]![0]);
			i++;
			j++;
		} else if (came === least) changed.push(now[j++]![0]);
		else i++;
	}
	return changed;
}
