/** Which encodings a processor has, by the feature bits that its CPUID reports. */
import { bitOfInstructions } from "../cpu/cpuid-features.ts";
import type { CpuModel } from "../models/model.ts";
import { Code, featuresOf, type HasEncoding } from "./decode.ts";

/** CET's instructions among the hint NOPs: processors without CET carry them out as such (SDM Vol. 2B, NOP). */
const HINTS = new Set<number>([Code.Rdsspd_r32, Code.Rdsspq_r64, Code.Endbr32, Code.Endbr64]);

/** 0F 0D with a register, a NOP on Intel's processors alone: #UD on a Zen 4. With memory it is PREFETCH and its kind. */
const NOT_ON_AMD = new Set<number>([
	Code.Reservednop_rm16_r16_0F0D,
	Code.Reservednop_rm32_r32_0F0D,
	Code.Reservednop_rm64_r64_0F0D,
]);

/** Whether processors of a model have an encoding: all the bits that tell of it are offered, or it is a hint. */
export function hasEncoding(model: CpuModel, code: number): boolean {
	if (NOT_ON_AMD.has(code)) return model.vendorString !== "AuthenticAMD";
	return HINTS.has(code) || featuresOf(code).every((name) => bitOfInstructions(name)?.offered(model) ?? true);
}

/** The encodings of a model, each looked up once. */
export function encodingsOf(model: CpuModel): HasEncoding {
	const known: boolean[] = [];
	return (code) => {
		known[code] ??= hasEncoding(model, code);
		return known[code];
	};
}
