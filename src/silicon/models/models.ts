/** The CPU models by name. */
import { emeraldRapids } from "./emerald-rapids.ts";
import type { CpuModel, Vendor } from "./model.ts";
import { turin } from "./turin.ts";

/** All CPU models, by name. */
export const MODELS: Readonly<Record<string, CpuModel>> = {
	[turin.name]: turin,
	[emeraldRapids.name]: emeraldRapids,
};

/** The CPU model of a name, or undefined. */
export function findModel(name: string): CpuModel | undefined {
	return Object.hasOwn(MODELS, name) ? MODELS[name] : undefined;
}

/** The model that stands for a vendor when none is named. */
export function defaultModel(vendor: Vendor): CpuModel {
	return vendor === "svm" ? turin : emeraldRapids;
}
