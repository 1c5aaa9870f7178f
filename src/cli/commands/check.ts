/** `reenter check`. */
import { parseSchedule } from "../../check/check.ts";
import type { CheckResult } from "../../check/types.ts";
import type { MceHandler } from "../../host/mce.ts";
import { defaultModel } from "../../review/review.ts";
import type { CommonOptions, Context } from "../context.ts";
import { EXIT, UsageError } from "../io.ts";
import { emit, progressLine } from "../output.ts";
import { mceHandlerOption, type Registry } from "../registry.ts";
import { resolveModel, resolveTree, resolveVendors } from "../resolve.ts";
import { checkJson, checkText } from "../text/check.ts";

interface CheckArguments extends CommonOptions {
	readonly base: string;
	readonly vendor?: string;
	readonly cpu?: string;
	readonly replay?: string;
	readonly full?: boolean;
	readonly mceHandler: MceHandler;
}

function checkCommand(context: Context, spec: string, options: CheckArguments): number {
	const { io, services, style } = context;
	const tree = resolveTree(io, spec);
	const base = resolveTree(io, options.base);
	const only = options.replay === undefined ? undefined : parseSchedule(options.replay);
	if (only === null)
		throw new UsageError(`--replay "${options.replay}" is no schedule; write for example irq@57`);
	const results: CheckResult[] = resolveVendors(options.vendor, options.cpu).map((vendor) =>
		services.runCheck({
			tree,
			base,
			vendor,
			model: options.cpu === undefined ? defaultModel(vendor) : resolveModel(options.cpu),
			mceHandler: options.mceHandler,
			...(only === undefined ? {} : { only }),
			onProgress: progressLine(io, `${tree.name} on ${vendor}`),
		}),
	);
	const text = () => results.map((result) => checkText(result, style, options.full === true)).join("\n");
	emit(io, options, text, () => checkJson(results));
	return results.some(({ verdict }) => verdict === "violated") ? EXIT.violated : EXIT.holds;
}

/** Adds `reenter check`. */
export function registerCheck({ context, command, action }: Registry): void {
	command("check <tree>", "one event of each kind at every op, against the properties")
		.option("--vendor <vendor>", "vmx, svm or tdx; default all")
		.option("--cpu <model>", "CPU model")
		.option("--base <tree>", "the tree that explains what was skipped", "v6.18")
		.option("--replay <schedule>", "only this schedule, for example irq@57")
		.option("--full", "print every step of a counterexample")
		.addOption(mceHandlerOption())
		.action(action((tree: string, options: CheckArguments) => checkCommand(context, tree, options)));
}
