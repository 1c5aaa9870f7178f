/** Two trees side by side. What moved is drawn as moved: a line from where a step was to where it is. */
import type { LoopView } from "../worker/api.ts";
import { signal } from "@preact/signals";
import { go, state } from "../state/app.ts";
import { LINE_HEIGHT } from "../ui/metrics.ts";
import { type Alignment, align, withoutTheSame } from "./align.ts";
import { LaneHead, LaneLegend } from "./lanes.tsx";
import { drawnRows, longestBar } from "./loop-tab.tsx";
import { type Line, type Mark, PathView } from "./path-view.tsx";

const RIVER_WIDTH = 72;
/** Lines around a difference that are shown. */
const CONTEXT = 2;
const showsTheSame = signal(false);
const NONE: ReadonlySet<number> = new Set();

/** The lines of one side, marked. */
function linesOf({ slots, moves }: Alignment, side: "left" | "right"): Line[] {
	const moved = new Map(moves.map((move) => [side === "left" ? move.from : move.to, move.isInner]));
	return slots.map((slot, line): Line => {
		const outline = slot[side];
		const isAlone = outline !== null && slot[side === "left" ? "right" : "left"] === null;
		if (!isAlone) return { outline };
		const mark: Mark = moved.has(line)
			? side === "left"
				? "moved-from"
				: "moved-to"
			: side === "left"
				? "removed"
				: "inserted";
		return { outline, mark, isInner: moved.get(line) === true };
	});
}

/** The lines between the two. */
function River({ slots, moves }: Alignment) {
	const y = (line: number) => line * LINE_HEIGHT + LINE_HEIGHT / 2;
	return (
		<svg class="river" aria-hidden="true" width={RIVER_WIDTH} height={slots.length * LINE_HEIGHT}>
			{moves
				.filter(({ isInner }) => !isInner)
				.map(({ from, to }) => (
					<g key={from} class="move-line">
						<path
							d={`M 2 ${y(from)} C ${RIVER_WIDTH * 0.6} ${y(from)} ${RIVER_WIDTH * 0.4} ${y(to)} ${RIVER_WIDTH - 8} ${y(to)}`}
						/>
						<circle cx="4" cy={y(from)} r="3" />
						<polygon
							points={`${RIVER_WIDTH - 1},${y(to)} ${RIVER_WIDTH - 9},${y(to) - 4} ${RIVER_WIDTH - 9},${y(to) + 4}`}
						/>
					</g>
				))}
		</svg>
	);
}

/** Index of the selected row among lines; -1 if it is not there. */
function selectedIn(lines: readonly Line[]): number {
	const { step } = state.value;
	const found = lines.find(({ outline }) => step !== "" && outline?.row.place === step);
	return found?.outline?.index ?? -1;
}

/** The comparison. */
export function Compare({ left, right }: { readonly left: LoopView; readonly right: LoopView }) {
	const a = drawnRows(left, true).visible;
	const b = drawnRows(right, true).visible;
	const whole = align(a, b);
	const alignment = showsTheSame.value ? whole : withoutTheSame(whole, CONTEXT);
	const costMax = Math.max(longestBar(a), longestBar(b));
	const sides = [
		["left", left, linesOf(alignment, "left")],
		["right", right, linesOf(alignment, "right")],
	] as const;
	const views = sides.map(([side, view, lines]) => (
		<div class="side" key={side}>
			<div class="path-head">
				<span>
					<b>{view.name}</b>
				</span>
				<span class="cost-head">cycles</span>
				<LaneHead lanes={view.survey.lanes} />
			</div>
			<PathView
				label={`run loop of ${view.name}`}
				lines={lines}
				laneCount={view.survey.lanes.length}
				selected={selectedIn(lines)}
				closed={NONE}
				costMax={costMax}
				isNarrow
				onSelect={({ row }) => go({ step: row.place })}
				onFold={() => {}}
			/>
		</div>
	));
	return (
		<>
			<div class="panel compare">
				{views[0]}
				<River {...alignment} />
				{views[1]}
			</div>
			<div class="toolbar below">
				<LaneLegend />
				<button
					class="plain"
					type="button"
					aria-pressed={showsTheSame.value}
					onClick={() => {
						showsTheSame.value = !showsTheSame.value;
					}}
				>
					{showsTheSame.value
						? "only what differs"
						: `all lines: ${whole.slots.length - alignment.slots.length} more are the same`}
				</button>
			</div>
		</>
	);
}
