/** A workload's profile for the page: one short run, its table, its flame graph, and the reasons. */
import { explainSymbol, explanationText } from "../../profile/explain-symbol.ts";
import { layoutFlame } from "../../profile/flame.ts";
import { record } from "../../profile/record.ts";
import { reportRows, viewTree } from "../../profile/report.ts";
import { inlinedSymbols } from "../../profile/symbols.ts";
import { findWorkload } from "../../profile/workloads/workloads.ts";
import type { ProfileView, Target } from "./api.ts";
import { modelOf } from "./setting.ts";
import { treeOf } from "./trees.ts";

/** Iterations of the guest: a profile of which the first places no longer change, in well under two seconds. */
const ITERATIONS_MAX = 3000;
/** Rows of the table. */
const ROWS_MAX = 24;
/** Boxes of the flame graph that are narrower are left out. */
const LEAST_SHARE = 0.0015;

/**
 * Profiles a workload.
 * @throws ProfileError if there is none, or it does not run on the vendor
 */
export function profileView(target: Target, workloadName: string): ProfileView {
	const tree = treeOf(target);
	const { vendor } = target;
	const workload = findWorkload(workloadName);
	const iterations = Math.min(workload.iterations, ITERATIONS_MAX);
	const recording = record({ workload, tree, vendor, model: modelOf(target), iterations, ops: true });
	const inlined = inlinedSymbols(tree, "kernel");
	const rows = reportRows(recording.calls, { inlined }).slice(0, ROWS_MAX);
	const flame = layoutFlame(viewTree(recording.calls, new Set(), true), "cycles", 0, LEAST_SHARE);
	const symbols = new Set([...rows.map(({ symbol }) => symbol), ...flame.boxes.map(({ name }) => name)]);
	const reasons = [...symbols].map((symbol) => [
		symbol,
		explanationText(explainSymbol(recording, symbol, inlined)),
	]);
	return {
		tree: tree.name,
		cpu: recording.cpu,
		exits: recording.exits,
		periodCycles: recording.periodCycles,
		rows,
		flame,
		reasons: Object.fromEntries(reasons),
	};
}
