/** `reenter replay`: one run again, exactly as a token says. */
import { CHECK_GUESTS } from "../../check/types.ts";
import { readToken, tokenHash, tokenMismatch, type Replay } from "../../check/token.ts";
import type { Tree } from "../../kvm/flow/flow.ts";
import { type VendorTree, selectVendor } from "../../kvm/flow/vendor-module.ts";
import { v618 } from "../../kvm/trees/base.ts";
import { HISTORY } from "../../kvm/trees/history/cases.ts";
import { BUILT_IN_TREES, findTree } from "../../kvm/trees/trees.ts";
import type { CommonOptions, Context } from "../context.ts";
import { EXIT, UsageError } from "../io.ts";
import { readUserFile } from "../patch-source.ts";
import { patchOption, type Registry } from "../registry.ts";
import { resolveComparison, resolveTarget, resolveTree } from "../resolve.ts";
import { type ResultArguments, addResultOptions, emitResults } from "../results.ts";

interface ReplayArguments extends CommonOptions, ResultArguments {
	readonly base?: string;
	readonly patch?: readonly string[];
	readonly tokenFile?: string;
}

async function replayCommand(
	context: Context,
	words: readonly string[],
	options: ReplayArguments,
): Promise<number> {
	const { io, services } = context;
	const fromFile = options.tokenFile;
	const [token, spec] =
		fromFile === undefined ? words : [new TextDecoder().decode(readUserFile(io, fromFile)).trim(), ...words];
	if (token === undefined) throw new UsageError("replay needs a token, or --token-file");
	const replay = readToken(token);
	if (replay === null)
		throw new UsageError(
			`"${token}" is no token of this version; check and review print them behind "replay:"`,
		);
	const named = spec !== undefined || options.patch !== undefined;
	const known = findByHash(replay);
	const tree = named ? await resolveTree(io, spec, options.patch) : (known?.tree ?? null);
	if (tree === null) throw unknownTree(replay);
	const target = resolveTarget(tree, replay.vendor, replay.model === "" ? undefined : replay.model);
	const mismatch = tokenMismatch(target, replay, known);
	if (mismatch !== null) throw new UsageError(`the token is not of ${tree.name}: ${mismatch}`);
	const guest = CHECK_GUESTS.find((name) => name === replay.guest);
	if (guest === undefined)
		throw new UsageError(
			`the token's guest is ${replay.guest}; there are ${CHECK_GUESTS.join(", ")}: it is of another version of reenter`,
		);
	const result = await services.runCheck({
		...target,
		base: await resolveComparison(io, options.base, spec, options.patch),
		mceHandler: replay.configuration.mceHandler,
		configuration: replay.configuration,
		only: replay.schedule,
		guest,
	});
	emitResults(context, [result], options);
	if (result.violations.length + result.findings.length === 0)
		io.err("reenter: nothing is violated in this run; the token was made by another version of reenter\n");
	return result.verdict === "violated" ? EXIT.violated : EXIT.holds;
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

/** Adds `reenter replay`. */
export function registerReplay({ context, command, action }: Registry): void {
	const replay = command("replay [token] [tree]", "one run again, exactly, by the token that check printed")
		.addOption(patchOption())
		.option("--token-file <file>", "read the token from a file; - is stdin")
		.option("--base <tree>", "the tree that explains what was skipped; default what is patched, or v6.18");
	addResultOptions(replay).action(
		action((token: string | undefined, tree: string | undefined, options: ReplayArguments) =>
			replayCommand(
				context,
				[token, tree].filter((word) => word !== undefined),
				options,
			),
		),
	);
}
