/** Verdict and cost of the tree that is looked at, on every vendor; asked anew whenever it changes. */
import { effect, signal, untracked } from "@preact/signals";
import { type Vendor, VENDORS } from "../../silicon/models/model.ts";
import type { CostResult } from "../../review/types.ts";
import { checks, engine, state, target } from "../state/app.ts";
import { Overtaken } from "../state/engine.ts";
import type { Target, Verdict } from "../worker/api.ts";

export interface Outcome {
	/** undefined while it is being worked out. */
	readonly verdict?: Verdict;
	/** Properties that are found violated, before the search is over: their shortest schedules are not known yet. */
	readonly found?: readonly string[];
	/** Milliseconds from the question to the verdict. */
	readonly tookMs?: number;
	readonly cost?: CostResult;
	readonly baseCost?: CostResult;
	/** One line of why there is none. */
	readonly problem?: string;
}

export const outcomes = signal<Readonly<Record<Vendor, Outcome>>>({ vmx: {}, svm: {}, tdx: {} });

/** The guest whose exit is measured. */
export const usualGuest = (vendor: Vendor) => (vendor === "tdx" ? "td-vmcall" : "invd");

/** The tree that costs are compared with. */
export const COST_BASE = "v6.18";

const set = (vendor: Vendor, part: Outcome) => {
	outcomes.value = { ...outcomes.value, [vendor]: { ...outcomes.value[vendor], ...part } };
};

let asked = "";

/** Outcomes that were worked out, by the question: what was looked at before is there at once. */
const known = new Map<string, Outcome>();
const KNOWN_MAX = 200;

function keep(key: string, part: Outcome): void {
	const before = known.get(key);
	if (before === undefined && known.size >= KNOWN_MAX) known.delete(known.keys().next().value!);
	known.set(key, { ...before, ...part });
}

/** Runs a question for a vendor; what it answers is kept, and shown unless another tree is looked at by then. */
async function part(
	vendor: Vendor,
	of: Target,
	question: () => Promise<Outcome>,
	key: string,
): Promise<void> {
	try {
		const answer = await question();
		keep(JSON.stringify(of), answer);
		if (asked === key) set(vendor, answer);
	} catch (error) {
		if (error instanceof Overtaken || asked !== key) return;
		set(vendor, { problem: error instanceof Error ? error.message : String(error) });
	}
}

const costs = new Map<string, Promise<CostResult>>();
/** The cost of the tree that others are compared with, asked once a machine. */
function costOfBase(of: Target, guest: string): Promise<CostResult> {
	const question = { ...of, tree: COST_BASE, patch: "", guest };
	const key = JSON.stringify(question);
	const cost = costs.get(key) ?? engine.ask("cost", question);
	costs.set(key, cost);
	return cost;
}

/** Costs and verdicts of a tree; the vendor that is looked at comes first. */
function askAll(looked: Target, key: string): void {
	checks.drop();
	const vendors = [looked.vendor, ...VENDORS.filter((vendor) => vendor !== looked.vendor)];
	const missing = vendors.map((vendor) => {
		const of = { ...looked, vendor };
		const before = known.get(JSON.stringify(of)) ?? {};
		set(vendor, before);
		return { of, vendor, before };
	});
	for (const { of, vendor, before } of missing) {
		const guest = usualGuest(vendor);
		if (before.cost === undefined)
			void part(
				vendor,
				of,
				async () => {
					const [cost, baseCost] = await Promise.all([
						engine.ask("cost", { ...of, guest }),
						costOfBase(of, guest),
					]);
					return { cost, baseCost };
				},
				key,
			);
		if (before.verdict === undefined) {
			const began = performance.now();
			void part(
				vendor,
				of,
				async () => {
					const verdict = await checks.check(of, (found) => {
						if (asked === key) set(vendor, { found });
					});
					return { verdict, tookMs: performance.now() - began };
				},
				key,
			);
		}
	}
}

effect(() => {
	if (state.value.tab !== "move") return;
	const { vendor, ...rest } = target.value;
	const key = JSON.stringify(rest);
	if (key === asked) return;
	asked = key;
	untracked(() => {
		outcomes.value = { vmx: {}, svm: {}, tdx: {} };
		askAll({ ...rest, vendor }, key);
	});
});
