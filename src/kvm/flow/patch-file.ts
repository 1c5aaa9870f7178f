/**
 * A patch in a file of its own:
 *
 *     {
 *       "name": "my-idea",
 *       "base": "v6.18",
 *       "edits": [
 *         { "move": "kvm_load_guest_xsave_state", "from": "vmx_vcpu_run", "to": "vcpu_enter_guest", "before": "fastpath" }
 *       ]
 *     }
 */
import * as v from "valibot";
import { FlowError } from "./errors.ts";
import { type Node, type Tree, call, walk, when } from "./flow.ts";
import { type Anchor, type Edit, applyPatches, hint } from "./patch.ts";

const anchor = {
	before: v.optional(v.string()),
	after: v.optional(v.string()),
	at: v.optional(v.picklist(["start", "end"])),
};
const editSchema = v.union([
	v.strictObject({ move: v.string(), from: v.string(), to: v.string(), ...anchor }),
	v.strictObject({ insert: v.string(), into: v.string(), ...anchor }),
	v.strictObject({ remove: v.string(), from: v.string() }),
	v.strictObject({ replace: v.string(), in: v.string(), by: v.string() }),
]);
const fileSchema = v.strictObject({
	name: v.pipe(v.string(), v.regex(/^[\w.-]+$/, "a name of letters, digits, ., _ and -")),
	base: v.string(),
	title: v.optional(v.string()),
	edits: v.pipe(v.array(v.unknown()), v.minLength(1, "at least one edit")),
});

type FileEdit = v.InferOutput<typeof editSchema>;

/** How an edit must look, for error messages. */
const EDIT_FORMS =
	'{"move", "from", "to"} or {"insert", "into"} with "before", "after" or "at"; {"remove", "from"}; {"replace", "in", "by"}';

/**
 * Reads a patch file and applies it to its base.
 * @param document the parsed JSON
 * @param fileName for messages
 * @param resolve finds the base tree, and the trees whose steps may be inserted
 * @throws FlowError with one line that names the file, the edit and the likely mend
 */
export function parsePatchFile(
	document: unknown,
	fileName: string,
	resolve: (name: string) => Tree,
	libraries: readonly Tree[],
): Tree {
	const parsed = v.safeParse(fileSchema, document);
	if (!parsed.success) {
		const [issue] = parsed.issues;
		throw new FlowError(`${fileName}: ${v.getDotPath(issue) ?? "the document"}: ${issue.message}`);
	}
	const { name, base: baseName, title, edits } = parsed.output;
	const base = resolveBase(baseName, fileName, resolve);
	const patch = {
		title: title ?? name,
		source: fileName,
		edits: edits.map((edit, at) => readEdit(edit, `${fileName}: edit ${at + 1}`, [base, ...libraries])),
	};
	return applyPatches(base, [patch], name, title ?? `${fileName} on ${base.name}`);
}

function resolveBase(name: string, fileName: string, resolve: (name: string) => Tree): Tree {
	try {
		return resolve(name);
	} catch (error) {
		if (error instanceof FlowError) throw new FlowError(`${fileName}: base: ${error.message}`);
		throw error;
	}
}

function readEdit(document: unknown, where: string, libraries: readonly Tree[]): Edit {
	const parsed = v.safeParse(editSchema, document);
	if (!parsed.success) throw new FlowError(`${where} is none of ${EDIT_FORMS}`);
	const edit: FileEdit = parsed.output;
	if ("move" in edit) {
		return { edit: "move", node: edit.move, from: edit.from, to: edit.to, ...readAnchor(edit, where) };
	}
	if ("insert" in edit) {
		return {
			edit: "insert",
			node: findNode(edit.insert, where, libraries),
			into: edit.into,
			...readAnchor(edit, where),
		};
	}
	if ("remove" in edit) return { edit: "remove", node: edit.remove, from: edit.from };
	return { edit: "replace", node: edit.replace, in: edit.in, by: findNode(edit.by, where, libraries) };
}

function readAnchor(
	{
		before,
		after,
		at,
	}: { before?: string | undefined; after?: string | undefined; at?: "start" | "end" | undefined },
	where: string,
): Anchor {
	const given = [before, after, at].filter((value) => value !== undefined).length;
	if (given !== 1) throw new FlowError(`${where} needs one of "before", "after" and "at"; it has ${given}`);
	if (before !== undefined) return { before };
	if (after !== undefined) return { after };
	return { at: at! };
}

/** A step of any known tree by its name, or a call of a flow. */
function findNode(name: string, where: string, libraries: readonly Tree[]): Node {
	const names = new Set<string>();
	for (const tree of libraries) {
		for (const flow of tree.flows.values()) {
			if (flow.name === name) return call(name);
			for (const node of walk(flow.body)) {
				if (node.name === name) return copyOf(node);
				names.add(node.name);
			}
		}
	}
	throw new FlowError(`${where}: no step or flow "${name}" in any known tree${hint(name, names)}`);
}

/** A node of its own: edits find nodes by identity, so a step that is done twice is two nodes. */
function copyOf(node: Node): Node {
	if (node.kind === "if") {
		const { name, test, instructions } = node;
		return when(name, test, node.then.map(copyOf), node.otherwise.map(copyOf), instructions);
	}
	if (node.kind === "loop") return { ...node, body: node.body.map(copyOf) };
	return { ...node };
}
