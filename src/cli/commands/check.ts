/** `reenter check`. */
import { parseSchedule } from "../../check/check.ts";
import type { CheckResult } from "../../check/types.ts";
import type { MceHandler } from "../../host/mce.ts";
import type { CommonOptions, Context } from "../context.ts";
import { EXIT, UsageError } from "../io.ts";
import { progressLine } from "../output.ts";
import { mceHandlerOption, patchOption, type Registry } from "../registry.ts";
import { type ResultArguments, addResultOptions, emitResults } from "../results.ts";
import { resolveComparison, resolveTargets, resolveTree } from "../resolve.ts";

interface CheckArguments extends CommonOptions, ResultArguments {
	readonly base?: string;
	readonly patch?: readonly string[];
	readonly vendor?: string;
	readonly cpu?: string;
	readonly replay?: string;
	readonly mceHandler: MceHandler;
}

async function checkCommand(
	context: Context,
	spec: string | undefined,
	options: CheckArguments,
): Promise<number> {
	const { io, services } = context;
	if (spec === undefined && options.patch === undefined)
		throw new UsageError("check needs a tree or --patch; reenter trees lists the built-in ones");
	const patched = await resolveTree(io, spec, options.patch);
	const base = await resolveComparison(io, options.base, spec, options.patch);
	const only = options.replay === undefined ? undefined : parseSchedule(options.replay);
	if (only === null)
		throw new UsageError(`--replay "${options.replay}" is no schedule; write for example irq@57`);
	const results: CheckResult[] = resolveTargets(patched, options.vendor, options.cpu).map(
		({ tree, vendor, model }) =>
			services.runCheck({
				tree,
				base,
				vendor,
				model,
				mceHandler: options.mceHandler,
				...(only === undefined ? {} : { only }),
				onProgress: progressLine(io, `${tree.name} on ${tree.loadedModule ?? vendor}`),
			}),
	);
	emitResults(context, results, options);
	return results.some(({ verdict }) => verdict === "violated") ? EXIT.violated : EXIT.holds;
}

/** Adds `reenter check`. */
export function registerCheck({ context, command, action }: Registry): void {
	const check = command("check [tree]", "one event of each kind at every op, against the properties")
		.addOption(patchOption())
		.option("--vendor <vendor>", "vmx, svm, tdx or a vendor module of the tree; default all")
		.option("--cpu <model>", "CPU model")
		.option("--base <tree>", "the tree that explains what was skipped; default what is patched, or v6.18")
		.option("--replay <schedule>", "only this schedule, for example irq@57")
		.addOption(mceHandlerOption());
	addResultOptions(check).action(
		action((tree: string | undefined, options: CheckArguments) => checkCommand(context, tree, options)),
	);
}
