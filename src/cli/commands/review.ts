/** `reenter review`. */
import type { MceHandler } from "../../host/mce.ts";
import type { CommonOptions, Context } from "../context.ts";
import { EXIT } from "../io.ts";
import { emit, progressLine } from "../output.ts";
import { mceHandlerOption, type Registry } from "../registry.ts";
import { resolveModel, resolveTree, resolveVendors } from "../resolve.ts";
import { reviewJson, reviewText } from "../text/review.ts";

interface ReviewArguments extends CommonOptions {
	readonly base: string;
	readonly vendor?: string;
	readonly cpu?: string;
	readonly guest?: string;
	readonly mceHandler: MceHandler;
}

function reviewCommand(context: Context, specs: readonly string[], options: ReviewArguments): number {
	const { io, services, style } = context;
	const base = resolveTree(io, options.base);
	const trees = (specs.length === 0 ? ["series-v2"] : specs).map((spec) => resolveTree(io, spec));
	const vendors = resolveVendors(options.vendor, options.cpu);
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

/** Adds `reenter review`. */
export function registerReview({ context, command, action }: Registry): void {
	command("review [trees...]", "for each vendor: is the tree safe, and what does it save")
		.option("--base <tree>", "the tree to compare with", "v6.18")
		.option("--vendor <vendor>", "vmx, svm or tdx; default all")
		.option("--cpu <model>", "CPU model; default turin for svm, emerald-rapids for vmx and tdx")
		.option("--guest <program>", "the guest whose cost is compared; default invd, td-vmcall for tdx")
		.addOption(mceHandlerOption())
		.action(action((trees: string[], options: ReviewArguments) => reviewCommand(context, trees, options)));
}
