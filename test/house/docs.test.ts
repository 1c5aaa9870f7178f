import { existsSync, readFileSync, readdirSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { VERSION } from "../../src/check/token.ts";
import ts from "typescript";

const ROOT = resolve(import.meta.dirname, "../..");

describe("documentation", () => {
	it("has no link to a file that is not there", () => {
		const pages = [
			...readdirSync(ROOT).filter((name) => name.endsWith(".md")),
			...readdirSync(join(ROOT, "docs"))
				.filter((name) => name.endsWith(".md"))
				.map((name) => join("docs", name)),
		];
		const broken: string[] = [];
		for (const page of pages) {
			for (const [, target] of readFileSync(join(ROOT, page), "utf8").matchAll(/\]\(([^)#]+)[^)]*\)/g)) {
				if (/^[a-z]+:/.test(target!)) continue;
				if (!existsSync(resolve(ROOT, dirname(page), target!))) broken.push(`${page}: ${target}`);
			}
		}
		expect(broken).toEqual([]);
	});

	it("prints the version of package.json", () => {
		expect(VERSION).toBe(JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")).version);
	});

	it("has a comment on every exported function and class", () => {
		const missing: string[] = [];
		const src = join(ROOT, "src");
		for (const name of readdirSync(src, { recursive: true, encoding: "utf8" }).filter((file) =>
			file.endsWith(".ts"),
		)) {
			const text = readFileSync(join(src, name), "utf8");
			const source = ts.createSourceFile(name, text, ts.ScriptTarget.Latest, true);
			for (const statement of source.statements) {
				if (!ts.isFunctionDeclaration(statement) && !ts.isClassDeclaration(statement)) continue;
				const exported = ts.getModifiers(statement)?.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword);
				const comment = ts.getJSDocCommentsAndTags(statement).length > 0;
				// A file that is one class opens with the comment that describes it.
				const opensWith = ts.isClassDeclaration(statement) && text.startsWith("/**");
				if (exported === true && !comment && !opensWith) missing.push(`${name}: ${statement.name?.text}`);
			}
		}
		expect(missing).toEqual([]);
	});
});
