/** The tab "Loop": a tree from top to bottom, or two side by side. */
import { effect, signal } from "@preact/signals";
import type { LoopView, Target } from "../worker/api.ts";
import { askLoop, besideTarget, checks, go, state, target } from "../state/app.ts";
import { cycles, difference, percent } from "../ui/format.ts";
import { Compare } from "./compare.tsx";
import { Details } from "./details.tsx";
import { LaneHead, LaneLegend } from "./lanes.tsx";
import { type OutlineRow, outline, passedRows, visibleRows } from "./outline.ts";
import { Without } from "../ui/machine.tsx";
import { PathView } from "./path-view.tsx";

/** What the engine said of a tree, by the question. */
const views = signal<ReadonlyMap<string, LoopView | Error>>(new Map());
const keyOf = (of: Target) => JSON.stringify([of.vendor, of.tree, of.patch, of.cpu, of.configuration]);

/** Asks for a tree unless it is known. */
function want(question: Target): void {
	const key = keyOf(question);
	if (asked.has(key)) return;
	asked.add(key);
	const keep = (value: LoopView | Error) => {
		views.value = new Map(views.value).set(key, value);
		// Whoever looks at a loop will change it: the workers that check are made ready.
		if (state.value.tab === "loop" && !(value instanceof Error)) checks.warm(question);
	};
	askLoop(question).then(keep, keep);
}
const asked = new Set<string>();

/** The view of a tree, asked for when it is not there. */
export function loopViewOf(question: Target): LoopView | Error | undefined {
	return views.value.get(keyOf(question));
}

effect(() => {
	if (!["loop", "move"].includes(state.value.tab)) return;
	want(target.value);
	if (state.value.tab === "loop" && besideTarget.value !== null) want(besideTarget.value);
});

/** Whether rows are drawn that the run never passed. */
export const showsAll = signal(false);
/** Rows that somebody has folded, by place. */
const turned = signal<ReadonlySet<string>>(new Set());

/** Folds a row, or unfolds it. */
export function fold({ row }: OutlineRow): void {
	const next = new Set(turned.value);
	if (!next.delete(row.place)) next.add(row.place);
	turned.value = next;
}

/** Indices of the rows of a path that are folded now. */
export function foldedRows(all: readonly OutlineRow[]): ReadonlySet<number> {
	return new Set(all.filter(({ row }) => turned.value.has(row.place)).map(({ index }) => index));
}

function Summary({ view, other }: { readonly view: LoopView; readonly other: LoopView | null }) {
	const { cost, survey } = view;
	const delta = other === null ? 0 : other.cost.cyclesPerExit - cost.cyclesPerExit;
	return (
		<p class="summary">
			<strong>{view.name}</strong> on {view.cpu}
			{state.value.configuration === "" ? null : (
				<>
					{" "}
					with <code>{state.value.configuration}</code>
				</>
			)}
			: <b class="figure">{cycles(cost.cyclesPerExit)}</b> cycles an <code>{cost.guest}</code> exit
			<Without factors={view.without} />
			{other === null ? (
				<span class="dim">, from {survey.exits} exits of all kinds that were run just now</span>
			) : (
				<>
					{" · "}
					<strong>{other.name}</strong> <b class="figure">{cycles(other.cost.cyclesPerExit)}</b>{" "}
					<span class={delta <= 0 ? "good" : "bad"}>
						{difference(delta)} ({percent(delta / cost.cyclesPerExit)})
					</span>
				</>
			)}
		</p>
	);
}

/** The drawn rows of a view. */
export function drawnRows(
	view: LoopView,
	isComparison = false,
): {
	readonly all: readonly OutlineRow[];
	readonly visible: readonly OutlineRow[];
	readonly folded: ReadonlySet<number>;
} {
	const all = outline(view.rows, view.survey);
	const folded = isComparison ? NONE : foldedRows(all);
	return { all, visible: visibleRows(all, showsAll.value ? null : passedRows(all), folded), folded };
}
const NONE: ReadonlySet<number> = new Set();

/** The largest cost of one line, which has the longest bar. */
export function longestBar(visible: readonly OutlineRow[]): number {
	return Math.max(1, ...visible.map(({ row, seen }) => (row.kind === "step" ? (seen?.cycles ?? 0) : 0)));
}

function Single({ view }: { readonly view: LoopView }) {
	const { all, visible, folded } = drawnRows(view);
	const selected = all.find(({ row }) => row.place !== "" && row.place === state.value.step) ?? null;
	return (
		<div class="loop-single">
			<div class="panel path-panel">
				<div class="path-head">
					<span>step</span>
					<span class="cost-head">cycles</span>
					<LaneHead lanes={view.survey.lanes} />
				</div>
				<PathView
					label={`run loop of ${view.name}`}
					lines={visible.map((one) => ({ outline: one }))}
					laneCount={view.survey.lanes.length}
					selected={selected?.index ?? -1}
					closed={folded}
					costMax={longestBar(visible)}
					onSelect={({ row }) => go({ step: row.place })}
					onFold={fold}
				/>
			</div>
			<aside>
				{selected === null ? (
					<section class="details empty">
						<h2>How to read this</h2>
						<p>
							One KVM_RUN from top to bottom. Choose a step to see what it does. Arrow keys walk, left and
							right fold.
						</p>
						<p>
							The bands say whose value is loaded behind each step. VM entry switches none of them, so the
							guest runs with what the loop has loaded.
						</p>
						<LaneLegend />
					</section>
				) : (
					<Details outline={selected} survey={view.survey} />
				)}
			</aside>
		</div>
	);
}

/** The tab. */
export function LoopTab() {
	const view = loopViewOf(target.value);
	const other = besideTarget.value === null ? null : loopViewOf(besideTarget.value);
	if (view instanceof Error || other instanceof Error)
		return <p class="problem">{(view instanceof Error ? view : (other as Error)).message}</p>;
	if (view === undefined || other === undefined)
		return (
			<p class="waiting" role="status">
				The engine runs {state.value.tree} …
			</p>
		);
	return (
		<>
			<div class="toolbar">
				<Summary view={view} other={other} />
				<label class="check">
					<input
						type="checkbox"
						checked={showsAll.value}
						onChange={({ currentTarget }) => {
							showsAll.value = currentTarget.checked;
						}}
					/>{" "}
					also what lies around vcpu_run(), and what this run never passes
				</label>
			</div>
			{other === null ? <Single view={view} /> : <Compare left={view} right={other} />}
		</>
	);
}
