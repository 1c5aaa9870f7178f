/** What a verdict on a mutant depends on: the judge, the trees, and all modules that they import. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";

/** Import and export statements with a module of our own. */
const IMPORT = /\b(?:import|export)\b[^;"']*?["'](\.{1,2}\/[^"']+)["']/g;

/**
 * The modules that are reached from some by static imports, those among them, as sorted paths.
 * @throws Error for a dynamic import, which this does not follow
 */
export function modulesOf(entries: readonly string[]): readonly string[] {
	const seen = new Set<string>();
	const waiting = [...entries];
	for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
		if (seen.has(path)) continue;
		seen.add(path);
		const text = readFileSync(path, "utf8");
		if (/\bimport\s*\(/.test(text)) throw new Error(`${path} has a dynamic import`);
		for (const [, specifier] of text.matchAll(IMPORT)) waiting.push(join(dirname(path), specifier!));
	}
	return [...seen].sort();
}

/** Modules that a judgement begins at. @param folder of this module @param extension of modules there */
export function judgingModules(folder: string, extension: "ts" | "js"): readonly string[] {
	return ["judge", "../../src/kvm/trees/base", "../../src/kvm/trees/series"].map((name) =>
		join(folder, `${name}.${extension}`),
	);
}

/** A hash of the program that is judged: what was found of another one does not count. */
export function programKey(): string {
	const folder = join(import.meta.dirname, "../../src");
	const hash = createHash("sha256");
	for (const path of modulesOf(judgingModules(import.meta.dirname, "js"))) {
		if (!path.startsWith(folder)) continue;
		hash.update(path.slice(folder.length)).update("\0").update(readFileSync(path)).update("\0");
	}
	return hash.digest("hex").slice(0, 12);
}
