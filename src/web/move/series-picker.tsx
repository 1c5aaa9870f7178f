/** Patches of the built-in series, to be picked one by one. */
import { catalogue, go, state } from "../state/app.ts";

/** The series and patches of a tree's name: `series-v1:1,3-4`. */
export function picked(
	tree: string,
	counts: ReadonlyMap<string, number>,
): { readonly series: string; readonly patches: ReadonlySet<number> } {
	const [series = "", selection] = tree.split(":");
	const count = counts.get(series) ?? 0;
	const patches = new Set<number>();
	for (const part of (selection ?? `1-${count}`).split(",")) {
		const [first = 0, last = first] = part.split("-").map(Number);
		for (let patch = first; patch <= Math.min(last, count); patch++) if (patch > 0) patches.add(patch);
	}
	return { series, patches };
}

/** The name of a tree with some of a series' patches. */
export function treeOfPatches(
	series: string,
	patches: ReadonlySet<number>,
	count: number,
	base: string,
): string {
	if (patches.size === 0) return base;
	if (patches.size === count) return series;
	return `${series}:${[...patches].sort((a, b) => a - b).join(",")}`;
}

/** The picker. */
export function SeriesPicker() {
	const known = catalogue.value;
	const [base, ...series] = known?.trees ?? [];
	if (base === undefined) return null;
	const counts = new Map(series.map(({ name, patches }) => [name, patches.length]));
	const now = picked(state.value.tree, counts);
	return (
		<section aria-label="patches of the series">
			<h2>Or pick patches that were posted</h2>
			{series.map(({ name, title, patches }) => (
				<details key={name} open={name === (counts.has(now.series) ? now.series : "series-v1")}>
					<summary>
						<code>{name}</code> <span class="dim">{title}</span>
					</summary>
					<ul class="patches">
						{patches.map((patch, at) => {
							const number = at + 1;
							const own = now.series === name ? now.patches : new Set<number>();
							return (
								<li key={number}>
									<label>
										<input
											type="checkbox"
											checked={own.has(number)}
											onChange={({ currentTarget }) => {
												const next = new Set(own);
												if (currentTarget.checked) next.add(number);
												else next.delete(number);
												go({ tree: treeOfPatches(name, next, patches.length, base.name), step: "" }, true);
											}}
										/>{" "}
										{number}/{patches.length} {patch.title.replace(/^KVM: /, "")}
									</label>
								</li>
							);
						})}
					</ul>
				</details>
			))}
		</section>
	);
}
