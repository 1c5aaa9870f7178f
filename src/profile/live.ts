/**
 * Samples as `perf top` keeps them from one refresh of the screen to the next: each refresh fades the old ones to 7/8
 * (hists__decay_entries, tools/perf/ui/hist.c's decay_samples, v6.18) and adds the new; zeroing forgets the old ones.
 */
import type { CallTreeData } from "./call-tree.ts";

const KEPT = 7 / 8;

/** Follows one call tree that only grows: nodes keep their numbers. */
export class LiveTree {
	private readonly seen = { samples: [] as number[], cycles: [] as number[] };
	private readonly shown = { samples: [] as number[], cycles: [] as number[] };

	/**
	 * What is shown after one more refresh.
	 * @param tree all that was charged since the run began
	 * @param zeroes only what is new is shown
	 */
	refresh(tree: CallTreeData, zeroes: boolean): CallTreeData {
		return {
			...tree,
			samples: this.fade("samples", tree.samples, zeroes),
			cycles: this.fade("cycles", tree.cycles, zeroes),
		};
	}

	private fade(weight: "samples" | "cycles", now: readonly number[], zeroes: boolean): number[] {
		const { [weight]: seen } = this.seen;
		const { [weight]: shown } = this.shown;
		for (const [node, value] of now.entries()) {
			const old = zeroes ? 0 : (shown[node] ?? 0) * KEPT;
			shown[node] = old + value - (seen[node] ?? 0);
			seen[node] = value;
		}
		return [...shown];
	}
}
