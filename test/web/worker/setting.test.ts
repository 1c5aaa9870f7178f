import { describe, expect, it } from "vitest";
import { COST_FACTORS, measureCost } from "../../../src/review/cost.ts";
import { findTree } from "../../../src/kvm/trees/trees.ts";
import { parseFactors } from "../../../src/check/configuration.ts";
import type { VENDORS } from "../../../src/silicon/models/model.ts";
import { machineView, modelOf } from "../../../src/web/worker/setting.ts";

const SETTING = { vendor: "svm", cpu: "", configuration: "" } as const;
const FILE = JSON.stringify({
	format: "reenter-cpu-model",
	version: 1,
	name: "mine",
	title: "my computer",
	base: "turin",
	tscHz: 2.6e9,
	costs: { vmrun: { cycles: 1234, plusMinus: 9, source: "measured" } },
});

describe("the machine of the page", () => {
	it("is a built-in CPU model, or one in a file, where the vendor has it", () => {
		expect(modelOf(SETTING).name).toBe("turin");
		expect(modelOf({ ...SETTING, cpu: "emerald-rapids" }).name).toBe("turin");
		expect(modelOf({ ...SETTING, cpu: FILE }).costs.vmrun.cycles).toBe(1234);
		expect(modelOf({ ...SETTING, cpu: FILE })).toBe(modelOf({ ...SETTING, cpu: FILE }));
		expect(modelOf({ ...SETTING, vendor: "vmx", cpu: FILE }).name).toBe("emerald-rapids");
	});

	it("refuses what is no model in one line", () => {
		expect(() => modelOf({ ...SETTING, cpu: "pentium" })).toThrow(
			'no CPU model "pentium", only turin, emerald-rapids',
		);
		expect(() => modelOf({ ...SETTING, cpu: "{" })).toThrow(/^the CPU model file: not JSON: [^\n]*$/);
		expect(() => modelOf({ ...SETTING, cpu: FILE.replace("vmrun", "vmrum") })).toThrow(
			/there is no op "vmrum"/,
		);
	});

	it("lists the factors that its vendor and model have", () => {
		const names = (vendor: (typeof VENDORS)[number]) =>
			machineView({ ...SETTING, vendor }).factors.map(({ factor }) => factor);
		expect(names("vmx")).toContain("apicv");
		expect(names("svm")).toContain("nrips");
		expect(names("svm")).not.toContain("apicv");
		expect(names("tdx")).not.toContain("osxsave");
	});

	it("offers for a cost the factors that change one", () => {
		const cost = (vendor: "svm", factors: string, guest = "invd") => {
			const model = modelOf({ ...SETTING, vendor });
			const tree = findTree("v6.18");
			return measureCost({
				guest,
				tree,
				vendor,
				model,
				factors: parseFactors(factors, vendor, model),
			}).cyclesPerExit;
		};
		const usual = cost("svm", "");
		// With PKE clear PKRU is not swapped, whatever it is.
		expect(cost("svm", "pke=on")).toBeGreaterThan(usual);
		expect(cost("svm", "pke=on,pkru=host")).toBeLessThan(cost("svm", "pke=on"));
		expect(cost("svm", "breakpoints=active", "pio")).toBeGreaterThan(cost("svm", "", "pio"));
		const others = COST_FACTORS.filter((factor) => !["pke", "pkru", "breakpoints"].includes(factor));
		const changing = machineView(SETTING)
			.factors.filter(({ isInCost }) => isInCost)
			.filter(({ factor, values }) => cost("svm", `${factor}=${values[1]}`) !== usual);
		expect(changing.map(({ factor }) => factor)).toEqual(others);
	});
});
