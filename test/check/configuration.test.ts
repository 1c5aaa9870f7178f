import { describe, expect, it } from "vitest";
import {
	DEFAULT_CONFIGURATION,
	allConfigurations,
	configurationName,
	differencesOf,
	pairConfigurations,
	parseConfiguration,
} from "../../src/check/configuration.ts";
import { runCheck } from "../../src/check/check.ts";
import { v618 } from "../../src/kvm/trees/base.ts";
import { defaultModel } from "../../src/review/review.ts";

describe("configurations", () => {
	it.each(["vmx", "svm", "tdx"] as const)("the covering set of %s has every pair of values", (vendor) => {
		const model = defaultModel(vendor);
		const set = pairConfigurations(vendor, model);
		const factors = differencesOf(vendor, model);
		for (const [at, a] of factors.entries()) {
			for (const b of factors.slice(at + 1)) {
				for (const left of a.values) {
					for (const right of b.values) {
						const found = set.some((one) => one[a.factor] === left && one[b.factor] === right);
						expect(found, `${a.factor}=${left} ${b.factor}=${right}`).toBe(true);
					}
				}
			}
		}
		expect(set[0]).toEqual(DEFAULT_CONFIGURATION);
		expect(set.length).toBeLessThan(allConfigurations(vendor, model).length);
		expect(set.length).toBeLessThan(17);
	});

	it.each(["vmx", "svm", "tdx"] as const)(
		"on %s a guest with fewer exits comes to its end, over fewer points",
		(vendor) => {
			const model = defaultModel(vendor);
			const points = ["all", "2"].map((exits) => {
				const { violations, bounds } = runCheck({
					tree: v618,
					base: v618,
					vendor,
					model,
					mceHandler: "task-work",
					eventsMax: 0,
					configuration: parseConfiguration(exits === "all" ? "default" : `exits=${exits}`, vendor, model),
				});
				expect(violations).toEqual([]);
				return bounds.points;
			});
			expect(points).toEqual([...new Set(points)].sort((a, b) => b - a));
		},
	);

	it("a factor that stands apart has a configuration of its own in each set", () => {
		const model = defaultModel("svm");
		const alone = { ...DEFAULT_CONFIGURATION, debugger: "steps" };
		for (const set of [pairConfigurations("svm", model), allConfigurations("svm", model)])
			expect(set.filter((one) => one.debugger === "steps")).toEqual([alone]);
	});

	it("a name reads back to its configuration", () => {
		const model = defaultModel("vmx");
		// One in so many: a prime, so that all values of all factors occur.
		for (const [at, one] of allConfigurations("vmx", model).entries()) {
			if (at % 61 === 0) expect(parseConfiguration(configurationName(one), "vmx", model)).toEqual(one);
		}
	});

	it("a factor that a vendor does not have is an error that names those it has", () => {
		expect(() => parseConfiguration("osxsave=off", "tdx", defaultModel("tdx"))).toThrow(
			/no factor "osxsave".*xcr0/,
		);
		expect(() => parseConfiguration("pke=maybe", "svm", defaultModel("svm"))).toThrow(
			/pke is one of on, off/,
		);
	});

	it("a factor that is fixed stays", () => {
		const set = pairConfigurations("vmx", defaultModel("vmx"), { mceHandler: "schedule" });
		expect(set.every(({ mceHandler }) => mceHandler === "schedule")).toBe(true);
	});
});
