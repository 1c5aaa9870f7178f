/** The tab "Cost": cycles an exit by kind and tree, stacked by op, and the costs that they rest on. */
import { computed, effect, signal } from "@preact/signals";
import type { CostResult } from "../../review/types.ts";
import type { Cost, Vendor } from "../../silicon/models/model.ts";
import { besideTarget, engine, go, machine, state, target } from "../state/app.ts";
import { cycles, difference, percent } from "../ui/format.ts";
import type { Target } from "../worker/api.ts";
import { type Segment, readCosts, segments, total, writeCosts } from "./stack.ts";

/** A chart with a scale of its own. */
interface Group {
	readonly title: string;
	readonly guests: readonly string[];
}

const VM_GROUPS: readonly Group[] = [
	{ title: "handled in KVM", guests: ["invd", "wrmsr-tscdeadline", "cpuid", "rdmsr", "vmcall"] },
	{ title: "out to user space and back", guests: ["pio", "mmio"] },
];

/** Guests whose exits are shown: each makes exits of one kind. */
const GROUPS: Readonly<Record<Vendor, readonly Group[]>> = {
	vmx: VM_GROUPS,
	svm: VM_GROUPS,
	tdx: [{ title: "a TD’s calls", guests: ["td-vmcall", "td-cpuid", "td-mixed"] }],
};

const guestsOf = (vendor: Vendor) => GROUPS[vendor].flatMap(({ guests }) => guests);

/** Colours of the ops, the dearest first; the others share one. Each segment that has room also has its name. */
const COLOURS = 8;

const results = signal<ReadonlyMap<string, CostResult | Error>>(new Map());
const table = signal<Readonly<Record<string, Cost>>>({});
const keyOf = (of: Target, guest: string) => JSON.stringify([of, guest]);

const trees = computed<readonly Target[]>(() =>
	besideTarget.value === null ? [target.value] : [target.value, besideTarget.value],
);

const asked = new Set<string>();
effect(() => {
	if (state.value.tab !== "cost") return;
	const of = target.value;
	engine.ask("costs", of).then(
		(costs) => {
			if (target.value === of) table.value = costs;
		},
		// What is wrong with the tree is said by the bars, which ask for the same.
		() => {},
	);
	for (const guest of guestsOf(of.vendor)) {
		for (const tree of trees.value) {
			const key = keyOf(tree, guest);
			if (asked.has(key)) continue;
			asked.add(key);
			const keep = (value: CostResult | Error) => {
				results.value = new Map(results.value).set(key, value);
			};
			engine.ask("cost", { ...tree, guest }).then(keep, keep);
		}
	}
});

const changed = computed(() => readCosts(state.value.costs));
const costOf = (op: string) => changed.value.get(op) ?? table.value[op]?.cycles ?? 0;

/** One bar. */
interface Bar {
	readonly guest: string;
	readonly of: Target;
	readonly parts: readonly Segment[];
	readonly sum: number;
	/** Of the first tree's bar of the same kind. */
	readonly base: number;
}

function barsOf(): Bar[] {
	return guestsOf(state.value.vendor).flatMap((guest) => {
		let base = 0;
		return trees.value.flatMap((of, at): Bar[] => {
			const result = results.value.get(keyOf(of, guest));
			if (result === undefined || result instanceof Error) return [];
			const parts = segments(result, costOf);
			const sum = total(parts);
			if (at === 0) base = sum;
			return [{ guest, of, parts, sum, base }];
		});
	});
}

/** Ops by their cycles in all bars, the dearest first. */
function dearest(bars: readonly Bar[]): string[] {
	const sums = new Map<string, number>();
	for (const { parts } of bars)
		for (const { op, cycles: own } of parts) sums.set(op, (sums.get(op) ?? 0) + own);
	return [...sums].sort((a, b) => b[1] - a[1]).map(([op]) => op);
}

/** Share of the longest bar that a character of a name needs. */
const CHARACTER_SHARE = 0.0155;
const OTHERS = "the rest";

/** A bar's segments as they are drawn: the dearest ops of all bars in their order, and one for the rest. */
function drawn(
	parts: readonly Segment[],
	order: readonly string[],
): (Segment & { readonly colour: string; readonly number: number | null })[] {
	const coloured = parts
		.map((part) => ({ ...part, place: order.indexOf(part.op) }))
		.filter(({ place }) => place < COLOURS)
		.sort((a, b) => a.place - b.place)
		.map(({ op, cycles: own, place }) => ({ op, cycles: own, colour: String(place), number: place + 1 }));
	const rest = total(parts) - total(coloured);
	return rest < 0.05 ? coloured : [...coloured, { op: OTHERS, cycles: rest, colour: "rest", number: null }];
}

function Stacked({
	parts,
	order,
	longest,
}: {
	readonly parts: readonly Segment[];
	readonly order: readonly string[];
	readonly longest: number;
}) {
	return (
		<div class="stacked">
			{drawn(parts, order).map(({ op, cycles: own, colour, number }) => (
				<span
					key={op}
					class={`segment colour-${colour}`}
					style={{ width: `${(own / longest) * 100}%` }}
					title={`${op}: ${cycles(own)} cycles`}
				>
					{own / longest > (op.length + 1) * CHARACTER_SHARE
						? op
						: own / longest > 2 * CHARACTER_SHARE
							? number
							: ""}
				</span>
			))}
		</div>
	);
}

