/** `reenter check`. */
import { ConfigurationError, DEFAULT_CONFIGURATION, parseFactors } from "../../check/configuration.ts";
import { USUAL_EVENTS_MAX } from "../../check/plan.ts";
import type { CheckGuest, CheckOptions } from "../../check/types.ts";
import type { MceHandler } from "../../host/mce.ts";
import type { CpuModel, Vendor } from "../../silicon/models/model.ts";
import type { CommonOptions, Context } from "../context.ts";
import { EXIT, UsageError } from "../io.ts";
import { wholeNumber } from "../numbers.ts";
import { checkProgress } from "../progress.ts";
import { readSchedule } from "../schedule.ts";
import type { CheckRequest } from "../pool/checks.ts";
import {
	type JobsArguments,
	guestOption,
	jobsOption,
	mceHandlerOption,
	patchOption,
	type Registry,
} from "../registry.ts";
import { type ResultArguments, addResultOptions, emitResults } from "../results.ts";
import { resolveComparison, resolveTargets, resolveTree } from "../resolve.ts";

/** More events than this are more than a day's work. */
const EVENTS_LIMIT = 3;

interface CheckArguments extends CommonOptions, ResultArguments, JobsArguments {
	readonly base?: string;
	readonly patch?: readonly string[];
	readonly vendor?: string;
	readonly cpu?: string;
	readonly replay?: string;
	readonly config: string;
	readonly maxEvents: string;
	readonly guest: CheckGuest;
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
	const only = options.replay === undefined ? undefined : readSchedule("--replay", options.replay);
	const eventsMax = wholeNumber("--max-events", options.maxEvents, 0, EVENTS_LIMIT);
	const targets = resolveTargets(patched, options.vendor, options.cpu);
	const requests = targets.map(({ tree, vendor, model }): CheckRequest => {
		const name = tree.loadedModule ?? vendor;
		return {
			words: { spec, patch: options.patch, vendor: name, cpu: options.cpu },
			options: {
				tree,
				base,
				vendor,
				model,
				eventsMax,
				guest: options.guest,
				...parseConfigurations(options.config, options.mceHandler, vendor, model),
				...(only === undefined ? {} : { only }),
			},
		};
	});
	const names = requests.map(({ words }) => words.vendor).join(", ");
	const results =
		only === undefined
			? await services.runChecks(io, requests, {
					threads: options.jobs ?? services.threads,
					onProgress: checkProgress(context, `${patched.name} on ${names}`),
				})
			: requests.map((request) => services.runCheck(request.options));
	emitResults(context, results, options);
	return results.every(({ verdict }) => verdict === "holds") ? EXIT.holds : EXIT.violated;
}

/** `--config`: wide, pairs, all, or the name of one; with `--mce-handler`, which one may name as well. */
function parseConfigurations(
	config: string,
	mceHandler: MceHandler,
	vendor: Vendor,
	model: CpuModel,
): Pick<CheckOptions, "mceHandler" | "configuration" | "configurations"> {
	if (config === "")
		throw new UsageError('--config "" is no name; write wide, pairs, all, default, or factor=value');
	if (config === "wide" || config === "pairs" || config === "all")
		return { mceHandler, configurations: config };
	try {
		const configuration = { ...DEFAULT_CONFIGURATION, mceHandler, ...parseFactors(config, vendor, model) };
		if (mceHandler !== DEFAULT_CONFIGURATION.mceHandler && configuration.mceHandler !== mceHandler)
			throw new UsageError(
				`--mce-handler ${mceHandler} and --config mceHandler=${configuration.mceHandler}: give one of them`,
			);
		return { mceHandler: configuration.mceHandler, configuration };
	} catch (error) {
		if (error instanceof ConfigurationError) throw new UsageError(error.message);
		throw error;
	}
}

/** Adds `reenter check`. */
export function registerCheck({ context, command, action }: Registry): void {
	const check = command("check [tree]", "all placements of events at every op, against the properties")
		.addOption(patchOption())
		.option("--vendor <vendor>", "vmx, svm, tdx or a vendor module of the tree; default all")
		.option("--cpu <model>", "CPU model")
		.option("--base <tree>", "the tree that explains what was skipped; default what is patched, or v6.18")
		.option("--max-events <k>", "events of a run, at most: 0 to 3", String(USUAL_EVENTS_MAX))
		.option(
			"--config <name>",
			"wide: k events in the default configuration (on TDX also with neighbour=vm), 1 in a set that covers all pairs; pairs: k in that set; all; or one, as xcr0=host,pke=off",
			"wide",
		)
		.addOption(guestOption())
		.addOption(jobsOption())
		.option("--replay <schedule>", "only this schedule, for example irq@57")
		.addOption(mceHandlerOption());
	addResultOptions(check).action(
		action((tree: string | undefined, options: CheckArguments) => checkCommand(context, tree, options)),
	);
}
