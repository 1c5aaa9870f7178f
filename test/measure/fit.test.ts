import { describe, expect, it } from "vitest";
import { CannotFit, fitModel } from "../../src/measure/fit.ts";
import { measureCost } from "../../src/review/cost.ts";
import { summarize } from "../../src/measure/statistics.ts";
import type { SwapReport } from "../../src/measure/swaps.ts";
import type { ExitTable } from "../../src/measure/types.ts";
import { ModelFileError, parseModelFile } from "../../src/silicon/models/model-file.ts";
import { findModel } from "../../src/silicon/models/models.ts";
import { turin } from "../../src/silicon/models/turin.ts";
import { findTree } from "../../src/kvm/trees/trees.ts";

const platform = { kernel: "6.18.0", module: "kvm_amd", cpu: "a processor", tscHz: 3e9 };
const around = (cycles: number) => summarize(Array.from({ length: 60 }, (_, n) => cycles + (n % 7) - 3));
const table = (invd: number): ExitTable => ({
	platform,
	exits: [{ name: "invd", description: "", cycles: around(invd), exitsPerSample: 100 }],
	skipped: [],
	loopCycles: around(2),
	noise: 0.01,
	rounds: 60,
});
const swaps = (xcr0: number): SwapReport => ({
	platform,
	cases: [
		{ register: "XCR0", path: "fastpath", added: around(xcr0), reason: "" },
		{ register: "XCR0", path: "slow", added: around(xcr0), reason: "" },
	],
	verdicts: [],
	behavesLike: "v6.18",
	explanation: "",
	loopCycles: 2,
});
const modelled = (model = turin) =>
	measureCost({ guest: "invd", tree: findTree("v6.18"), vendor: "svm", model, osxsave: false }).cyclesPerExit;
const fitted = (invd: number, xcr0 = 130) =>
	fitModel({
		exits: table(invd),
		swaps: swaps(xcr0),
		base: turin,
		vendor: "svm",
		modelledInvdCycles: modelled(),
		name: "this",
	});

describe("a CPU model fitted to this computer", () => {
	it("gives back the INVD round trip that was measured", () => {
		const model = parseModelFile(fitted(1234), "this.json", findModel);
		expect(Math.abs(modelled(model) - 1234)).toBeLessThan(2);
	});

	it("marks what was measured, with its uncertainty, and leaves the rest as it was", () => {
		const { costs } = parseModelFile(fitted(1234), "this.json", findModel);
		expect(costs.vmrun).toMatchObject({ origin: "measured" });
		expect(costs.vmrun.plusMinus).toBeGreaterThan(0);
		expect(costs.xsetbv).toMatchObject({ origin: "measured", cycles: 65 });
		expect(costs.vmload).toEqual(turin.costs.vmload);
	});

	it("is refused where INVD takes less than the code around VM entry and exit", () => {
		expect(() => fitted(10)).toThrow(CannotFit);
	});

	it("a swap that was not seen is not fitted", () => {
		expect(Object.keys(fitted(1234, 0).costs)).toEqual(["vmrun", "#vmexit"]);
	});
});

describe("a model file", () => {
	const good = () => structuredClone(fitted(1234)) as Record<string, unknown>;
	it.each([
		["a wrong format", { ...good(), format: "x" }, /m.json: format: /],
		["an unknown base", { ...good(), base: "rome" }, /m.json: base: no CPU model "rome"/],
		[
			"an unknown op",
			{ ...good(), costs: { xsetvb: { cycles: 1, plusMinus: 0, source: "s" } } },
			/no op "xsetvb"/,
		],
		[
			"a negative cost",
			{ ...good(), costs: { xsetbv: { cycles: -1, plusMinus: 0, source: "s" } } },
			/costs.xsetbv.cycles/,
		],
	])("with %s is refused in one line", (_, document, message) => {
		expect(() => parseModelFile(document, "m.json", findModel)).toThrow(ModelFileError);
		expect(() => parseModelFile(document, "m.json", findModel)).toThrow(message);
	});
});
