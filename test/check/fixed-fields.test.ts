import { readFileSync, readdirSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { FIXED } from "../../src/check/search/fixed-fields.ts";

const sources = readdirSync("src", { recursive: true, encoding: "utf8" })
	.filter((name) => name.endsWith(".ts") && !name.startsWith("web"))
	.map((name) => readFileSync(`src/${name}`, "utf8"));

/** The text of a class's body. */
function bodyOf(name: string): string {
	const bodies = sources.flatMap((text) => {
		const from = text.search(new RegExp(`^export (abstract )?class ${name}\\b`, "m"));
		return from < 0 ? [] : [text.slice(from, text.indexOf("\n}\n", from))];
	});
	expect(bodies, name).toHaveLength(1);
	return bodies[0]!;
}

describe("A field that a search does not look at again", () => {
	it.each(FIXED.map(([{ name }, fields]) => [name, fields] as const))(
		"is readonly to TypeScript in %s",
		(name, fields) => {
			const body = bodyOf(name);
			const assignable = fields.filter(
				(field) => !new RegExp(`^\\t(private |protected )?readonly ${field}\\b`, "m").test(body),
			);
			expect(assignable).toEqual([]);
		},
	);
});
