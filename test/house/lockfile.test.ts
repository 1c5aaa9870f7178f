import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";

interface Declared {
	dependencies?: Record<string, string>;
	devDependencies?: Record<string, string>;
	optionalDependencies?: Record<string, string>;
}

const read = (file: string) => JSON.parse(readFileSync(new URL(`../../${file}`, import.meta.url), "utf8"));
const declared = ({ dependencies, devDependencies, optionalDependencies }: Declared) => ({
	dependencies,
	devDependencies,
	optionalDependencies,
});

describe("package-lock.json", () => {
	it("locks what package.json asks for: `npm ci` refuses anything else", () => {
		expect(declared(read("package-lock.json").packages[""])).toEqual(declared(read("package.json")));
	});
	it("names no registry's host", () => {
		expect(readFileSync(new URL("../../package-lock.json", import.meta.url), "utf8")).not.toMatch(
			/"resolved": "https?:/,
		);
	});
});
