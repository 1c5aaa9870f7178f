/** Moving a row with pointer or keyboard: what is lifted, and where it would be dropped. */
import { signal } from "@preact/signals";
import type { PathRow } from "../../kvm/flow/path.ts";
import { canDrop, canMove, type Drop } from "./patch-document.ts";

export interface Lifted {
	/** Index of the row in the path. */
	readonly from: number;
	/** Where it would go; null while that is nowhere. */
	readonly to: { readonly index: number; readonly side: Drop["side"] } | null;
	readonly by: "pointer" | "keyboard";
}

export const lifted = signal<Lifted | null>(null);

/** Pixels that a pointer moves before it drags. */
const DRAG_FROM = 5;
/** Pixels from the window's edges in which it scrolls, and by how much. */
const EDGE = 70;
const SCROLL = 14;

/**
 * Follows a pointer from where it went down.
 * @param drop called with the row and where it was dropped
 */
export function startDrag(
	event: PointerEvent,
	rows: readonly PathRow[],
	from: number,
	drop: (row: PathRow, drop: Drop) => void,
): void {
	if (event.button !== 0 || !canMove(rows[from]!)) return;
	const startY = event.clientY;
	const move = (now: PointerEvent) => {
		if (lifted.value === null && Math.abs(now.clientY - startY) < DRAG_FROM) return;
		now.preventDefault();
		if (now.clientY < EDGE + 60) scrollBy(0, -SCROLL);
		else if (now.clientY > innerHeight - EDGE) scrollBy(0, SCROLL);
		lifted.value = { from, to: placeUnder(now, rows, from), by: "pointer" };
	};
	const end = (now: Event) => {
		removeEventListener("pointermove", move);
		removeEventListener("pointerup", end);
		removeEventListener("pointercancel", end);
		const done = lifted.value;
		lifted.value = null;
		if (now.type === "pointerup" && done !== null && done.to !== null)
			drop(rows[from]!, { row: rows[done.to.index]!, side: done.to.side });
	};
	addEventListener("pointermove", move);
	addEventListener("pointerup", end);
	addEventListener("pointercancel", end);
}

function placeUnder(event: PointerEvent, rows: readonly PathRow[], from: number): Lifted["to"] {
	const element = document
		.elementFromPoint(event.clientX, event.clientY)
		?.closest<HTMLElement>("[data-index]");
	if (element === null || element === undefined) return null;
	const index = Number(element.dataset.index);
	const { top, height } = element.getBoundingClientRect();
	const side = event.clientY < top + height / 2 ? "before" : "after";
	return canDrop(rows, from, index, side) ? { index, side } : null;
}

/** Places among drawn rows, in order: before each, and behind the last one of a list. */
function placesAmong(
	rows: readonly PathRow[],
	drawn: readonly number[],
	from: number,
): NonNullable<Lifted["to"]>[] {
	return drawn.flatMap((index, at) => {
		const next = drawn[at + 1];
		const isLast = next === undefined || rows[next]!.depth < rows[index]!.depth;
		const sides: Drop["side"][] = isLast ? ["before", "after"] : ["before"];
		return sides.filter((side) => canDrop(rows, from, index, side)).map((side) => ({ index, side }));
	});
}

/**
 * A key on a row: `m` lifts it, arrows move the place, Enter drops, Escape puts it back.
 * @returns whether it took the key
 */
export function dragKey(
	event: KeyboardEvent,
	rows: readonly PathRow[],
	drawn: readonly number[],
	at: number,
	drop: (row: PathRow, drop: Drop) => void,
): boolean {
	const now = lifted.value;
	if (now === null) {
		if ((event.key !== "m" && event.key !== " ") || !canMove(rows[at]!)) return false;
		lifted.value = { from: at, to: null, by: "keyboard" };
		return true;
	}
	const places = placesAmong(rows, drawn, now.from);
	const current = now.to;
	const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
	if (step !== 0) {
		const here = places.findIndex(({ index, side }) => index === current?.index && side === current.side);
		const behind = places.findIndex(({ index }) => index > now.from);
		const start = current === null ? (behind < 0 ? places.length : behind) - (step > 0 ? 1 : 0) : here;
		const to = places[Math.max(0, Math.min(places.length - 1, start + step))] ?? null;
		lifted.value = { ...now, to };
		return true;
	}
	if (event.key === "Enter" || event.key === " ") {
		lifted.value = null;
		if (current !== null) drop(rows[now.from]!, { row: rows[current.index]!, side: current.side });
		return true;
	}
	if (event.key === "Escape" || event.key === "Tab") {
		lifted.value = null;
		return event.key === "Escape";
	}
	return true;
}
