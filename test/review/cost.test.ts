import { describe, expect, it } from "vitest";
import { findTree } from "../../src/kvm/trees/trees.ts";
import { v618 } from "../../src/kvm/trees/base.ts";
import { type CostOptions, measureCost } from "../../src/review/cost.ts";
import { defaultModel } from "../../src/review/review.ts";
import type { Vendor } from "../../src/silicon/models/model.ts";

const cost = (tree: string, vendor: Vendor, options: Partial<CostOptions> = {}) =>
	measureCost({ guest: "invd", tree: findTree(tree), vendor, model: defaultModel(vendor), ...options });

const saved = (vendor: Vendor, options: Partial<CostOptions> = {}, from = "v6.18", to = "series-v2") =>
	cost(from, vendor, options).cyclesPerExit - cost(to, vendor, options).cyclesPerExit;

const within = (value: number, want: number, share: number) => Math.abs(value - want) <= want * share;

describe("the INVD round trip that the mails measured", () => {
	it.each([
		["svm", 2000, 1500],
		["vmx", 1300, 1000],
	] as const)("%s: %d cycles, and %d with patches 1-3, within 3 %", (vendor, before, after) => {
		expect(within(cost("v6.18", vendor).cyclesPerExit, before, 0.03)).toBe(true);
		expect(within(cost("series-v2:1-3", vendor).cyclesPerExit, after, 0.03)).toBe(true);
	});

	it.each([
		["svm", 60],
		["vmx", 40],
	] as const)("%s: with protection keys on, patch 4 saves %d cycles", (vendor, want) => {
		expect(within(saved(vendor, { pke: true }, "series-v2:1-3"), want, 0.1)).toBe(true);
	});

	it("does two XSETBV an exit before the series and none behind it", () => {
		for (const vendor of ["vmx", "svm"] as const) {
			expect(cost("v6.18", vendor).opsPerExit.xsetbv).toBe(2);
			expect(cost("series-v2", vendor).opsPerExit.xsetbv).toBeUndefined();
		}
	});
});

/** Cycles that the series may still save or cost by its moved tests. */
const NOTHING = 12;

describe("what follows from the mechanism", () => {
	it.each(["vmx", "svm"] as const)(
		"%s: nothing is saved when the guest leaves CR4.OSXSAVE clear",
		(vendor) => {
			expect(Math.abs(saved(vendor, { osxsave: false }))).toBeLessThan(NOTHING);
		},
	);

	it.each(["vmx", "svm"] as const)(
		"%s: nothing is saved when the guest's XCR0 and XSS are the host's",
		(vendor) => {
			const { features } = defaultModel(vendor);
			// Patches 1 to 3: a guest whose XCR0 has PKRU's bit still gains by patch 4.
			const same = { xcr0: features.xcr0, xss: features.xss };
			expect(Math.abs(saved(vendor, same, "v6.18", "series-v2:1-3"))).toBeLessThan(NOTHING);
		},
	);

	it.each([
		["vmx", "cpuid"],
		["vmx", "pio"],
		["svm", "cpuid"],
		["svm", "pio"],
	] as const)("%s: nothing is saved for %s, which the fastpath does not handle", (vendor, guest) => {
		expect(Math.abs(saved(vendor, { guest }))).toBeLessThan(NOTHING);
	});

	it("nothing is saved for a TD", () => {
		expect(Math.abs(saved("tdx", { guest: "td-vmcall" }))).toBeLessThan(NOTHING);
	});

	it.each(["vmx", "svm", "tdx"] as const)(
		"%s: the helper merged behind the series changes nothing",
		(vendor) => {
			const guest = vendor === "tdx" ? "td-vmcall" : "invd";
			expect(saved(vendor, { guest }, "series-v2", "dedup")).toBe(0);
		},
	);
});

describe("a cost", () => {
	it("is the sum of its ops and the guest's own instructions", () => {
		for (const vendor of ["vmx", "svm"] as const) {
			const model = defaultModel(vendor);
			const { cyclesPerExit, opsPerExit, cyclesByOrigin } = cost("v6.18", vendor);
			let sum = cyclesByOrigin.guest;
			for (const [name, count] of Object.entries(opsPerExit))
				sum += count * model.costs[name as keyof typeof model.costs].cycles;
			expect(sum).toBeCloseTo(cyclesPerExit, 0);
			expect(cyclesByOrigin.guest).toBeLessThan(50);
		}
	});

	it("is refused for a guest that does not run on the vendor", () => {
		expect(() =>
			measureCost({ guest: "td-vmcall", tree: v618, vendor: "vmx", model: defaultModel("vmx") }),
		).toThrow(/runs on tdx/);
		expect(() => cost("v6.18", "vmx", { guest: "nosuch" })).toThrow(/no guest program "nosuch"/);
	});
});
