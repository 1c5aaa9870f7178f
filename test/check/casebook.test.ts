import { describe, expect, it } from "vitest";
import { runCase } from "../../src/check/casebook.ts";
import { GUEST_ENDS, HOST_FAULT, HOST_INVARIANT, PROPERTIES } from "../../src/check/properties/properties.ts";
import { HISTORY } from "../../src/kvm/trees/history/cases.ts";
import { defaultModel } from "../../src/review/review.ts";

describe.each(HISTORY.map((entry) => [entry.name, entry] as const))("%s", (_name, entry) => {
	it("names a property that there is", () => {
		const properties = [...PROPERTIES.map(({ name }) => name), HOST_FAULT, HOST_INVARIANT, GUEST_ENDS];
		expect(properties).toContain(entry.shows.property);
	});

	it.each(entry.vendors)(
		"is reported on %s before the fix, as the commit tells it, and not behind it",
		(vendor) => {
			const { found, left } = runCase(entry, vendor, defaultModel(vendor));
			expect(found).not.toBeNull();
			expect(found!.untold.map(String)).toEqual([]);
			expect(found!.schedule.map(({ event }) => event)).toEqual(entry.shows.events);
			expect(left.map(({ property, detail }) => `${property}: ${detail}`)).toEqual([]);
		},
		60_000,
	);
});
