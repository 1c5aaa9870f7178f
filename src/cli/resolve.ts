/** From the words of a command line to trees, models and vendors. */
import { FlowError } from "../kvm/flow/errors.ts";
import type { Tree } from "../kvm/flow/flow.ts";
import { parsePatchFile } from "../kvm/flow/patch-file.ts";
import { hint } from "../kvm/flow/patch.ts";
import { BUILT_IN_TREES, findTree } from "../kvm/trees/trees.ts";
import { VENDORS, defaultModel } from "../review/review.ts";
import { MODELS, findModel } from "../silicon/models/models.ts";
import type { CpuModel, Vendor } from "../silicon/models/model.ts";
import { type Io, UsageError } from "./io.ts";

/** Reads a file that the user named. @throws UsageError with one line */
export function readUserFile(io: Io, path: string): Uint8Array {
	try {
		return io.readFile(path);
	} catch (error) {
		throw new UsageError(
			`${path}: cannot be read: ${error instanceof Error ? error.message : String(error)}`,
		);
	}
}

/** A tree by its name, or from a patch file (a path that ends in .json). */
export function resolveTree(io: Io, spec: string): Tree {
	if (!spec.endsWith(".json")) return findTree(spec);
	const text = new TextDecoder().decode(readUserFile(io, spec));
	let document: unknown;
	try {
		document = JSON.parse(text);
	} catch (error) {
		throw new FlowError(`${spec}: not JSON: ${error instanceof Error ? error.message : String(error)}`);
	}
	return parsePatchFile(
		document,
		spec,
		findTree,
		BUILT_IN_TREES.map(({ name }) => findTree(name)),
	);
}

/** A vendor by its name. */
export function resolveVendor(name: string): Vendor {
	const vendor = VENDORS.find((candidate) => candidate === name);
	if (vendor === undefined)
		throw new UsageError(`no vendor "${name}"${hint(name, VENDORS)}; there are ${VENDORS.join(", ")}`);
	return vendor;
}

/** A CPU model by its name. */
export function resolveModel(name: string): CpuModel {
	const model = findModel(name);
	if (model === undefined) {
		const names = Object.keys(MODELS);
		throw new UsageError(`no CPU model "${name}"${hint(name, names)}; there are ${names.join(", ")}`);
	}
	return model;
}

/** Model and vendor from what was given of them. @throws UsageError if they do not go together */
export function resolveCpu(
	cpu: string | undefined,
	vendorName: string | undefined,
): { model: CpuModel; vendor: Vendor } {
	const vendor = vendorName === undefined ? undefined : resolveVendor(vendorName);
	const model = cpu === undefined ? defaultModel(vendor ?? "vmx") : resolveModel(cpu);
	const chosen = vendor ?? model.vendors[0]!;
	if (!model.vendors.includes(chosen)) {
		throw new UsageError(`${model.name} has no ${chosen}; it has ${model.vendors.join(" and ")}`);
	}
	return { model, vendor: chosen };
}

/** Vendors that were asked for: one, those of a CPU model, or all. */
export function resolveVendors(vendor: string | undefined, cpu: string | undefined): readonly Vendor[] {
	if (vendor !== undefined) return [resolveCpu(cpu, vendor).vendor];
	return cpu === undefined ? VENDORS : resolveModel(cpu).vendors;
}
