/** Trees of the casebook: edits on a tree. */
import type { Tree } from "../../flow/flow.ts";
import { type Edit, applyPatches } from "../../flow/patch.ts";

/** A tree of a case. @param commit whose change is made, or unmade */
export function patched(
	base: Tree,
	name: string,
	title: string,
	commit: string,
	edits: readonly Edit[],
): Tree {
	return applyPatches(base, [{ title, source: commit, edits }], name, title);
}
