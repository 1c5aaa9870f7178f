/** `reenter review`, `check` and `cost`. */
import { parseSchedule } from "../../check/check.ts";
import type { CheckResult } from "../../check/types.ts";
import type { MceHandler } from "../../host/mce.ts";
import { VENDORS, defaultModel } from "../../review/review.ts";
import type { Vendor } from "../../silicon/models/model.ts";
import { EXIT, UsageError } from "../io.ts";
import type { CommonOptions, Context } from "../context.ts";
import { emit, progressLine } from "../output.ts";
import { resolveCpu, resolveModel, resolveTree, resolveVendor } from "../resolve.ts";
import { checkJson, checkText } from "../text/check.ts";
import { costText } from "../text/cost.ts";
import { reviewJson, reviewText } from "../text/review.ts";

interface ReviewArguments extends CommonOptions {
	readonly base: string;
	readonly vendor?: string;
	readonly cpu?: string;
	readonly guest?: string;
	readonly mceHandler: MceHandler;
}

/** Vendors that were asked for: one, those of a CPU model, or all. */
function vendorsFor(vendor: string | undefined, cpu: string | undefined): readonly Vendor[] {
	if (vendor !== undefined) return [resolveCpu(cpu, vendor).vendor];
	return cpu === undefined ? VENDORS : resolveModel(cpu).vendors;
}

/** `reenter review`. */
export function reviewCommand(context: Context, specs: readonly string[], options: ReviewArguments): number {
	const { io, services, style } = context;
	const base = resolveTree(io, options.base);
	const trees = (specs.length === 0 ? ["series-v2"] : specs).map((spec) => resolveTree(io, spec));
	const vendors = vendorsFor(options.vendor, options.cpu);
	const model = options.cpu === undefined ? undefined : resolveModel(options.cpu);
	const reviews = trees.map((tree) =>
		services.reviewTree({
			tree,
			base,
			vendors,
			mceHandler: options.mceHandler,
			...(model === undefined ? {} : { model }),
			...(options.guest === undefined ? {} : { guest: options.guest }),
			onProgress: (vendor, done, total) => progressLine(io, `${tree.name} on ${vendor}`)(done, total),
		}),
	);
	emit(
		io,
		options,
		() => reviews.map((review) => reviewText(review, style)).join("\n"),
		() => reviewJson(reviews),
	);
	const violated = reviews.some((review) => review.vendors.some(({ check }) => check.verdict === "violated"));
	return violated ? EXIT.violated : EXIT.holds;
}

interface CheckArguments extends CommonOptions {
	readonly base: string;
	readonly vendor?: string;
	readonly cpu?: string;
	readonly replay?: string;
	readonly full?: boolean;
	readonly mceHandler: MceHandler;
}

/** `reenter check`. */
export function checkCommand(context: Context, spec: string, options: CheckArguments): number {
	const { io, services, style } = context;
	const tree = resolveTree(io, spec);
	const base = resolveTree(io, options.base);
	const only = options.replay === undefined ? undefined : parseSchedule(options.replay);
	if (only === null)
		throw new UsageError(`--replay "${options.replay}" is no schedule; write for example irq@57`);
	const results: CheckResult[] = vendorsFor(options.vendor, options.cpu).map((vendor) =>
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

interface CostArguments extends CommonOptions {
	readonly cpu?: string;
	readonly tree: string;
	readonly vendor?: string;
	readonly pke?: boolean;
	readonly osxsave: boolean;
	readonly xcr0?: string;
	readonly xss?: string;
}

/** A register mask of the command line: a number, or the host's value. */
function mask(flag: string, text: string | undefined, host: number): number | undefined {
	if (text === undefined) return undefined;
	if (text === "host") return host;
	const value = Number(text);
	if (!Number.isSafeInteger(value) || value < 0)
		throw new UsageError(`--${flag} "${text}" is no mask; write for example 0x7, or host`);
	return value;
}

/** `reenter cost`. */
export function costCommand(context: Context, guest: string, options: CostArguments): number {
	const { io, services, style } = context;
	const { model, vendor } = resolveCpu(
		options.cpu,
		options.vendor === undefined ? undefined : resolveVendor(options.vendor),
	);
	const xcr0 = mask("xcr0", options.xcr0, model.features.xcr0);
	const xss = mask("xss", options.xss, model.features.xss);
	const cost = services.measureCost({
		guest,
		tree: resolveTree(io, options.tree),
		vendor,
		model,
		osxsave: options.osxsave,
		pke: options.pke === true,
		...(xcr0 === undefined ? {} : { xcr0 }),
		...(xss === undefined ? {} : { xss }),
	});
	emit(
		io,
		options,
		() => costText(cost, model, style),
		() => cost,
	);
	return EXIT.holds;
}
