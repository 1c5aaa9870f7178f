/** `reenter check`. */
import { parseSchedule } from "../../check/check.ts";
import { ConfigurationError, parseConfiguration } from "../../check/configuration.ts";
import type { CheckResult, SearchOptions } from "../../check/types.ts";
import type { MceHandler } from "../../host/mce.ts";
import type { CpuModel, Vendor } from "../../silicon/models/model.ts";
import type { CommonOptions, Context } from "../context.ts";
import { EXIT, UsageError } from "../io.ts";
import { progressLine } from "../output.ts";
import { mceHandlerOption, patchOption, type Registry } from "../registry.ts";
import { type ResultArguments, addResultOptions, emitResults } from "../results.ts";
import { resolveComparison, resolveTargets, resolveTree } from "../resolve.ts";

/** More events than this are more than a day's work. */
const EVENTS_LIMIT = 3;

interface CheckArguments extends CommonOptions, ResultArguments {
	readonly base?: string;
	readonly patch?: readonly string[];
	readonly vendor?: string;
	readonly cpu?: string;
	readonly replay?: string;
	readonly config?: string;
	readonly maxEvents?: string;
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
	const eventsMax = parseEventsMax(options.maxEvents);
	const results: CheckResult[] = resolveTargets(patched, options.vendor, options.cpu).map(
		({ tree, vendor, model }) => {
			const asked = {
				tree,
				base,
				vendor,
				model,
				mceHandler: options.mceHandler,
				...parseConfigurations(options.config, vendor, model),
				...(only === undefined ? {} : { only }),
				onProgress: progressLine(io, `${tree.name} on ${tree.loadedModule ?? vendor}`),
			};
			return eventsMax === undefined ? services.runCheck(asked) : services.runSearch({ ...asked, eventsMax });
		},
	);
	emitResults(context, results, options);
	return results.every(({ verdict }) => verdict === "holds") ? EXIT.holds : EXIT.violated;
}

/** `--max-events`. */
function parseEventsMax(text: string | undefined): number | undefined {
	if (text === undefined) return undefined;
	const count = Number(text);
	if (!Number.isInteger(count) || count < 0 || count > EVENTS_LIMIT)
		throw new UsageError(`--max-events "${text}" is no number from 0 to ${EVENTS_LIMIT}`);
	return count;
}

/** `--config`: pairs, all, or the name of one. */
function parseConfigurations(
	config: string | undefined,
	vendor: Vendor,
	model: CpuModel,
): Pick<SearchOptions, "configuration" | "configurations"> {
	if (config === undefined || config === "pairs") return { configurations: "pairs" };
	if (config === "all") return { configurations: "all" };
	try {
		return { configurations: "pairs", configuration: parseConfiguration(config, vendor, model) };
	} catch (error) {
		if (error instanceof ConfigurationError) throw new UsageError(error.message);
		throw error;
	}
}

/** Adds `reenter check`. */
export function registerCheck({ context, command, action }: Registry): void {
	const check = command("check [tree]", "one event of each kind at every op, against the properties")
		.addOption(patchOption())
		.option("--vendor <vendor>", "vmx, svm, tdx or a vendor module of the tree; default all")
		.option("--cpu <model>", "CPU model")
		.option("--base <tree>", "the tree that explains what was skipped; default what is patched, or v6.18")
		.option("--max-events <k>", "search all placements of up to k events, 0 to 3, over configurations")
		.option("--config <name>", "pairs: a set that covers all pairs; all; or one, as xcr0=host,pke=off")
		.option("--replay <schedule>", "only this schedule, for example irq@57")
		.addOption(mceHandlerOption());
	addResultOptions(check).action(
		action((tree: string | undefined, options: CheckArguments) => checkCommand(context, tree, options)),
	);
}
