/** `reenter trees`, `show` and `models`. */
import { hint } from "../../kvm/flow/patch.ts";
import { BUILT_IN_TREES } from "../../kvm/trees/trees.ts";
import { MODELS } from "../../silicon/models/models.ts";
import { EXIT, UsageError } from "../io.ts";
import type { CommonOptions, Context } from "../context.ts";
import { emit } from "../output.ts";
import { patchOption, type Registry } from "../registry.ts";
import { resolveModel, resolveTree } from "../resolve.ts";
import { modelText } from "../text/cost.ts";
import { nodeJson, showText, treesText } from "../text/tree.ts";

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

/** Adds `reenter models`. */
export function registerModels({ context, command, action }: Registry): void {
	command("models [model]", "CPU models: features, and the cost of each op with its source").action(
		action((model: string | undefined, options: CommonOptions) => modelsCommand(context, model, options)),
	);
}
