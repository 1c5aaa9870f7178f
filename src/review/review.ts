/** A review: for each vendor, is the tree still safe, and what does it save against the base. */
import { runCheck } from "../check/check.ts";
import type { MceHandler } from "../host/mce.ts";
import type { Tree } from "../kvm/flow/flow.ts";
import { MODELS } from "../silicon/models/models.ts";
import type { CpuModel, Vendor } from "../silicon/models/model.ts";
import { type CostOptions, measureCost } from "./cost.ts";
import type { CostResult, TreeReview } from "./types.ts";

/** Vendors in the order of reports. */
export const VENDORS: readonly Vendor[] = ["vmx", "svm", "tdx"];

export interface ReviewOptions {
	readonly tree: Tree;
	readonly base: Tree;
	readonly vendors?: readonly Vendor[];
	/** One model for all vendors. Default: turin for svm, emerald-rapids for vmx and tdx. */
	readonly model?: CpuModel;
	/** The guest whose cost is compared. Default: invd, and td-vmcall for TDs. */
	readonly guest?: string;
	readonly mceHandler?: MceHandler;
	readonly onProgress?: (vendor: Vendor, done: number, total: number) => void;
}

/** The model that stands for a vendor when none is named. */
export function defaultModel(vendor: Vendor): CpuModel {
	return vendor === "svm" ? MODELS.turin! : MODELS["emerald-rapids"]!;
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
	const { tree, base } = options;
	const vendors = (options.vendors ?? VENDORS).map((vendor) => {
		const model = options.model ?? defaultModel(vendor);
		const guest = options.guest ?? (vendor === "tdx" ? "td-vmcall" : "invd");
		const onProgress = options.onProgress;
		const check = runCheck({
			tree,
			base,
			vendor,
			model,
			mceHandler: options.mceHandler ?? "task-work",
			...(onProgress === undefined ? {} : { onProgress: (done, total) => onProgress(vendor, done, total) }),
		});
		return {
			vendor,
			cpu: model.name,
			check,
			baseCost: baseCost({ guest, tree: base, vendor, model }),
			cost: measureCost({ guest, tree, vendor, model }),
		};
	});
	return { tree: tree.name, base: base.name, vendors };
}
