/**
 * `reenter diff`: of two trees, or of two recordings. A word that is a file which `reenter record` wrote is a recording;
 * everything else is a tree or a patch file.
 */
import { Option } from "commander";
import { diffTrees } from "../../kvm/flow/diff.ts";
import type { Tree } from "../../kvm/flow/flow.ts";
import { onlyReached, selectVendor } from "../../kvm/flow/vendor-module.ts";
import type { RecordedData } from "../../profile/data.ts";
import { type DiffMethod, diffRows, diffText } from "../../profile/diff.ts";
import { reportRows } from "../../profile/report.ts";
import type { Inlining } from "../../profile/symbols.ts";
import type { CommonOptions, Context } from "../context.ts";
import { DEFAULT_DATA_FILE, isRecording, oldFile, readData } from "../data-file.ts";
import { EXIT, type Io, UsageError } from "../io.ts";
import { emit } from "../output.ts";
import { isPatchFile } from "../patch-source.ts";
import { inlinedOf, inlineOption } from "../profile-options.ts";
import { patchOption, type Registry } from "../registry.ts";
import { baseOf, resolveTarget, resolveTree } from "../resolve.ts";
import { diffText as treeDiffText } from "../text/tree.ts";

interface DiffArguments extends CommonOptions {
	readonly patch?: readonly string[];
	readonly vendor?: string;
	readonly compute?: { readonly method: DiffMethod; readonly weights?: readonly [number, number] };
	readonly order?: 0 | 1;
	readonly period?: boolean;
	readonly exact?: boolean;
	readonly guest?: boolean;
	readonly inline?: Inlining;
}

/** Options that only one kind of comparison takes. */
const OF_TREES = ["patch", "vendor"] as const;
const OF_RECORDINGS = ["compute", "order", "period", "exact", "guest", "inline"] as const;

/** The two trees of a diff: what --patch changes, or two that are named. */
async function sidesOf(io: Io, words: readonly string[], patches?: readonly string[]): Promise<[Tree, Tree]> {
	const [first, second] = words;
	if (patches !== undefined) {
		if (second !== undefined) throw new UsageError("diff with --patch takes one tree, the one to patch");
		const patched = await resolveTree(io, first, patches);
		return [await baseOf(io, first, patches), patched];
	}
	if (first !== undefined && second !== undefined)
		return [await resolveTree(io, first), await resolveTree(io, second)];
	if (first !== undefined && isPatchFile(first))
		return [await baseOf(io, undefined, [first]), await resolveTree(io, first)];
	throw new UsageError("diff needs two trees, or --patch, or two files of reenter record");
}

async function diffOfTrees(
	{ io, style }: Context,
	words: readonly string[],
	options: DiffArguments,
): Promise<number> {
	let [a, b] = await sidesOf(io, words, options.patch);
	if (options.vendor !== undefined) {
		const target = resolveTarget(b, options.vendor, undefined);
		b = onlyReached(target);
		a = onlyReached(selectVendor(a, options.vendor) ?? { tree: a, vendor: target.vendor });
	}
	const difference = diffTrees(a, b);
	emit(
		io,
		options,
		() => treeDiffText(difference, style),
		() => difference,
	);
	return EXIT.holds;
}

function refuse(args: DiffArguments, names: readonly (keyof DiffArguments)[], kind: string): void {
	const given = names.find((name) => args[name] !== undefined);
	if (given !== undefined) throw new UsageError(`--${given} is for ${kind}, which these are not`);
}

