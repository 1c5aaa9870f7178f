/** One vendor's verdict: what was looked at, what it costs, and of a violation how to see it. */
import type { Violation } from "../../check/types.ts";
import { VENDORS, type Vendor } from "../../silicon/models/model.ts";
import { eventsText } from "../state/schedule.ts";
import { go, state } from "../state/app.ts";
import { cycles, difference, percent } from "../ui/format.ts";
import type { Outcome } from "./verdicts.ts";
import { DEFAULT_STATE, writeHash } from "../state/url.ts";

const NAMES: Readonly<Record<Vendor, string>> = { vmx: "VMX", svm: "SVM", tdx: "TDX" };

/** Where a violation's run is, as an address. */
function runAddress(vendor: Vendor, violation: Violation) {
	const { tree, patch } = state.value;
	return {
		...DEFAULT_STATE,
		tab: "run" as const,
		tree,
		patch,
		vendor,
		guest: "script",
		events: eventsText(violation.schedule),
		configuration: "",
	};
}

function Cost({ cost, baseCost }: Outcome) {
	if (cost === undefined || baseCost === undefined) return <p class="card-cost dim">…</p>;
	const delta = cost.cyclesPerExit - baseCost.cyclesPerExit;
	return (
		<p class="card-cost">
			<b class="figure">{cycles(cost.cyclesPerExit)}</b> cycles an <code>{cost.guest}</code> exit{" "}
			<span class={delta < -0.05 ? "good" : delta > 0.05 ? "bad" : "dim"}>
				{difference(delta)}
				{Math.abs(delta) < 0.05 ? "" : ` (${percent(delta / baseCost.cyclesPerExit)})`}
			</span>
		</p>
	);
}

/** A card. */
export function VerdictCard({ vendor, outcome }: { readonly vendor: Vendor; readonly outcome: Outcome }) {
	const { verdict, problem } = outcome;
	const check = verdict?.check;
	const violated = check?.verdict === "violated";
	const status =
		problem !== undefined
			? "does not run"
			: check === undefined
				? "checking …"
				: violated
					? "violated"
					: check.verdict === "holds"
						? "holds"
						: "vacuous";
	const sign =
		check === undefined
			? ""
			: violated || problem !== undefined
				? "✘ "
				: check.verdict === "holds"
					? "✔ "
					: "⚠ ";
	return (
		<article class={`card ${violated || problem !== undefined ? "is-bad" : ""}`} data-verdict={status}>
			<h3>
				{NAMES[vendor]}
				<span class={check === undefined ? "dim" : violated ? "bad" : "good"}>
					{sign}
					{status}
				</span>
			</h3>
			<Cost {...outcome} />
			{problem === undefined ? null : <p class="bad">{problem}</p>}
			<p class="bounds dim">
				{check === undefined
					? ""
					: `${check.bounds.runs} schedules of up to ${check.bounds.eventsMax} event at ${check.bounds.points} ops, one configuration, ${((verdict?.tookMs ?? 0) / 1000).toFixed(1)} s; ${verdict?.kindsLeft === 0 ? "all kinds of event" : `${verdict?.kindsLeft} more kinds follow …`}`}
			</p>
		</article>
	);
}

/** What the verdicts found, of all vendors; the place for it is always there, so that nothing moves when something is found. */
export function Violations({ outcomes }: { readonly outcomes: Readonly<Record<Vendor, Outcome>> }) {
	const found = VENDORS.flatMap((vendor) =>
		(outcomes[vendor].verdict?.check.violations ?? []).map((violation) => ({ vendor, violation })),
	);
	return (
		// biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls
		<section class="found" aria-label="violations" aria-live="polite" tabIndex={0}>
			{found.length === 0 ? <p class="dim">No violation is found so far.</p> : null}
			{found.map(({ vendor, violation }) => (
				<div class="violation" key={`${vendor} ${violation.property}`}>
					<p>
						<b>{NAMES[vendor]}</b> <code>{violation.property}</code>: {violation.summary}
					</p>
					<a
						class="button"
						href={writeHash(runAddress(vendor, violation))}
						onClick={(event) => {
							event.preventDefault();
							go(runAddress(vendor, violation), true);
						}}
					>
						▶ watch it happen
					</a>
				</div>
			))}
		</section>
	);
}
