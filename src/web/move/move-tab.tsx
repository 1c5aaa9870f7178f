/** The tab "Move it": take a step and put it elsewhere, or pick patches of a series; cost and verdict follow. */
import type { PathRow } from "../../kvm/flow/path.ts";
import { VENDORS } from "../../silicon/models/model.ts";
import { LaneHead } from "../loop/lanes.tsx";
import { drawnRows, fold, longestBar, loopViewOf } from "../loop/loop-tab.tsx";
import { PathView } from "../loop/path-view.tsx";
import { go, patchText, setPatch, state, target } from "../state/app.ts";
import type { LoopView } from "../worker/api.ts";
import { dragKey, lifted, startDrag } from "./drag.ts";
import { type Drop, canMove, editText, readDocument, withMove, withoutLast } from "./patch-document.ts";
import { PatchPanel } from "./patch-panel.tsx";
import { SeriesPicker } from "./series-picker.tsx";
import { VerdictCard, Violations } from "./verdict-card.tsx";
import { outcomes } from "./verdicts.ts";

/** The last tree that could be drawn: it stays while the next one is made, and when a patch does not apply. */
let lastView: LoopView | null = null;

/** Carries a move out. */
function drop(row: PathRow, place: Drop): void {
	const text = withMove(patchText.value, state.value.tree, row, place);
	if (text !== null) setPatch(text);
}

/** What a screen reader is told of the row that is lifted. */
function said(rows: readonly PathRow[]): string {
	const now = lifted.value;
	if (now === null) return "";
	const name = rows[now.from]?.name ?? "";
	if (now.to === null)
		return `${name} is lifted: arrows choose its place, Enter drops it, Escape puts it back`;
	const anchor = rows[now.to.index]!;
	return `${name}: ${now.to.side === "before" ? "before" : "behind"} ${anchor.name} in ${anchor.flow}()`;
}

function Path({ view }: { readonly view: LoopView }) {
	const { all, visible, folded } = drawnRows(view);
	const { rows } = view;
	const now = lifted.value;
	const selected = all.find(({ row }) => row.place !== "" && row.place === state.value.step)?.index ?? -1;
	return (
		<div class={`panel path-panel movable ${now === null ? "" : "lifting"}`}>
			<div class="path-head">
				<span>drag a step, or press m on it</span>
				<span class="cost-head">cycles</span>
				<LaneHead lanes={view.survey.lanes} />
			</div>
			<PathView
				label={`run loop of ${view.name}, to be changed`}
				lines={visible.map((outline) => ({ outline }))}
				laneCount={view.survey.lanes.length}
				selected={selected}
				closed={folded}
				costMax={longestBar(visible)}
				onSelect={({ row }) => go({ step: row.place })}
				onFold={fold}
				onKey={(event, { index }) =>
					dragKey(
						event,
						rows,
						visible.map((one) => one.index),
						index,
						drop,
					)
				}
				handle={({ row }) =>
					canMove(row) ? (
						<span class="grip" aria-hidden="true">
							⠿
						</span>
					) : null
				}
				rowAttributes={({ index }) => ({
					onPointerDown: (event: PointerEvent) => startDrag(event, rows, index, drop),
					...(now?.from === index ? { "data-lifted": "" } : {}),
					...(now?.to?.index === index ? { "data-drop": now.to.side } : {}),
				})}
			/>
			<p class="offscreen" role="status">
				{said(rows)}
			</p>
		</div>
	);
}

/** The moves that were made, with a way back. */
function Moves() {
	const document = readDocument(patchText.value);
	if (document === null || document.edits.length === 0)
		return (
			<p class="dim">
				Nothing is moved yet. Drag a step of the loop to another place, or focus it and press <kbd>m</kbd>,
				arrows, <kbd>Enter</kbd>.
			</p>
		);
	return (
		<>
			<ol class="moves">
				{document.edits.map((edit, at) => (
					<li key={`${at} ${editText(edit)}`}>
						<code>{editText(edit)}</code>
					</li>
				))}
			</ol>
			<button class="plain" type="button" onClick={() => setPatch(withoutLast(patchText.value))}>
				↶ take the last one back
			</button>
		</>
	);
}

/** Verdict and cost of every vendor. It alone is drawn anew when one comes. */
function Verdicts() {
	return (
		<section aria-label="verdict and cost">
			<h2>Is it still safe, and what does it save?</h2>
			<div class="cards">
				{VENDORS.map((vendor) => (
					<VerdictCard key={vendor} vendor={vendor} outcome={outcomes.value[vendor]} />
				))}
			</div>
			<Violations outcomes={outcomes.value} />
		</section>
	);
}

/** The tab. */
export function MoveTab() {
	const view = loopViewOf(target.value);
	if (view !== undefined && !(view instanceof Error)) lastView = view;
	if (lastView === null && view === undefined)
		return (
			<p class="waiting" role="status">
				The engine runs {state.value.tree} …
			</p>
		);
	return (
		<div class="move">
			<div>
				{view instanceof Error ? (
					<p class="problem" role="alert">
						{view.message}
					</p>
				) : null}
				{lastView === null ? null : <Path view={lastView} />}
			</div>
			<aside class="move-side">
				<Verdicts />
				<section aria-label="moves">
					<h2>Your moves</h2>
					<Moves />
				</section>
				<SeriesPicker />
				<PatchPanel />
			</aside>
		</div>
	);
}
