/** From the words of a command line to trees, models and vendors. */
import { dirname, join, normalize } from "node:path";
import { FlowError } from "../kvm/flow/errors.ts";
import type { Tree } from "../kvm/flow/flow.ts";
import { hint } from "../kvm/flow/patch.ts";
import { selectVendor, vendorNames } from "../kvm/flow/vendor-module.ts";
import { type PatchFile, applyPatchFile, patchHead } from "../kvm/patch/patch-file.ts";
import { v618 } from "../kvm/trees/base.ts";
import { BUILT_IN_TREES, findTree } from "../kvm/trees/trees.ts";
import { defaultModel } from "../review/review.ts";
import { MODELS, findModel } from "../silicon/models/models.ts";
import type { CpuModel, Vendor } from "../silicon/models/model.ts";
import { type Io, UsageError } from "./io.ts";
import { isPatchFile, loadPatchFile } from "./patch-source.ts";

/**
 * A tree by its name, or from a patch file; with --patch, files applied to it in turn.
 * @param spec a built-in tree or a patch file; undefined: the base that the first patch names
 * @throws FlowError, UsageError with one line
 */
export async function resolveTree(
	io: Io,
	spec: string | undefined,
	patches: readonly string[] = [],
): Promise<Tree> {
	return treeOf(io, spec, patches, []);
}

/** @param above files that stand on what is asked for */
async function treeOf(
	io: Io,
	spec: string | undefined,
	patches: readonly string[],
	above: readonly string[],
): Promise<Tree> {
	const files: readonly string[] = spec !== undefined && isPatchFile(spec) ? [spec, ...patches] : patches;
	if (files.length === 0) return spec === undefined ? v618 : findTree(spec);
	let tree: Tree | null = spec === undefined || isPatchFile(spec) ? null : findTree(spec);
	const given = tree;
	let firstBase = "";
	for (const path of files) {
		const file = await loadPatchFile(io, path);
		const { base } = patchHead(file);
		if (tree === null) {
			tree = await resolveBase(io, base ?? v618.name, path, file, above);
			firstBase = base ?? v618.name;
		} else if (given === null && base !== undefined && base !== firstBase && base !== tree.name) {
			throw new FlowError(
				`${file.locate(["base"])}: base: it is made for ${base}, and stands behind ${tree.name}, which is on ${firstBase}; name the tree to apply both to`,
				true,
			);
		}
		tree = applyPatchFile(file, tree, libraries());
	}
	const words = [
		...(given === null ? [] : [given.name]),
		...files.map((path) => `--patch ${shellWord(path)}`),
	];
	return {
		...tree!,
		spec: spec !== undefined && files.length === 1 && given === null ? shellWord(spec) : words.join(" "),
	};
}

/** A word as a shell takes it. */
function shellWord(word: string): string {
	return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/** Trees whose steps a patch may insert. */
function libraries(): readonly Tree[] {
	return BUILT_IN_TREES.map(({ name }) => findTree(name));
}

/** The base that a patch file names: a tree, or a file beside it. @param above files that stand on this one */
async function resolveBase(
	io: Io,
	base: string,
	path: string,
	file: PatchFile,
	above: readonly string[] = [],
): Promise<Tree> {
	if (isPatchFile(base)) {
		const beside = join(dirname(path), base);
		const standing = [...above, normalize(path)];
		if (standing.includes(beside))
			throw new FlowError(`${file.locate(["base"])}: base: ${beside} stands on this file in turn`, true);
		return treeOf(io, beside, [], standing);
	}
	try {
		return findTree(base);
	} catch (error) {
		if (!(error instanceof FlowError)) throw error;
		throw new FlowError(`${file.locate(["base"])}: base: ${error.message}`, true);
	}
}

/**
 * The tree to compare with: the one that is named, or else what patches are applied to, or v6.18.
 * @param named what --base says
 */
export async function resolveComparison(
	io: Io,
	named: string | undefined,
	spec: string | undefined,
	patches: readonly string[] = [],
): Promise<Tree> {
	if (named !== undefined) return resolveTree(io, named);
	if (spec !== undefined && isPatchFile(spec)) return baseOf(io, undefined, [spec]);
	return patches.length > 0 ? baseOf(io, spec, patches) : v618;
}

/** The tree that patches are applied to. */
export async function baseOf(
	io: Io,
	spec: string | undefined,
	[first = ""]: readonly string[],
): Promise<Tree> {
	if (spec !== undefined) return resolveTree(io, spec);
	const file = await loadPatchFile(io, first);
	return resolveBase(io, patchHead(file).base ?? v618.name, first, file);
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

/** A tree on the hardware that it is to run on. */
export interface Target {
	readonly tree: Tree;
	readonly vendor: Vendor;
	readonly model: CpuModel;
}

/**
 * Tree, vendor and model from what was given of them.
 * @param vendorName a vendor, or a vendor module of the tree; undefined: the model's first
 * @throws UsageError if they do not go together
 */
export function resolveTarget(
	tree: Tree,
	vendorName: string | undefined,
	cpu: string | CpuModel | undefined,
	orVendor: Vendor = "vmx",
): Target {
	const named = typeof cpu === "string" ? resolveModel(cpu) : cpu;
	const name = vendorName ?? named?.vendors[0] ?? orVendor;
	const selected = selectVendor(tree, name);
	if (selected === undefined) {
		const names = vendorNames(tree);
		throw new UsageError(`no vendor "${name}"${hint(name, names)}; there are ${names.join(", ")}`);
	}
	const model = named ?? defaultModel(selected.vendor);
	if (!model.vendors.includes(selected.vendor)) {
		throw new UsageError(`${model.name} has no ${selected.vendor}; it has ${model.vendors.join(" and ")}`);
	}
	return { ...selected, model };
}

/** The targets that were asked for: one vendor, those of a CPU model, or all that the tree has. */
export function resolveTargets(
	tree: Tree,
	vendor: string | undefined,
	cpu: string | undefined,
): readonly Target[] {
	if (vendor !== undefined) return [resolveTarget(tree, vendor, cpu)];
	const model = cpu === undefined ? undefined : resolveModel(cpu);
	return vendorNames(tree)
		.filter((name) => model === undefined || model.vendors.includes(selectVendor(tree, name)!.vendor))
		.map((name) => resolveTarget(tree, name, cpu));
}