function diffOfRecordings({ io }: Context, paths: readonly [string, string], args: DiffArguments): number {
	const data = paths.map((path) => readData(io, path)) as [RecordedData, RecordedData];
	const weight = args.exact === true ? "cycles" : "samples";
	const [base, other] = data.map((one) =>
		reportRows(one.calls, {
			weight,
			guest: args.guest === true,
			inlined: inlinedOf(one, args.inline ?? "kernel"),
		}),
	);
	const options = {
		...(args.compute ?? { method: "delta-abs" as const }),
		byBaseline: args.order === 0,
		periods: args.period === true,
		cyclesPerWeight: data.map((one) => (weight === "cycles" ? 1 : one.periodCycles)) as [number, number],
	};
	const rows = diffRows(base!, other!, options);
	const side = (at: 0 | 1) => {
		const { workload, tree, vendor, cpu } = data[at];
		return { file: paths[at], workload, tree, vendor, cpu };
	};
	emit(
		io,
		args,
		() => diffText(rows, options),
		() => ({ base: side(0), data: side(1), compute: options.method, rows }),
	);
	return EXIT.holds;
}

/** The two recordings that words name, by perf's default the last two; null if they name trees. */
function recordingsOf(
	io: Io,
	words: readonly string[],
	args: DiffArguments,
): readonly [string, string] | null {
	if (words.length === 0 && args.patch === undefined) {
		const last = [oldFile(DEFAULT_DATA_FILE), DEFAULT_DATA_FILE] as const;
		return last.every((path) => isRecording(io, path)) ? last : null;
	}
	const recorded = words.map((word) => isRecording(io, word));
	if (!recorded.includes(true)) return null;
	const [first, second] = words;
	if (first === undefined || second === undefined)
		throw new UsageError(`diff of recordings needs two: the baseline and ${first}`);
	if (recorded.includes(false)) {
		const [data, tree] = recorded[0] === true ? [first, second] : [second, first];
		throw new UsageError(
			`${data} is a recording and ${tree} is none: diff compares two files of reenter record, or two trees`,
		);
	}
	return [first, second];
}

function diffCommand(
	context: Context,
	words: readonly string[],
	args: DiffArguments,
): number | Promise<number> {
	const recordings = recordingsOf(context.io, words, args);
	if (recordings === null) {
		refuse(args, OF_RECORDINGS, "recordings");
		return diffOfTrees(context, words, args);
	}
	refuse(args, OF_TREES, "trees");
	return diffOfRecordings(context, recordings, args);
}

function readCompute(text: string): NonNullable<DiffArguments["compute"]> {
	if (text === "delta" || text === "delta-abs" || text === "ratio") return { method: text };
	const weights = /^wdiff(?::(-?\d+(?:\.\d+)?),(-?\d+(?:\.\d+)?))?$/.exec(text);
	if (weights === null)
		throw new UsageError(
			`--compute "${text}": there are delta, delta-abs, ratio, wdiff and, with weights, wdiff:1,2`,
		);
	return { method: "wdiff", weights: [Number(weights[1] ?? 1), Number(weights[2] ?? 1)] };
}

function readOrder(text: string): 0 | 1 {
	if (text !== "0" && text !== "1")
		throw new UsageError(`--order "${text}": 0 is by the baseline's overhead, 1 by what is computed`);
	return text === "0" ? 0 : 1;
}

/** Adds `reenter diff`. */
export function registerDiff({ context, command, action }: Registry): void {
	command(
		"diff [a] [b]",
		"two trees, or a patch: what moved, from where to where; two files of record: perf diff's table",
	)
		.addOption(patchOption())
		.option(
			"--vendor <vendor>",
			"trees: only what this vendor runs: vmx, svm, tdx or a vendor module of the tree",
		)
		.addOption(
			new Option(
				"-c, --compute <method>",
				"recordings: delta, delta-abs, ratio or wdiff:<baseline weight>,<data weight>; default delta-abs",
			).argParser(readCompute),
		)
		.addOption(
			new Option(
				"-o, --order <column>",
				"recordings: order by the baseline (0) or by what is computed (1)",
			).argParser(readOrder),
		)
		.option("-p, --period", "recordings: show cycles too")
		.option("--exact", "recordings: all cycles, not samples")
		.option("--guest", "recordings: show what ran in the guest")
		.addOption(inlineOption(null))
		.action(
			action((a: string | undefined, b: string | undefined, args: DiffArguments) =>
				diffCommand(
					context,
					[a, b].filter((word) => word !== undefined),
					args,
				),
			),
		);
}
