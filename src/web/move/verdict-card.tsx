/** One vendor's verdict: what was looked at, what it costs, and of a violation how to see it. */
import type { Violation } from "../../check/types.ts";
import { VENDORS, type Vendor } from "../../silicon/models/model.ts";
import { eventsText } from "../state/schedule.ts";
import { go, state } from "../state/app.ts";
import { cycles, difference, percent } from "../ui/format.ts";
import { Without } from "../ui/machine.tsx";
import type { Outcome } from "./verdicts.ts";
import { DEFAULT_STATE, writeHash } from "../state/url.ts";

const NAMES: Readonly<Record<Vendor, string>> = { vmx: "VMX", svm: "SVM", tdx: "TDX" };

/** Where a violation's run is, as an address. */
function runAddress(vendor: Vendor, violation: Violation) {
	const { tree, patch, cpu, model, configuration } = state.value;
	return {
		...DEFAULT_STATE,
		tab: "run" as const,
		tree,
		patch,
		vendor,
		guest: "script",
		events: eventsText(violation.schedule),
		configuration,
		cpu,
		model,
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

/** What was looked at. */
function Bounds({ verdict, found = [], tookMs = 0 }: Outcome) {
	if (verdict === undefined && found.length > 0)
		return (
			<p class="bounds dim" data-early>
				<code>{found.join(", ")}</code>; the shortest schedule is searched for …
			</p>
		);
	if (verdict === undefined) return <p class="bounds dim" />;
	const { bounds, cpu } = verdict.check;
	const [scope] = bounds.searches;
	const configuration = scope?.configurations[0] ?? "default";
	return (
		<p class="bounds dim" title={`${(tookMs / 1000).toFixed(1)} s from the question to the verdict`}>
			{bounds.runs} schedules of up to {bounds.eventsMax} event of {bounds.kinds.length} kinds at{" "}
			{bounds.points} ops; {cpu},{" "}
			{configuration === "default" ? "usual configuration" : <code>{configuration}</code>}
			<Without factors={verdict.without} />
		</p>
	);
}

/** A card. */
export function VerdictCard({ vendor, outcome }: { readonly vendor: Vendor; readonly outcome: Outcome }) {
	const { verdict, problem, found = [] } = outcome;
	const check = verdict?.check;
	const violated = check === undefined ? found.length > 0 : check.verdict === "violated";
	const status =
		problem !== undefined
			? "does not run"
			: violated
				? "violated"
				: check === undefined
					? "checking …"
					: check.verdict === "holds"
						? "holds"
						: "vacuous";
	const sign =
		violated || problem !== undefined
			? "✘ "
			: check === undefined
				? ""
				: check.verdict === "holds"
					? "✔ "
					: "⚠ ";
	return (
		<article class={`card ${violated || problem !== undefined ? "is-bad" : ""}`} data-verdict={status}>
			<h3>
				{NAMES[vendor]}
				<span class={violated || problem !== undefined ? "bad" : check === undefined ? "dim" : "good"}>
					{sign}
					{status}
				</span>
			</h3>
			<Cost {...outcome} />
			{problem === undefined ? null : <p class="bad">{problem}</p>}
			<Bounds {...outcome} />
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
