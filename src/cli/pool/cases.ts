/** The casebook on several threads: a case on a vendor is one task. */
import type { CaseBounds, CaseResult } from "../../check/casebook.ts";
import type { HistoryCase } from "../../kvm/trees/history/case.ts";
import { VENDORS, type Vendor } from "../../silicon/models/model.ts";
import type { Io } from "../io.ts";
import { type PoolOptions, runTasks } from "./pool.ts";
import type { Task } from "./task.ts";

/** A case on one of its vendors. */
export interface CaseOnVendor {
	readonly entry: HistoryCase;
	readonly vendor: Vendor;
}

/** A case is two searches, of few kinds of event. */
const CASE_WEIGHT = 1;

/** Runs cases. @returns results in the order of the cases */
export async function runCases(
	io: Io,
	cases: readonly CaseOnVendor[],
	bounds: CaseBounds,
	pool: PoolOptions,
): Promise<CaseResult[]> {
	const tasks = cases.map(
		({ entry, vendor }, group): Task => ({
			kind: "case",
			name: entry.name,
			vendor,
			bounds,
			// Within the default bounds cases have the tree behind the fix in common.
			group: bounds === "own" ? group : VENDORS.indexOf(vendor),
			machine: VENDORS.indexOf(vendor),
			weight: CASE_WEIGHT,
		}),
	);
	const results = await runTasks(io, [], tasks, pool);
	return cases.map(({ entry }, at) => ({ entry, ...(results[at] as Omit<CaseResult, "entry">) }));
}
