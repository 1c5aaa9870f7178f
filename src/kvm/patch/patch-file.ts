/** From a patch file's document to a tree. Each error is one line: file and line, the edit, what is wrong, the likely mend. */
import * as v from "valibot";
import { FlowError } from "../flow/errors.ts";
import { type Node, type Tree, children, flow, walk } from "../flow/flow.ts";
import {
	type Anchor,
	type Edit,
	addFlow,
	addOp,
	addVendor,
	applyEdit,
	findNode,
	hint,
} from "../flow/patch.ts";
import { verifyTree } from "../flow/verify.ts";
import type { CustomOp } from "../flow/custom-op.ts";
import type { AnchorDocument, EditDocument, FlowDocument, OpDocument, VendorDocument } from "./document.ts";
import { type Locate, NodeReader, type Path } from "./node-reader.ts";
import { readForm, readRecord } from "./read-form.ts";
import {
	DOCUMENT_OUTLINE,
	EDIT_FORMS,
	FLOW_FORM,
	OP_FORM,
	SERIES_PATCH_OUTLINE,
	VENDOR_FORM,
} from "./schema.ts";

/** A patch file as it was read, before it is applied. */
export interface PatchFile {
	/** The parsed JSON, or a module's default export. */
	readonly document: unknown;
	/** Says where a part of the document stands: `mine.json:7`. */
	readonly locate: Locate;
}

/** The outline of a document: its name, and the base that it is made for. @throws FlowError */
export function patchHead({ document, locate }: PatchFile): {
	readonly name: string;
	readonly base?: string;
} {
	const { name, base } = readRecord(DOCUMENT_OUTLINE, document, locate([]));
	return base === undefined ? { name } : { name, base };
}

/** Applies a patch file to trees. */
class PatchApplier {
	private readonly locate: Locate;
	private readonly name: string;
	private readonly nodes: NodeReader;
	private readonly libraries: readonly Tree[];
	tree: Tree;

	constructor(file: PatchFile, base: Tree, libraries: readonly Tree[], name: string, title: string) {
		this.locate = file.locate;
		this.libraries = libraries;
		this.name = name;
		const { loadedModule: _module, spec: _spec, ...rest } = base;
		this.tree = { ...rest, name, title };
		this.nodes = new NodeReader(file.locate, () => [this.tree, ...libraries]);
	}

	/** Applies an edit; what is wrong with it is said at its place. */
	private apply(path: Path, what: string, edit: () => Edit): void {
		try {
			const one = edit();
			const put = placed(this.tree, one);
			this.tree = applyEdit(this.tree, one);
			if (put !== null) assertReached(this.tree, put.flow, put.node);
		} catch (error) {
			if (!(error instanceof FlowError) || error.located) throw error;
			throw new FlowError(`${this.locate(path)}: ${what}: ${error.message}${this.otherBase(error)}`, true);
		}
	}

	/** Says which known tree has what this one lacks: the patch may be made for that. */
	private otherBase({ missing }: FlowError): string {
		if (missing === null) return "";
		const has = ({ flows }: Tree) => {
			const flow = flows.get(missing.flow);
			if (flow === undefined || missing.node === undefined) return flow !== undefined;
			return [...walk(flow.body)].some(({ name }) => name === missing.node);
		};
		const other = this.libraries.find(has);
		return other === undefined ? "" : `; ${other.name} has it: is "base" right?`;
	}

	ops(documents: readonly unknown[]): void {
		for (const [at, document] of documents.entries()) {
			const path = ["ops", at];
			const op = readRecord(OP_FORM, document, `${this.locate(path)}: op ${at + 1}`) as OpDocument;
			this.apply(path, `op ${at + 1}`, () => addOp(customOp(op)));
		}
	}

	fields(names: readonly string[]): void {
		this.nodes.declareFields(names, ["fields"]);
	}

	flows(documents: readonly unknown[], path: Path): void {
		const outlines = documents.map((document, at) => {
			const where = `${this.locate([...path, at])}: flow ${at + 1}`;
			return readRecord(
				v.strictObject({ ...FLOW_FORM.entries, body: v.array(v.unknown()) }),
				document,
				where,
			);
		});
		// They may call each other, whatever their order.
		for (const { name } of outlines) this.nodes.promiseFlow(name);
		for (const [at, outline] of outlines.entries()) {
			const here = [...path, at];
			const { name, file, body } = outline as FlowDocument;
			const nodes = body.map((node, n) =>
				this.nodes.read(node, [...here, "body", n], `${name}, step ${n + 1}`, name),
			);
			this.apply(here, `flow ${at + 1}`, () => addFlow(flow(name, file ?? this.name, nodes)));
		}
	}

	vendors(documents: readonly unknown[]): void {
		for (const [at, document] of documents.entries()) {
			const path = ["vendors", at];
			const where = `${this.locate(path)}: vendor ${at + 1}`;
			const { name, title, basedOn, ops } = readRecord(VENDOR_FORM, document, where) as VendorDocument;
			this.memberNames(Object.keys(ops), where);
			this.apply(path, `vendor ${at + 1}`, () => addVendor({ name, title: title ?? name, basedOn, ops }));
		}
	}

	private memberNames(names: readonly string[], where: string): void {
		const known = Object.keys(this.tree.ops.kvm_intel);
		for (const name of names) {
			if (!known.includes(name))
				throw new FlowError(`${where}: kvm_x86_ops has no member ${name} here${hint(name, known)}`, true);
		}
	}

