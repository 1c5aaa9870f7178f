/** A review: for each vendor, is the tree still safe, and what does it save against the base. */
import { runCheck } from "../check/check.ts";
import { DEFAULT_CONFIGURATION } from "../check/configuration.ts";
import type { CheckOptions, CheckResult } from "../check/types.ts";
import type { MceHandler } from "../host/mce.ts";
import type { Tree } from "../kvm/flow/flow.ts";
import { selectVendor } from "../kvm/flow/vendor-module.ts";
import { defaultModel } from "../silicon/models/models.ts";
import { type CpuModel, VENDORS, type Vendor } from "../silicon/models/model.ts";
import { type CostOptions, measureCost } from "./cost.ts";
import type { CostResult, TreeReview } from "./types.ts";

// Most who ask for a review ask for this, too.
export { defaultModel };

/** A tree with a vendor's module loaded, on one CPU model. */
export interface ReviewTarget {
	readonly tree: Tree;
	readonly vendor: Vendor;
	readonly model: CpuModel;
}

export interface ReviewOptions {
	readonly tree: Tree;
	readonly base: Tree;
	/** The tree as it is to run on each vendor. Default: all vendors, each on its default model. */
	readonly targets?: readonly ReviewTarget[];
	/** The guest whose cost is compared. Default: invd, and td-vmcall for TDs. */
	readonly guest?: string;
	readonly mceHandler?: MceHandler;
	/** Results of `reviewChecks`, where they were run already: on several threads. */
	readonly checks?: readonly CheckResult[];
}

const baseCosts = new Map<string, CostResult>();

/** The base's cost, measured once for all reviews of a run. */
function baseCost(options: CostOptions): CostResult {
	const key = `${options.tree.name} ${options.vendor} ${options.model.name} ${options.guest}`;
	let cost = baseCosts.get(key);
	if (cost === undefined) {
		cost = measureCost(options);
		baseCosts.set(key, cost);
	}
	return cost;
}

const targetsOf = ({ targets, tree }: ReviewOptions): readonly ReviewTarget[] =>
	targets ?? VENDORS.map((vendor) => ({ tree, vendor, model: defaultModel(vendor) }));

/** The checks that a review is made of, one a target. */
export function reviewChecks(options: ReviewOptions): readonly CheckOptions[] {
	const { base, mceHandler = "task-work" } = options;
	return targetsOf(options).map(({ tree, vendor, model }) => ({
		tree,
		base,
		vendor,
		model,
		mceHandler,
		// An answer at once; check looks closer.
		eventsMax: 1,
		configuration: { ...DEFAULT_CONFIGURATION, mceHandler },
	}));
}

/** Reviews one tree. */
export function reviewTree(options: ReviewOptions): TreeReview {
	const { base } = options;
	const checks = options.checks ?? reviewChecks(options).map(runCheck);
	const vendors = targetsOf(options).map(({ tree, vendor, model }, at) => {
		const name = tree.loadedModule ?? vendor;
		const guest = options.guest ?? (vendor === "tdx" ? "td-vmcall" : "invd");
		return {
			vendor,
			...(tree.loadedModule === undefined ? {} : { module: tree.loadedModule }),
			cpu: model.name,
			check: checks[at]!,
			baseCost: baseCost({ guest, tree: selectVendor(base, name)?.tree ?? base, vendor, model }),
			cost: measureCost({ guest, tree, vendor, model }),
		};
	});
	return { tree: options.tree.name, base: base.name, vendors };
}
