/** speedscope's file format, a sampled profile (https://www.speedscope.app/file-format-schema.json). */
import type { CallTreeData, Weight } from "../call-tree.ts";

export interface SpeedscopeFile {
	readonly $schema: string;
	readonly name: string;
	readonly exporter: string;
	readonly activeProfileIndex: number;
	readonly shared: { readonly frames: readonly { readonly name: string }[] };
	readonly profiles: readonly {
		readonly type: "sampled";
		readonly name: string;
		readonly unit: "none";
		readonly startValue: number;
		readonly endValue: number;
		readonly samples: readonly (readonly number[])[];
		readonly weights: readonly number[];
	}[];
}

/**
 * A call tree as one profile. Cycles have no unit of speedscope's, so the name says it.
 * @param hz cycles a second
 */
export function speedscopeFile(tree: CallTreeData, name: string, weight: Weight, hz: number): SpeedscopeFile {
	const samples: number[][] = [];
	const weights: number[] = [];
	for (let node = 1; node < tree.parent.length; node++) {
		const value = tree[weight][node]!;
		if (value <= 0) continue;
		const stack: number[] = [];
		for (let at = node; at > 0; at = tree.parent[at]!) stack.unshift(tree.symbol[at]!);
		samples.push(stack);
		weights.push(value);
	}
	const sum = weights.reduce((total, value) => total + value, 0);
	return {
		$schema: "https://www.speedscope.app/file-format-schema.json",
		name,
		exporter: "reenter",
		activeProfileIndex: 0,
		shared: { frames: tree.symbols.map((symbol) => ({ name: symbol })) },
		profiles: [
			{
				type: "sampled",
				name: weight === "cycles" ? `cycles (hz=${hz})` : "samples",
				unit: "none",
				startValue: 0,
				endValue: sum,
				samples,
				weights,
			},
		],
	};
}