	edits(documents: readonly unknown[], path: Path, prefix: string): void {
		for (const [at, document] of documents.entries()) {
			const here = [...path, at];
			const what = `${prefix}edit ${at + 1}`;
			this.apply(here, what, () => this.readEdit(document, here, what));
		}
	}

	private readEdit(document: unknown, path: Path, what: string): Edit {
		if (isEdit(document)) return document;
		const where = `${this.locate(path)}: ${what}`;
		const edit = readForm(EDIT_FORMS, document, where, ["insert", "by"]) as Exclude<EditDocument, Edit>;
		if ("move" in edit)
			return { edit: "move", node: edit.move, from: edit.from, to: edit.to, ...readAnchor(edit, where) };
		if ("insert" in edit) {
			const node = this.nodes.read(edit.insert, [...path, "insert"], what, edit.into);
			return { edit: "insert", node, into: edit.into, ...readAnchor(edit, where) };
		}
		if ("remove" in edit) return { edit: "remove", node: edit.remove, from: edit.from };
		if ("replace" in edit) {
			const by = this.nodes.read(edit.by, [...path, "by"], what, edit.in);
			return { edit: "replace", node: edit.replace, in: edit.in, by };
		}
		if ("dropGuard" in edit) return { edit: "dropGuard", guard: edit.dropGuard, in: edit.in, as: edit.as };
		if ("removeFlow" in edit) return { edit: "removeFlow", flow: edit.removeFlow };
		this.memberNames([edit.set], where);
		return { edit: "setOp", module: edit.of, op: edit.set, flow: edit.to };
	}
}

/**
 * Applies a patch file.
 * @param base the tree that it is applied to
 * @param libraries trees whose steps may be inserted, besides the base's
 * @throws FlowError with one line that names the file, where possible the line, the edit and the likely mend
 */
export function applyPatchFile(file: PatchFile, base: Tree, libraries: readonly Tree[]): Tree {
	const outline = readRecord(DOCUMENT_OUTLINE, file.document, file.locate([]));
	const { name, title, ops = [], fields = [], flows = [], edits = [], patches = [], vendors = [] } = outline;
	const start = file.locate([]);
	if (ops.length + flows.length + edits.length + patches.length + vendors.length === 0)
		throw new FlowError(`${start}: it changes nothing: it needs at least one edit`, true);
	const applier = new PatchApplier(file, base, libraries, name, title ?? `${name} on ${base.name}`);
	applier.ops(ops);
	applier.fields(fields);
	applier.flows(flows, ["flows"]);
	applier.edits(edits, ["edits"], "");
	for (const [at, document] of patches.entries()) {
		const path = ["patches", at];
		const patch = readRecord(SERIES_PATCH_OUTLINE, document, `${file.locate(path)}: patch ${at + 1}`);
		applier.flows(patch.flows ?? [], [...path, "flows"]);
		applier.edits(patch.edits ?? [], [...path, "edits"], `patch ${at + 1}, `);
	}
	applier.vendors(vendors);
	try {
		verifyTree(applier.tree);
	} catch (error) {
		if (error instanceof FlowError) throw new FlowError(`${start}: ${error.message}`, true);
		throw error;
	}
	return applier.tree;
}

function customOp({ name, symbol, cycles, origin = "assumed", source }: OpDocument): CustomOp {
	const cost = (figure: number) => ({ cycles: figure, origin, source: source ?? `the patch says so` });
	const byModel = typeof cycles === "number" ? { default: cycles } : cycles;
	const costs = Object.fromEntries(Object.entries(byModel).map(([model, figure]) => [model, cost(figure)]));
	return { name, symbol: symbol ?? name, costs };
}

/** An edit that the helpers of flow/patch.ts made. */
function isEdit(document: unknown): document is Edit {
	return typeof document === "object" && document !== null && "edit" in document;
}

function readAnchor({ before, after, at }: AnchorDocument, where: string): Anchor {
	const given = [before, after, at].filter((value) => value !== undefined).length;
	if (given !== 1)
		throw new FlowError(`${where} needs one of "before", "after" and "at"; it has ${given}`, true);
	if (before !== undefined) return { before };
	if (after !== undefined) return { after };
	return { at: at! };
}

/** The node that an edit puts somewhere, and the flow that it goes to. */
function placed(tree: Tree, edit: Edit): { readonly node: Node; readonly flow: string } | null {
	if (edit.edit === "insert") return { node: edit.node, flow: edit.into };
	if (edit.edit === "move") return { node: findNode(tree, edit.from, edit.node), flow: edit.to };
	return null;
}

/** @throws FlowError if a node stands behind a return or break in its list, where it is never come to */
function assertReached(tree: Tree, flow: string, node: Node): void {
	for (const list of listsOf(tree.flows.get(flow)!.body)) {
		const end = list.findIndex(({ kind }) => kind === "return" || kind === "break");
		if (end < 0 || !list.slice(end + 1).includes(node)) continue;
		throw new FlowError(
			`"${node.name}" would stand behind "${list[end]!.name}" in ${flow}, and is never come to there`,
		);
	}
}

/** A list of nodes, and all lists below it. */
function* listsOf(nodes: readonly Node[]): Generator<readonly Node[]> {
	yield nodes;
	for (const node of nodes) for (const list of children(node)) yield* listsOf(list);
}
