/** Patch files in JSON with comments, read so that what is wrong with them can be said with its line. */
import { type AnyNode, type DocumentNode, evaluate, type MemberNode, parse } from "@humanwhocodes/momoa";
import { FlowError } from "../flow/errors.ts";
import type { Path } from "./node-reader.ts";
import type { PatchFile } from "./patch-file.ts";

/** Momoa's names of tokens, as they are written. */
const TOKENS: Readonly<Record<string, string>> = {
	LBrace: '"{"',
	RBrace: '"}"',
	LBracket: '"["',
	RBracket: '"]"',
	Colon: '":"',
	Comma: '","',
	String: "string",
	Number: "number",
};

/**
 * Reads a patch file's text.
 * @param file its name, for messages
 * @throws FlowError that names file and line if it is not JSON, or has a name twice in an object
 */
export function parsePatchJson(file: string, text: string): PatchFile {
	let ast: DocumentNode;
	try {
		ast = parse(text, { mode: "jsonc" });
	} catch (error) {
		const { message, line } = error as Error & { readonly line?: number };
		const what = message
			.replace(/ \(\d+:\d+\)$/, "")
			.replace(/token (\w+) found/, (_, token: string) => `${TOKENS[token] ?? token}`);
		throw new FlowError(`${file}${line === undefined ? "" : `:${line}`}: not JSON: ${what}`, true);
	}
	refuseTwice(file, ast.body);
	return { document: evaluate(ast), locate: (path) => `${file}:${nodeAt(ast, path).loc.start.line}` };
}

/** JSON would take the last of two members of one name: edits would be left out without a word. */
function refuseTwice(file: string, node: AnyNode): void {
	if (node.type === "Array") for (const { value } of node.elements) refuseTwice(file, value);
	if (node.type !== "Object") return;
	const seen = new Set<string>();
	for (const { name, value, loc } of node.members) {
		const key = nameOf(name);
		if (seen.has(key)) throw new FlowError(`${file}:${loc.start.line}: "${key}" stands twice here`, true);
		seen.add(key);
		refuseTwice(file, value);
	}
}

const nameOf = (name: MemberNode["name"]): string => (name.type === "String" ? name.value : name.name);

/** The node of the syntax tree for a path; what is not there stands where its parent does. */
function nodeAt(ast: DocumentNode, path: Path): AnyNode {
	let node: AnyNode = ast.body;
	for (const key of path) {
		let next: AnyNode | undefined;
		if (node.type === "Object") next = node.members.find(({ name }) => nameOf(name) === key)?.value;
		else if (node.type === "Array") next = node.elements[key as number]?.value;
		if (next === undefined) break;
		node = next;
	}
	return node;
}
