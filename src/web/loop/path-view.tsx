/** One tree as a vertical path: gutter with loops, steps, cost, lanes. A tree in the sense of ARIA, walked by the arrow keys. */
import { useRef } from "preact/hooks";
import type { ComponentChildren, ComponentProps } from "preact";
import type { PathRow } from "../../kvm/flow/path.ts";
import { cycles } from "../ui/format.ts";
import { Gutter } from "./gutter.tsx";
import { LANE_WIDTH, LANE_WIDTH_NARROW, Lanes } from "./lanes.tsx";
import { type OutlineRow, laneSegments, loopSpans } from "./outline.ts";

/** What has become of a line in a comparison. */
export type Mark = "moved-from" | "moved-to" | "removed" | "inserted";

const MARK_TEXT: Readonly<Record<Mark, readonly [sign: string, said: string]>> = {
	"moved-from": ["↷", "moved away"],
	"moved-to": ["↶", "moved here"],
	removed: ["−", "taken out"],
	inserted: ["+", "put in"],
};

export interface Line {
	/** null: a gap, beside something that the other tree has. */
	readonly outline: OutlineRow | null;
	readonly mark?: Mark;
	/** It went with what it lies in: the mark is said for screen readers only. */
	readonly isInner?: boolean;
}

export interface PathViewProps {
	readonly label: string;
	readonly lines: readonly Line[];
	readonly laneCount: number;
	/** Index in the path of the selected row; -1 for none. */
	readonly selected: number;
	readonly closed: ReadonlySet<number>;
	readonly costMax: number;
	/** Drawn beside another one. */
	readonly isNarrow?: boolean;
	readonly onSelect: (row: OutlineRow) => void;
	readonly onFold: (row: OutlineRow) => void;
	/** Keys that the view itself does not know. @returns whether it took it */
	readonly onKey?: (event: KeyboardEvent, row: OutlineRow) => boolean;
	/** More of a row, in front of its name. */
	readonly handle?: (row: OutlineRow) => ComponentChildren;
	readonly rowAttributes?: (row: OutlineRow, line: number) => ComponentProps<"div">;
}

/** A phone's width: lanes are as narrow as those of two trees. */
const PHONE = matchMedia("(max-width: 640px)");

/** Whether a row has an inside. */
export const hasInside = ({ row, index }: OutlineRow) => row.end > index + 1;

/** How a row's name is written. */
function nameOf({ kind, name, op }: PathRow): ComponentChildren {
	switch (kind) {
		case "function":
			return (
				<>
					<b>{name}</b>
					<i>()</i>
					{op === undefined ? null : <i class="via"> .{op}</i>}
				</>
			);
		case "if":
			return (
				<>
					<i>if </i>
					{name}
				</>
			);
		case "loop":
			return (
				<>
					<i>for (;;) </i>
					<b>{name}</b>
				</>
			);
		case "else":
			return <i>else</i>;
		case "break":
			return <i>{name}</i>;
		case "return":
			return (
				<>
					<i>return</i>
					{name.replace(/^return/, "")}
				</>
			);
		default:
			return name;
	}
}

/** The path. */
export function PathView(props: PathViewProps) {
	const { label, lines, laneCount, selected, closed, costMax, onSelect, onFold, onKey } = props;
	const rows = lines.flatMap(({ outline }) => (outline === null ? [] : [outline]));
	const list = useRef<HTMLDivElement>(null);
	// Gaps have no loops and no lanes of their own; what runs past them goes on.
	const drawn = lines.map(({ outline }, at) => outline ?? gapRow(lines, at));
	const focus = (row: OutlineRow | undefined) => {
		if (row === undefined) return;
		onSelect(row);
		list.current?.querySelector<HTMLElement>(`[data-index="${row.index}"]`)?.focus();
	};
	const key = (event: KeyboardEvent, row: OutlineRow) => {
		if (onKey?.(event, row) === true) {
			event.preventDefault();
			return;
		}
		const at = rows.indexOf(row);
		const parent = () => rows.slice(0, at).findLast((one) => one.row.depth < row.row.depth);
		const moves: Readonly<Record<string, () => void>> = {
			ArrowDown: () => focus(rows[at + 1]),
			ArrowUp: () => focus(rows[at - 1]),
			j: () => focus(rows[at + 1]),
			k: () => focus(rows[at - 1]),
			Home: () => focus(rows[0]),
			End: () => focus(rows.at(-1)),
			ArrowLeft: () => (hasInside(row) && !closed.has(row.index) ? onFold(row) : focus(parent())),
			ArrowRight: () => (closed.has(row.index) ? onFold(row) : focus(rows[at + 1])),
			Enter: () => onSelect(row),
		};
		const move = event.ctrlKey || event.metaKey || event.altKey ? undefined : moves[event.key];
		if (move === undefined) return;
		event.preventDefault();
		move();
	};
	const tabStop = rows.some(({ index }) => index === selected) ? selected : (rows[0]?.index ?? -1);
	return (
		<div class="path" style={{ "--lanes": laneCount }}>
			<Gutter loops={loopSpans(drawn)} lines={lines.length} />
			<div class="path-rows" role="tree" aria-label={label} ref={list}>
				{lines.map(({ outline, mark, isInner }, at) =>
					outline === null ? (
						<div class="row gap" role="presentation" key={`gap ${at}`} />
					) : (
						<Row
							{...props}
							key={outline.index}
							outline={outline}
							line={at}
							mark={mark}
							isInner={isInner === true}
							isTabStop={outline.index === tabStop}
							costMax={costMax}
							onKeyDown={(event) => key(event, outline)}
						/>
					),
				)}
			</div>
			<Lanes
				segments={laneSegments(drawn, laneCount)}
				count={laneCount}
				lines={lines.length}
				pitch={props.isNarrow === true || PHONE.matches ? LANE_WIDTH_NARROW : LANE_WIDTH}
			/>
		</div>
	);
}

