/** What a review answers: the documented JSON of `reenter review --json` is built from this. */
import type { CheckResult } from "../check/types.ts";
import type { Origin, Vendor } from "../silicon/models/model.ts";

/** Cycles an exit of one guest on one tree. */
export interface CostResult {
	readonly guest: string;
	readonly tree: string;
	readonly vendor: Vendor;
	/** The vendor module that was loaded, if it is a patch's. */
	readonly module?: string;
	readonly cpu: string;
	readonly cyclesPerExit: number;
	/** Exits that the figure is the mean of. */
	readonly exits: number;
	/** Ops an exit, by name; `code` counts plain instructions. */
	readonly opsPerExit: Readonly<Record<string, number>>;
	/** Cycles an exit by where the cost figures come from. */
	readonly cyclesByOrigin: Readonly<Record<Origin | "guest", number>>;
	/** What the confidence intervals of measured costs add up to, in cycles; 0 where nothing was measured. */
	readonly plusMinus: number;
}

export interface VendorReview {
	readonly vendor: Vendor;
	/** The vendor module that was loaded, if it is a patch's. */
	readonly module?: string;
	readonly cpu: string;
	readonly check: CheckResult;
	readonly baseCost: CostResult;
	readonly cost: CostResult;
}

export interface TreeReview {
	readonly tree: string;
	readonly base: string;
	readonly vendors: readonly VendorReview[];
}
