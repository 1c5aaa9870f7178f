/** Which encodings a processor has, by the feature bits that its CPUID reports. */
import { bitOfInstructions } from "../cpu/cpuid-features.ts";
import type { CpuModel } from "../models/model.ts";
import { featuresOf, type HasEncoding } from "./decode.ts";

/** Whether processors of a model have an encoding: all the bits that tell of it are offered. */
export function hasEncoding(model: CpuModel, code: number): boolean {
	return featuresOf(code).every((name) => bitOfInstructions(name)?.offered(model) ?? true);
}

/** The encodings of a model, each looked up once. */
export function encodingsOf(model: CpuModel): HasEncoding {
	const known: boolean[] = [];
	return (code) => {
		known[code] ??= hasEncoding(model, code);
		return known[code];
	};
}
