/** A review: for each vendor, is the tree still safe, and what does it save against the base. */
import { runCheck } from "../check/check.ts";
import { DEFAULT_CONFIGURATION } from "../check/configuration.ts";
import type { Progress } from "../check/types.ts";
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
	/** Asked once a vendor for who is told how far its check is. */
	readonly onProgress?: (vendor: string) => (progress: Progress) => void;
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

/** Reviews one tree. */
export function reviewTree(options: ReviewOptions): TreeReview {
	const { base, mceHandler = "task-work" } = options;
	const targets =
		options.targets ?? VENDORS.map((vendor) => ({ tree: options.tree, vendor, model: defaultModel(vendor) }));
	const vendors = targets.map(({ tree, vendor, model }) => {
		const name = tree.loadedModule ?? vendor;
		const guest = options.guest ?? (vendor === "tdx" ? "td-vmcall" : "invd");
		const onProgress = options.onProgress;
		const check = runCheck({
			tree,
			base,
			vendor,
			model,
			mceHandler,
			// An answer at once; check looks closer.
			eventsMax: 1,
			configuration: { ...DEFAULT_CONFIGURATION, mceHandler },
			...(onProgress === undefined ? {} : { onProgress: onProgress(name) }),
		});
		return {
			vendor,
			...(tree.loadedModule === undefined ? {} : { module: tree.loadedModule }),
			cpu: model.name,
			check,
			baseCost: baseCost({ guest, tree: selectVendor(base, name)?.tree ?? base, vendor, model }),
			cost: measureCost({ guest, tree, vendor, model }),
		};
	});
	return { tree: options.tree.name, base: base.name, vendors };
}
