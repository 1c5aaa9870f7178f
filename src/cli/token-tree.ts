/** The tree that a replay token was made of. */
import { type Replay, readToken, tokenHash, tokenMismatch } from "../check/token.ts";
import type { Tree } from "../kvm/flow/flow.ts";
import { type VendorTree, selectVendor } from "../kvm/flow/vendor-module.ts";
import { v618 } from "../kvm/trees/base.ts";
import { HISTORY } from "../kvm/trees/history/cases.ts";
import { BUILT_IN_TREES, findTree } from "../kvm/trees/trees.ts";
import type { CpuModel } from "../silicon/models/model.ts";
import { UsageError } from "./io.ts";
import { resolveTarget } from "./resolve.ts";

/** Reads a token that a user gave. @throws UsageError if it is none */
export function readUserToken(token: string): Replay {
	const replay = readToken(token);
	if (replay === null)
		throw new UsageError(
			`"${token}" is no token of this version; check and review print them behind "replay:"`,
		);
	return replay;
}

/**
 * A token's tree with its vendor loaded, and its CPU model.
 * @param named the tree that the user named; null: a built-in one is looked for
 * @throws UsageError if it is of another tree, or of none that is known
 */
export function resolveToken(replay: Replay, named: Tree | null): VendorTree & { readonly model: CpuModel } {
	const known = findByHash(replay);
	const tree = named ?? known?.tree ?? null;
	if (tree === null) throw unknownTree(replay);
	const target = resolveTarget(tree, replay.vendor, replay.model === "" ? undefined : replay.model);
	const mismatch = tokenMismatch(target, replay, known);
	if (mismatch !== null) throw new UsageError(`the token is not of ${tree.name}: ${mismatch}`);
	return target;
}

/** Trees that need not be named. */
function knownTrees(): readonly Tree[] {
	return [
		...BUILT_IN_TREES.map(({ name }) => findTree(name)),
		...HISTORY.flatMap(({ before, after }) => [before, after]),
	];
}

/** The known tree that a token was made of, with its vendor loaded. */
function findByHash(replay: Replay): VendorTree | undefined {
	return knownTrees()
		.map((tree) => selectVendor(tree, replay.vendor))
		.find((target) => target !== undefined && tokenHash(target.tree) === replay.treeHash);
}

function unknownTree(replay: Replay): UsageError {
	const base = selectVendor(v618, replay.vendor);
	const against =
		base === undefined
			? `it has no vendor ${replay.vendor}`
			: (tokenMismatch(base, replay) ?? "it is the same");
	return new UsageError(
		`no built-in tree is the token's; name it behind the token, or by --patch. Against v6.18: ${against}`,
	);
}
