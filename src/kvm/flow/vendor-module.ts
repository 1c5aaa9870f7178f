/** Vendor modules out of tree: a patch's kvm_x86_ops in place of kvm_intel's or kvm_amd's. */
import { VENDORS, type Vendor } from "../../silicon/models/model.ts";
import { ENTRY_FLOW, HELPER_FLOWS, moduleOf } from "./compile.ts";
import { type Flow, type Tree, walk } from "./flow.ts";

/** A tree as one vendor runs it. */
export interface VendorTree {
	readonly tree: Tree;
	/** The hardware. */
	readonly vendor: Vendor;
}

/** The names that `selectVendor` takes for a tree. */
export function vendorNames(tree: Tree): readonly string[] {
	return [...VENDORS, ...tree.vendorModules.map(({ name }) => name)];
}

/**
 * Loads a vendor module: the tree with its kvm_x86_ops in force, and the vendor whose hardware it runs on.
 * @param name a vendor, or one of the tree's vendor modules
 * @returns undefined if the tree has no such vendor
 */
export function selectVendor(tree: Tree, name: string): VendorTree | undefined {
	const known = VENDORS.find((vendor) => vendor === name);
	if (known !== undefined) return { tree, vendor: known };
	const module = tree.vendorModules.find((one) => one.name === name);
	if (module === undefined) return undefined;
	const replaced = moduleOf(module.basedOn);
	const ops = { ...tree.ops, [replaced]: { ...tree.ops[replaced], ...module.ops } };
	return { tree: { ...tree, ops, loadedModule: name }, vendor: module.basedOn };
}

/**
 * A tree without the flows that this vendor never runs, and without the other module's kvm_x86_ops: to compare, not to run.
 * @param entries flows that are called from outside
 */
export function onlyReached(
	{ tree, vendor }: VendorTree,
	entries: readonly string[] = [ENTRY_FLOW, ...HELPER_FLOWS],
): Tree {
	const module = moduleOf(vendor);
	const flows = new Map<string, Flow>();
	const visit = (name: string) => {
		const flow = tree.flows.get(name);
		if (flow === undefined || flows.has(name)) return;
		flows.set(name, flow);
		for (const node of walk(flow.body))
			if (node.kind === "call")
				visit(typeof node.flow === "string" ? node.flow : tree.ops[module][node.flow.op]);
	};
	for (const name of entries) visit(name);
	const other = module === "kvm_amd" ? "kvm_intel" : "kvm_amd";
	const none = {} as Tree["ops"][typeof other];
	return { ...tree, flows, ops: { ...tree.ops, [other]: none } };
}