/** What a gap shows in gutter and lanes: the row above it, as if nothing had been done. */
function gapRow(lines: readonly Line[], at: number): OutlineRow {
	const above = lines.slice(0, at).findLast(({ outline }) => outline !== null)?.outline;
	const row: PathRow = {
		kind: "step",
		name: "",
		flow: "",
		file: "",
		reference: "",
		place: "",
		depth: above?.row.depth ?? 0,
		end: 0,
	};
	return {
		row,
		index: above?.index ?? 0,
		seen: null,
		cycles: 0,
		entersGuest: false,
		lanes: above?.lanes ?? [],
	};
}

interface RowProps extends PathViewProps {
	readonly outline: OutlineRow;
	readonly line: number;
	readonly mark: Mark | undefined;
	readonly isInner: boolean;
	readonly isTabStop: boolean;
	readonly onKeyDown: (event: KeyboardEvent) => void;
}

function Row({
	outline,
	line,
	mark,
	isInner,
	isTabStop,
	onKeyDown,
	selected,
	closed,
	costMax,
	onSelect,
	onFold,
	handle,
	rowAttributes,
}: RowProps) {
	const { row, index, seen, cycles: cost, entersGuest } = outline;
	const folds = hasInside(outline);
	const isClosed = closed.has(index);
	const [sign, said] = mark === undefined ? ["", ""] : MARK_TEXT[mark];
	const own = row.kind === "step" || isClosed ? cost : (seen?.cycles ?? 0);
	const classes = [
		"row",
		`kind-${row.kind}`,
		seen === null && row.depth > 0 && row.kind !== "else" ? "unseen" : "",
		entersGuest ? "enters-guest" : "",
		mark ?? "",
	];
	return (
		<div
			{...rowAttributes?.(outline, line)}
			class={classes.filter((one) => one !== "").join(" ")}
			role="treeitem"
			aria-level={row.depth + 1}
			aria-selected={index === selected}
			{...(folds ? { "aria-expanded": !isClosed } : {})}
			tabIndex={isTabStop ? 0 : -1}
			data-index={index}
			data-place={row.place}
			style={{ "--depth": row.depth }}
			onClick={() => onSelect(outline)}
			onKeyDown={onKeyDown}
		>
			{folds ? (
				<span
					class="fold"
					aria-hidden="true"
					onClick={(event) => {
						event.stopPropagation();
						onFold(outline);
					}}
				>
					{isClosed ? "▸" : "▾"}
				</span>
			) : (
				<span class="fold" aria-hidden="true" />
			)}
			{handle?.(outline)}
			<span class="name">{nameOf(row)}</span>
			{mark === undefined ? null : (
				<span class={isInner ? "mark offscreen" : "mark"}>
					<span aria-hidden="true">{sign}</span> {said}
				</span>
			)}
			<span class="cost">
				{own >= 0.05 && seen !== null ? (
					<>
						<span class="bar" aria-hidden="true" style={{ "--share": Math.min(1, own / costMax) }} />
						<span class="figure">{cycles(own)}</span>
					</>
				) : null}
			</span>
		</div>
	);
}
