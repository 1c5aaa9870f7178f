/** Trees by the page's names for them, each made once. */
import type { Tree } from "../../kvm/flow/flow.ts";
import { parsePatchJson } from "../../kvm/patch/json.ts";
import { applyPatchFile } from "../../kvm/patch/patch-file.ts";
import { verifyTree } from "../../kvm/flow/verify.ts";
import { BUILT_IN_TREES, findTree } from "../../kvm/trees/trees.ts";
import type { TreeReference } from "./api.ts";

/** The name that messages give the page's patch. */
const PATCH_FILE = "patch.json";
const KEPT_MAX = 32;
const kept = new Map<string, Tree>();

/**
 * The tree of a reference.
 * @throws FlowError with one line if there is none, or the patch does not apply
 */
export function treeOf({ tree, patch }: TreeReference): Tree {
	const key = `${tree}\n${patch}`;
	const known = kept.get(key);
	if (known !== undefined) return known;
	const base = findTree(tree);
	const made =
		patch === ""
			? base
			: applyPatchFile(
					parsePatchJson(PATCH_FILE, patch),
					base,
					BUILT_IN_TREES.map(({ name }) => findTree(name)),
				);
	verifyTree(made);
	if (kept.size >= KEPT_MAX) kept.delete(kept.keys().next().value!);
	kept.set(key, made);
	return made;
}
