/** `reenter review`. */
import type { MceHandler } from "../../host/mce.ts";
import { type ReviewOptions, reviewChecks } from "../../review/review.ts";
import type { CommonOptions, Context } from "../context.ts";
import { EXIT } from "../io.ts";
import type { CheckRequest } from "../pool/checks.ts";
import { emit } from "../output.ts";
import { checkProgress } from "../progress.ts";
import { type JobsArguments, jobsOption, mceHandlerOption, patchOption, type Registry } from "../registry.ts";
import { resolveComparison, resolveTargets, resolveTree } from "../resolve.ts";
import { reviewJson, reviewText } from "../text/review.ts";

interface ReviewArguments extends CommonOptions, JobsArguments {
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
	const asked: { readonly spec: string | undefined; readonly options: ReviewOptions }[] = [];
	for (const spec of words) {
		const tree = await resolveTree(io, spec, options.patch);
		asked.push({
			spec,
			options: {
				tree,
				base: await resolveComparison(io, options.base, spec, options.patch),
				targets: resolveTargets(tree, options.vendor, options.cpu),
				mceHandler: options.mceHandler,
				...(options.guest === undefined ? {} : { guest: options.guest }),
			},
		});
	}
	const requests = asked.flatMap(({ spec, options: of }) =>
		reviewChecks(of).map((check): CheckRequest => {
			const vendor = check.tree.loadedModule ?? check.vendor;
			return { words: { spec, patch: options.patch, vendor, cpu: options.cpu }, options: check };
		}),
	);
	const checks = await services.runChecks(io, requests, {
		threads: options.jobs ?? services.threads,
		onProgress: checkProgress(context, asked.map(({ options: { tree } }) => tree.name).join(", ")),
	});
	const reviews = asked.map(({ options: of }) =>
		services.reviewTree({ ...of, checks: checks.splice(0, of.targets!.length) }),
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
		.addOption(jobsOption())
		.action(action((trees: string[], options: ReviewArguments) => reviewCommand(context, trees, options)));
}
