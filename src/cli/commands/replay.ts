/** `reenter replay`: one run again, exactly as a token says. */
import { CHECK_GUESTS } from "../../check/types.ts";
import type { CommonOptions, Context } from "../context.ts";
import { EXIT, UsageError } from "../io.ts";
import { readUserFile } from "../patch-source.ts";
import { patchOption, type Registry } from "../registry.ts";
import { resolveComparison, resolveTree } from "../resolve.ts";
import { type ResultArguments, addResultOptions, emitResults } from "../results.ts";
import { readUserToken, resolveToken } from "../token-tree.ts";

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
	const replay = readUserToken(token);
	const named = spec !== undefined || options.patch !== undefined;
	const target = resolveToken(replay, named ? await resolveTree(io, spec, options.patch) : null);
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
