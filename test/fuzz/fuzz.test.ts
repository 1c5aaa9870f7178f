import { expect, test } from "vitest";
import { fuzzCase, KINDS } from "./cases.ts";

test.each(Object.keys(KINDS))("a few cases of %s end in a documented way, the same each time", (kind) => {
	for (let seed = 1; seed <= 6; seed++) expect(fuzzCase(kind, seed)).toBe(fuzzCase(kind, seed));
});

test.each([
	["mutated", 302740],
	["mutated", 401387],
	["mutated", 4028419],
	["vmcb", 300700],
	["vmcb", 601174],
])("case %s %i, which hung, ends", (kind, number) => {
	expect(fuzzCase(kind, number)).toBe(fuzzCase(kind, number));
});

test("a string instruction whose elements KVM emulates one by one comes to the end of its budget", () => {
	expect(fuzzCase("code", 586)).toBe("budget");
});
