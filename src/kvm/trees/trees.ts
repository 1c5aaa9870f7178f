/** Trees by name: `v6.18`, `series-v1`, `series-v2:1-3`, `dedup` … */
import { FlowError } from "../flow/errors.ts";
import type { Tree } from "../flow/flow.ts";
import { applyPatches, hint } from "../flow/patch.ts";
import { v618 } from "./base.ts";
import { HISTORY } from "./history/cases.ts";
import { SERIES } from "./series.ts";

/** What `reenter trees` lists. */
export interface BuiltInTree {
	readonly name: string;
	readonly title: string;
	/** Titles of the patches on the base, in order. */
	readonly patches: readonly { readonly title: string; readonly source: string }[];
}

/** The built-in trees, the base first. */
export const BUILT_IN_TREES: readonly BuiltInTree[] = [
	{ name: v618.name, title: v618.title, patches: [] },
	...Object.entries(SERIES).map(([name, { title, patches }]) => ({
		name,
		title,
		patches: patches.map((patch) => ({ title: patch.title, source: patch.source })),
	})),
];

/**
 * Finds a tree.
 * @param spec a built-in name; for a series optionally `:N`, `:N-M` or `:N,M` for some of its patches
 * @throws FlowError if there is no such tree or patch, or the chosen patches do not apply
 */
export function findTree(spec: string): Tree {
	if (spec === v618.name) return v618;
	const historic = historyTree(spec);
	if (historic !== undefined) return historic;
	const [name = "", selection, ...rest] = spec.split(":");
	const series = SERIES[name];
	if (series === undefined || rest.length > 0) {
		throw new FlowError(
			`no tree "${spec}"${hint(
				name,
				BUILT_IN_TREES.map((tree) => tree.name),
			)} (reenter trees lists them)`,
		);
	}
	if (selection === undefined) return applyPatches(v618, series.patches, spec, series.title);
	const numbers = selectPatches(spec, selection, series.patches.length);
	const patches = numbers.map((number) => series.patches[number - 1]!);
	return { ...applyPatches(v618, patches, spec, `${series.title}; patches ${selection} only`), spec };
}

/** A tree of the casebook: `<case>-before`, `<case>-after`. */
function historyTree(spec: string): Tree | undefined {
	for (const entry of HISTORY) {
		if (spec === `${entry.name}-before`) return { ...entry.before, name: spec };
		if (spec === `${entry.name}-after`) return { ...entry.after, name: spec };
	}
	return undefined;
}

/** Patch numbers of `2`, `1-3` or `1,3-4`, ascending. */
function selectPatches(spec: string, selection: string, count: number): number[] {
	const numbers = new Set<number>();
	for (const part of selection.split(",")) {
		const match = /^(\d+)(?:-(\d+))?$/.exec(part);
		const first = Number(match?.[1]);
		const last = Number(match?.[2] ?? match?.[1]);
		if (match === null || first < 1 || last > count || first > last) {
			throw new FlowError(`"${spec}": patches are numbered 1 to ${count}; write for example :2 or :1-3`);
		}
		for (let number = first; number <= last; number++) numbers.add(number);
	}
	return [...numbers].sort((a, b) => a - b);
}
