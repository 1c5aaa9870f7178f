/** `reenter review`. */
import type { MceHandler } from "../../host/mce.ts";
import type { Tree } from "../../kvm/flow/flow.ts";
import type { CommonOptions, Context } from "../context.ts";
import { EXIT } from "../io.ts";
import { emit } from "../output.ts";
import { checkProgress } from "../progress.ts";
import { mceHandlerOption, patchOption, type Registry } from "../registry.ts";
import { resolveComparison, resolveTargets, resolveTree } from "../resolve.ts";
import { reviewJson, reviewText } from "../text/review.ts";

interface ReviewArguments extends CommonOptions {
	readonly base?: string;
	readonly patch?: readonly string[];
	readonly vendor?: string;
	readonly cpu?: string;
	readonly guest?: string;
	readonly mceHandler: MceHandler;
}

async function reviewCommand(
	context: Context,
	specs: readonly string[],
	options: ReviewArguments,
): Promise<number> {
	const { io, services, style } = context;
	const words = specs.length > 0 ? specs : [options.patch === undefined ? "series-v2" : undefined];
	const pairs: { readonly tree: Tree; readonly base: Tree }[] = [];
	for (const spec of words) {
		const tree = await resolveTree(io, spec, options.patch);
		pairs.push({ tree, base: await resolveComparison(io, options.base, spec, options.patch) });
	}
	const reviews = pairs.map(({ tree, base }) =>
		services.reviewTree({
			tree,
			base,
			targets: resolveTargets(tree, options.vendor, options.cpu),
			mceHandler: options.mceHandler,
			...(options.guest === undefined ? {} : { guest: options.guest }),
			onProgress: (vendor) => checkProgress(context, `${tree.name} on ${vendor}`),
		}),
	);
	emit(
		io,
		options,
		() => reviews.map((review) => reviewText(review, style)).join("\n"),
		() => reviewJson(reviews),
	);
	const violated = reviews.some((review) => review.vendors.some(({ check }) => check.verdict !== "holds"));
	return violated ? EXIT.violated : EXIT.holds;
}

/** Adds `reenter review`. */
export function registerReview({ context, command, action }: Registry): void {
	command("review [trees...]", "for each vendor: is the tree safe, and what does it save")
		.option("--base <tree>", "the tree to compare with; default what is patched, or v6.18")
		.addOption(patchOption())
		.option("--vendor <vendor>", "vmx, svm, tdx or a vendor module of the tree; default all")
		.option("--cpu <model>", "CPU model; default turin for svm, emerald-rapids for vmx and tdx")
		.option("--guest <program>", "the guest whose cost is compared; default invd, td-vmcall for tdx")
		.addOption(mceHandlerOption())
		.action(action((trees: string[], options: ReviewArguments) => reviewCommand(context, trees, options)));
}
