/** Verdict and cost of the tree that is looked at, on every vendor; asked anew whenever it changes. */
import { effect, signal } from "@preact/signals";
import { type Vendor, VENDORS } from "../../silicon/models/model.ts";
import type { CostResult } from "../../review/types.ts";
import { checker, engine, state, target } from "../state/app.ts";
import { Overtaken } from "../state/engine.ts";
import type { TreeReference, Verdict } from "../worker/api.ts";

export interface Outcome {
	/** undefined while it is being worked out. */
	readonly verdict?: Verdict;
	readonly cost?: CostResult;
	readonly baseCost?: CostResult;
	/** One line of why there is none. */
	readonly problem?: string;
}

export const outcomes = signal<Readonly<Record<Vendor, Outcome>>>({ vmx: {}, svm: {}, tdx: {} });

/** The guest whose exit is measured. */
export const usualGuest = (vendor: Vendor) => (vendor === "tdx" ? "td-vmcall" : "invd");

const set = (vendor: Vendor, part: Outcome) => {
	outcomes.value = { ...outcomes.value, [vendor]: { ...outcomes.value[vendor], ...part } };
};

let asked = "";

/** Runs a question for a vendor; what it answers is of no interest any more when another tree is looked at. */
async function part(vendor: Vendor, key: string, question: () => Promise<Outcome>): Promise<void> {
	try {
		const answer = await question();
		if (asked === key) set(vendor, answer);
	} catch (error) {
		if (error instanceof Overtaken || asked !== key) return;
		set(vendor, { problem: error instanceof Error ? error.message : String(error) });
	}
}

/** The cost, then the first verdict, of each vendor in turn; then the verdicts of all kinds of event. */
async function askAll(reference: TreeReference, vendors: readonly Vendor[], key: string): Promise<void> {
	checker.drop();
	for (const vendor of vendors) {
		const guest = usualGuest(vendor);
		void part(vendor, key, async () => ({
			cost: await engine.ask("cost", { ...reference, vendor, guest }),
			baseCost: await engine.ask("cost", { tree: "v6.18", patch: "", vendor, guest }),
		}));
	}
	for (const kinds of ["first", "all"] as const) {
		for (const vendor of vendors) {
			if (asked !== key || outcomes.value[vendor].problem !== undefined) continue;
			await part(vendor, key, async () => ({
				verdict: await checker.ask("check", { ...reference, vendor, kinds }),
			}));
		}
	}
}

effect(() => {
	if (state.value.tab !== "move") return;
	const { tree, patch, vendor: first } = target.value;
	const key = `${tree}\n${patch}`;
	if (key === asked) return;
	asked = key;
	outcomes.value = { vmx: {}, svm: {}, tdx: {} };
	// The vendor that is looked at comes first.
	void askAll({ tree, patch }, [first, ...VENDORS.filter((vendor) => vendor !== first)], key);
});