function Chart({
	title,
	bars,
	order,
}: {
	readonly title: string;
	readonly bars: readonly Bar[];
	readonly order: readonly string[];
}) {
	const longest = Math.max(1, ...bars.map(({ sum }) => sum));
	const nameOf = (of: Target) => (of.patch === "" ? of.tree : `${of.tree} + patch`);
	return (
		<table class="chart">
			<caption>{title}</caption>
			<thead class="offscreen">
				<tr>
					<th>exit</th>
					<th>tree</th>
					<th>by op</th>
					<th>cycles</th>
				</tr>
			</thead>
			<tbody>
				{bars.map(({ guest, of, parts, sum, base }, at) => {
					const isFirst = at === 0 || bars[at - 1]!.guest !== guest;
					return (
						<tr key={`${guest} ${nameOf(of)}`} class={isFirst ? "first" : ""}>
							<th scope="row">{isFirst ? <code>{guest}</code> : <span class="offscreen">{guest}</span>}</th>
							<td class="tree">{nameOf(of)}</td>
							<td class="stack-cell">
								<Stacked parts={parts} order={order} longest={longest} />
							</td>
							<td class="figure">
								{cycles(sum)}
								{isFirst ? null : (
									<span class={sum - base < -0.5 ? "good" : sum - base > 0.5 ? "bad" : "dim"}>
										{" "}
										{difference(sum - base)} ({percent((sum - base) / base)})
									</span>
								)}
							</td>
						</tr>
					);
				})}
			</tbody>
		</table>
	);
}

/** Which colour and number is which op. A number stands in bars that have no room for the name. */
function Key({ order }: { readonly order: readonly string[] }) {
	return (
		<ul class="legend" aria-label="ops by colour">
			{order.slice(0, COLOURS).map((op, place) => (
				<li key={op}>
					<span class={`swatch colour-${place}`}>{place + 1}</span>
					<code>{op}</code>
				</li>
			))}
		</ul>
	);
}

/** Changes the cost of an op; null puts the model's back. */
function setCost(op: string, value: number | null): void {
	const next = new Map(changed.value);
	if (value === null) next.delete(op);
	else next.set(op, value);
	go({ costs: writeCosts(next) });
}

function Sliders({ order }: { readonly order: readonly string[] }) {
	const ops = order.filter((op) => table.value[op] !== undefined);
	return (
		<section class="sliders" aria-label="costs of ops">
			<h2>
				What an op costs
				<button
					class="plain"
					type="button"
					disabled={changed.value.size === 0}
					onClick={() => go({ costs: "" })}
				>
					put all back
				</button>
			</h2>
			<p class="dim">In cycles. The bars follow at once: counts of ops, which were run, times these.</p>
			{ops.map((op) => {
				const { cycles: own, origin, source } = table.value[op]!;
				const value = costOf(op);
				const step = own < 5 ? 0.1 : 1;
				const id = `cost-${op.replace(/\W/g, "-")}`;
				return (
					<div class={`slider ${changed.value.has(op) ? "is-changed" : ""}`} key={op}>
						<label for={id}>
							<code>{op === "code" ? "code (one instruction)" : op}</code>
							<span class={`origin origin-${origin}`}>{origin}</span>
						</label>
						<input
							id={id}
							type="range"
							min={0}
							max={Math.max(4 * own, 10)}
							step={step}
							value={value}
							onInput={({ currentTarget }) => setCost(op, Number(currentTarget.value))}
						/>
						<output class="figure">{value}</output>
						<p class="source">
							{source}
							{changed.value.has(op) ? (
								<>
									{" "}
									<button class="link" type="button" onClick={() => setCost(op, null)}>
										back to {own}
									</button>
								</>
							) : null}
						</p>
					</div>
				);
			})}
		</section>
	);
}

/** The tab. */
export function CostTab() {
	const bars = barsOf();
	const order = dearest(bars);
	const wanted = guestsOf(state.value.vendor).length * trees.value.length;
	const failed = trees.value
		.flatMap((of) => guestsOf(of.vendor).map((guest) => results.value.get(keyOf(of, guest))))
		.find((result) => result instanceof Error);
	return (
		<>
			<div class="toolbar">
				<p class="summary">
					Cycles an exit on {machine.value?.cpu ?? "…"}
					{state.value.configuration === "" ? null : (
						<>
							{" "}
							with <code>{state.value.configuration}</code>
						</>
					)}
					, by what KVM and the processor do in it
					{state.value.with === "" ? <span class="dim">. Choose a tree beside it to compare.</span> : null}
				</p>
				<span class="dim" role="status">
					{bars.length < wanted && failed === undefined ? "measuring …" : ""}
				</span>
			</div>
			{failed instanceof Error ? <p class="problem">{failed.message}</p> : null}
			<div class="cost-panels">
				<div class="panel chart-panel">
					{GROUPS[state.value.vendor].map(({ title, guests }) => (
						<Chart
							key={title}
							title={title}
							bars={bars.filter(({ guest }) => guests.includes(guest))}
							order={order}
						/>
					))}
					<Key order={order} />
				</div>
				<Sliders order={order} />
			</div>
		</>
	);
}
