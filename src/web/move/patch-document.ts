/** The page's patch: a patch file's text with moves in it, each of which is an edit that `reenter --patch` takes. */
import type { PathRow } from "../../kvm/flow/path.ts";

/** Where something is dropped: before or behind a step. */
export interface Drop {
	readonly row: PathRow;
	readonly side: "before" | "after";
}

interface Move {
	readonly move: string;
	readonly from: string;
	readonly to: string;
	readonly before?: string;
	readonly after?: string;
}

interface Document {
	readonly name: string;
	readonly base: string;
	readonly edits: readonly unknown[];
}

/** The document of a text; null if the text is not JSON, or no object. */
export function readDocument(text: string): Document | null {
	try {
		const parsed: unknown = JSON.parse(text);
		if (typeof parsed !== "object" || parsed === null) return null;
		const { edits } = parsed as { edits?: unknown };
		return { ...(parsed as Document), edits: Array.isArray(edits) ? edits : [] };
	} catch {
		return null;
	}
}

const written = (document: Document) => `${JSON.stringify(document, null, "\t")}\n`;

/**
 * The patch with one more move.
 * @param text the patch so far, "" for none
 * @param base the tree that it is made for
 * @returns null if the text cannot be added to
 */
export function withMove(
	text: string,
	base: string,
	row: PathRow,
	{ row: anchor, side }: Drop,
): string | null {
	const document = text === "" ? { name: "my-move", base, edits: [] } : readDocument(text);
	if (document === null) return null;
	const move: Move = { move: row.reference, from: row.flow, to: anchor.flow, [side]: anchor.reference };
	return written({ ...document, edits: [...document.edits, move] });
}

/** The patch without its last edit; "" when none is left. */
export function withoutLast(text: string): string {
	const document = readDocument(text);
	if (document === null || document.edits.length <= 1) return "";
	return written({ ...document, edits: document.edits.slice(0, -1) });
}

/** An edit in words. */
export function editText(edit: unknown): string {
	const { move, from, to, before, after } = edit as Partial<Move>;
	if (move === undefined) return JSON.stringify(edit);
	const where = before === undefined ? `behind ${after}` : `before ${before}`;
	return `${move}: ${from === to ? "" : `from ${from} `}to ${to}, ${where}`;
}

/** Whether a row can be moved. */
export function canMove(row: PathRow): boolean {
	return row.reference !== "";
}

/** Whether a row may be dropped there: not into itself, and not where it is. */
export function canDrop(rows: readonly PathRow[], from: number, to: number, side: Drop["side"]): boolean {
	const row = rows[from]!;
	const anchor = rows[to]!;
	if (anchor.reference === "" || (to >= from && to < row.end)) return false;
	// A function that is called at two places, or a step of it, must not end up within itself.
	if (row.kind === "function" && anchor.flow === row.name) return false;
	const isNextTo = side === "before" ? row.end === to : anchor.end === from;
	return !(isNextTo && anchor.depth === row.depth);
}
