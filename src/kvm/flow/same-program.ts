/** Whether two trees are one program on a vendor: what is found in one is found in the other. */
import { HELPER_FLOWS, moduleOf } from "./compile.ts";
import { onlyReached, type VendorTree } from "./vendor-module.ts";

/** Whether two values are made of the same: functions and other primitives by identity, the rest part by part. */
function isSame(a: unknown, b: unknown): boolean {
	if (a === b) return true;
	if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
	const [left, right] = [Object.entries(a), Object.entries(b)];
	return (
		left.length === right.length &&
		left.every(([name, value], at) => right[at]![0] === name && isSame(value, right[at]![1]))
	);
}

/**
 * Whether the flows that a vendor runs are the same in two trees: their names, their nodes with their names and functions,
 * and who is called. Functions are the same if they are one: a false answer may be wrong, a true one is not.
 */
export function isSameProgram(a: VendorTree, b: VendorTree): boolean {
	return isSameFrom(a, b);
}

/**
 * The same of the flows that are called from outside of the run loop, all that a machine runs before the first KVM_RUN: it
 * starts the same under both trees.
 */
export function startsAlike(a: VendorTree, b: VendorTree): boolean {
	return isSameFrom(a, b, HELPER_FLOWS);
}

function isSameFrom(a: VendorTree, b: VendorTree, entries?: readonly string[]): boolean {
	if (a.vendor !== b.vendor) return false;
	const module = moduleOf(a.vendor);
	const [left, right] = [onlyReached(a, entries), onlyReached(b, entries)];
	if (!isSame({ ...left.ops[module] }, { ...right.ops[module] })) return false;
	if (left.flows.size !== right.flows.size || !isSame(left.customOps, right.customOps)) return false;
	return [...left.flows].every(([name, flow]) => isSame(flow, right.flows.get(name)));
}
