/** `reenter trees`, `show`, `diff` and `models`. */
import { diffTrees } from "../../kvm/flow/diff.ts";
import { hint } from "../../kvm/flow/patch.ts";
import { BUILT_IN_TREES } from "../../kvm/trees/trees.ts";
import { MODELS } from "../../silicon/models/models.ts";
import type { Tree } from "../../kvm/flow/flow.ts";
import { onlyReached, selectVendor } from "../../kvm/flow/vendor-module.ts";
import { EXIT, type Io, UsageError } from "../io.ts";
import { isPatchFile } from "../patch-source.ts";
import type { CommonOptions, Context } from "../context.ts";
import { emit } from "../output.ts";
import { patchOption, type Registry } from "../registry.ts";
import { baseOf, resolveModel, resolveTarget, resolveTree } from "../resolve.ts";
import { modelText } from "../text/cost.ts";
import { diffText, nodeJson, showText, treesText } from "../text/tree.ts";

function treesCommand({ io, style }: Context, options: CommonOptions): number {
	emit(
		io,
		options,
		() => treesText(BUILT_IN_TREES, style),
		() => ({ trees: BUILT_IN_TREES }),
	);
	return EXIT.holds;
}

interface TreeArguments extends CommonOptions {
	readonly patch?: readonly string[];
	readonly vendor?: string;
}

async function showCommand(
	{ io, style }: Context,
	words: readonly string[],
	options: TreeArguments,
): Promise<number> {
	// With --patch the tree may be left out, and one word is the flow.
	const [spec, flowName] = options.patch !== undefined && words.length === 1 ? [undefined, ...words] : words;
	if (spec === undefined && options.patch === undefined)
		throw new UsageError("show needs a tree or --patch; reenter trees lists the built-in ones");
	const tree = await resolveTree(io, spec, options.patch);
	const flows =
		flowName === undefined
			? [...tree.flows.values()]
			: [...tree.flows.values()].filter(({ name }) => name === flowName);
	if (flows.length === 0) {
		throw new UsageError(`${tree.name} has no flow "${flowName}"${hint(flowName!, tree.flows.keys())}`);
	}
	emit(
		io,
		options,
		() => showText(tree, flows, style),
		() => ({
			tree: tree.name,
			title: tree.title,
			flows: flows.map(({ name, file, body }) => ({ name, file, body: body.map(nodeJson) })),
			ops: tree.ops,
			vendorModules: tree.vendorModules,
		}),
	);
	return EXIT.holds;
}

/** The two trees of a diff: what --patch changes, or two that are named. */
async function sidesOf(io: Io, words: readonly string[], patches?: readonly string[]): Promise<[Tree, Tree]> {
	const [first, second] = words;
	if (patches !== undefined) {
		if (second !== undefined) throw new UsageError("diff with --patch takes one tree, the one to patch");
		const patched = await resolveTree(io, first, patches);
		return [await baseOf(io, first, patches), patched];
	}
	if (first !== undefined && second !== undefined)
		return [await resolveTree(io, first), await resolveTree(io, second)];
	if (first !== undefined && isPatchFile(first))
		return [await baseOf(io, undefined, [first]), await resolveTree(io, first)];
	throw new UsageError("diff needs two trees, or --patch");
}

async function diffCommand(
	{ io, style }: Context,
	words: readonly string[],
	options: TreeArguments,
): Promise<number> {
	let [a, b] = await sidesOf(io, words, options.patch);
	if (options.vendor !== undefined) {
		const target = resolveTarget(b, options.vendor, undefined);
		b = onlyReached(target);
		a = onlyReached(selectVendor(a, options.vendor) ?? { tree: a, vendor: target.vendor });
	}
	const difference = diffTrees(a, b);
	emit(
		io,
		options,
		() => diffText(difference, style),
		() => difference,
	);
	return EXIT.holds;
}

function modelsCommand({ io, style }: Context, name: string | undefined, options: CommonOptions): number {
	const models = name === undefined ? Object.values(MODELS) : [resolveModel(name)];
	emit(
		io,
		options,
		() => models.map((model) => modelText(model, style)).join("\n"),
		() => ({ models }),
	);
	return EXIT.holds;
}

const given = (...words: (string | undefined)[]) => words.filter((word) => word !== undefined);

/** Adds `reenter trees`. */
export function registerTrees({ context, command, action }: Registry): void {
	command("trees", "the built-in trees and their patches").action(
		action((options: CommonOptions) => treesCommand(context, options)),
	);
}

/** Adds `reenter show`. */
export function registerShow({ context, command, action }: Registry): void {
	command("show [tree] [flow]", "the steps of a tree, or of one kernel function")
		.addOption(patchOption())
		.action(
			action((tree: string | undefined, flow: string | undefined, options: TreeArguments) =>
				showCommand(context, given(tree, flow), options),
			),
		);
}

/** Adds `reenter diff`. */
export function registerDiff({ context, command, action }: Registry): void {
	command("diff [a] [b]", "what moved between two trees, or by a patch, from where to where")
		.addOption(patchOption())
		.option("--vendor <vendor>", "only what this vendor runs: vmx, svm, tdx or a vendor module of the tree")
		.action(
			action((a: string | undefined, b: string | undefined, options: TreeArguments) =>
				diffCommand(context, given(a, b), options),
			),
		);
}

/** Adds `reenter models`. */
export function registerModels({ context, command, action }: Registry): void {
	command("models [model]", "CPU models: features, and the cost of each op with its source").action(
		action((model: string | undefined, options: CommonOptions) => modelsCommand(context, model, options)),
	);
}
