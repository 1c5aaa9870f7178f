import { describe, expect, it } from "vitest";
import { runCheck } from "../../src/check/check.ts";
import { parseConfiguration } from "../../src/check/configuration.ts";
import { EVENT_KINDS } from "../../src/check/events.ts";
import { GUEST_ENDS, HOST_FAULT, HOST_INVARIANT, PROPERTIES } from "../../src/check/properties/properties.ts";
import type { HistoryCase } from "../../src/kvm/trees/history/case.ts";
import { HISTORY } from "../../src/kvm/trees/history/cases.ts";
import { defaultModel } from "../../src/review/review.ts";

/** The default configuration but for what the case needs. */
const configurationOf = (entry: HistoryCase, vendor: HistoryCase["vendors"][number]) => {
	const needs = { ...entry.shows.configuration, ...(entry.mceHandler && { mceHandler: entry.mceHandler }) };
	const name = Object.entries(needs).map(([factor, value]) => `${factor}=${value}`);
	return parseConfiguration(name.join(","), vendor, defaultModel(vendor));
};

const check = (entry: HistoryCase, which: "before" | "after", vendor: HistoryCase["vendors"][number]) =>
	runCheck({
		tree: entry[which],
		base: entry.after,
		vendor,
		model: defaultModel(vendor),
		mceHandler: entry.mceHandler ?? "task-work",
		configuration: configurationOf(entry, vendor),
		events: EVENT_KINDS.filter((kind) => entry.shows.events.includes(kind)),
	});

describe.each(HISTORY.map((entry) => [entry.name, entry] as const))("%s", (_name, entry) => {
	it("names events and a property that there are", () => {
		const properties = [...PROPERTIES.map(({ name }) => name), HOST_FAULT, HOST_INVARIANT, GUEST_ENDS];
		expect(EVENT_KINDS).toEqual(expect.arrayContaining([...entry.shows.events]));
		expect(properties).toContain(entry.shows.property);
	});

	it.each(entry.vendors)(
		"is reported on %s before the fix, as the commit tells it, and not behind it",
		(vendor) => {
			const { violations } = check(entry, "before", vendor);
			const violation = violations.find(({ property }) => property === entry.shows.property);
			expect(violation, JSON.stringify(violations.map(({ summary }) => summary))).toBeDefined();
			const told = JSON.stringify(violation);
			for (const pattern of entry.shows.tells) expect(told).toMatch(pattern);
			expect(check(entry, "after", vendor).violations).toEqual([]);
		},
	);
});
