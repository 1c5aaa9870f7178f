/** `reenter trees`, `show`, `diff` and `models`. */
import { diffTrees } from "../../kvm/flow/diff.ts";
import { hint } from "../../kvm/flow/patch.ts";
import { BUILT_IN_TREES } from "../../kvm/trees/trees.ts";
import { MODELS } from "../../silicon/models/models.ts";
import { EXIT, UsageError } from "../io.ts";
import type { CommonOptions, Context } from "../context.ts";
import { emit } from "../output.ts";
import type { Registry } from "../registry.ts";
import { resolveModel, resolveTree } from "../resolve.ts";
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

function showCommand(
	{ io, style }: Context,
	spec: string,
	flowName: string | undefined,
	options: CommonOptions,
): number {
	const tree = resolveTree(io, spec);
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
		}),
	);
	return EXIT.holds;
}

function diffCommand({ io, style }: Context, a: string, b: string, options: CommonOptions): number {
	const difference = diffTrees(resolveTree(io, a), resolveTree(io, b));
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

/** Adds `reenter trees`. */
export function registerTrees({ context, command, action }: Registry): void {
	command("trees", "the built-in trees and their patches").action(
		action((options: CommonOptions) => treesCommand(context, options)),
	);
}

/** Adds `reenter show`. */
export function registerShow({ context, command, action }: Registry): void {
	command("show <tree> [flow]", "the steps of a tree, or of one kernel function").action(
		action((tree: string, flow: string | undefined, options: CommonOptions) =>
			showCommand(context, tree, flow, options),
		),
	);
}

/** Adds `reenter diff`. */
export function registerDiff({ context, command, action }: Registry): void {
	command("diff <a> <b>", "what moved between two trees, from where to where").action(
		action((a: string, b: string, options: CommonOptions) => diffCommand(context, a, b, options)),
	);
}

/** Adds `reenter models`. */
export function registerModels({ context, command, action }: Registry): void {
	command("models [model]", "CPU models: features, and the cost of each op with its source").action(
		action((model: string | undefined, options: CommonOptions) => modelsCommand(context, model, options)),
	);
}
