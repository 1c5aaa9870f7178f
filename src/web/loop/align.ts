/**
 * Two paths side by side: lines that both have stand at the same height, a step that left one place and came to another is
 * a move, and the rest was put in or taken out.
 */
import type { OutlineRow } from "./outline.ts";

/** One line of the comparison. */
export interface Slot {
	readonly left: OutlineRow | null;
	readonly right: OutlineRow | null;
}

/** A move: lines of the slots that hold its two ends. */
export interface Moved {
	readonly from: number;
	readonly to: number;
	/** What stands below the step moved with it. */
	readonly isInner: boolean;
}

export interface Alignment {
	readonly slots: readonly Slot[];
	readonly moves: readonly Moved[];
}

const inFlow = ({ row }: OutlineRow) => `${row.kind} ${row.name} ${row.flow}`;
const anywhere = ({ row }: OutlineRow) =>
	row.kind === "return" || row.kind === "break" || row.kind === "else" ? null : `${row.kind} ${row.name}`;

/** The longest common run of two lists by their keys, as pairs of indices. */
export function commonRun(a: readonly string[], b: readonly string[]): [number, number][] {
	const width = b.length + 1;
	const lengths = new Uint16Array((a.length + 1) * width);
	for (let i = a.length - 1; i >= 0; i--) {
		for (let j = b.length - 1; j >= 0; j--) {
			lengths[i * width + j] =
				a[i] === b[j]
					? lengths[(i + 1) * width + j + 1]! + 1
					: Math.max(lengths[(i + 1) * width + j]!, lengths[i * width + j + 1]!);
		}
	}
	const pairs: [number, number][] = [];
	for (let i = 0, j = 0; i < a.length && j < b.length; ) {
		if (a[i] === b[j]) pairs.push([i++, j++]);
		else if (lengths[(i + 1) * width + j]! >= lengths[i * width + j + 1]!) i++;
		else j++;
	}
	return pairs;
}

/** Aligns two lists of drawn rows. */
export function align(left: readonly OutlineRow[], right: readonly OutlineRow[]): Alignment {
	const slots: Slot[] = [];
	let i = 0;
	let j = 0;
	const upTo = (a: number, b: number) => {
		while (i < a) slots.push({ left: left[i++]!, right: null });
		while (j < b) slots.push({ left: null, right: right[j++]! });
	};
	for (const [a, b] of commonRun(left.map(inFlow), right.map(inFlow))) {
		upTo(a, b);
		slots.push({ left: left[i++]!, right: right[j++]! });
	}
	upTo(left.length, right.length);
	return { slots, moves: movesOf(slots) };
}

/** An alignment without the lines that both have, but for those around a difference and what these lie in. */
export function withoutTheSame({ slots, moves }: Alignment, context: number): Alignment {
	const kept = new Set<number>();
	for (const [line, { left, right }] of slots.entries()) {
		if (left !== null && right !== null) continue;
		for (let near = line - context; near <= line + context; near++) if (near in slots) kept.add(near);
		// What it lies in, on both sides.
		for (const [outer, slot] of slots.slice(0, line).entries()) {
			const holds = (own: OutlineRow | null, inner: OutlineRow | null) =>
				own !== null && inner !== null && own.index < inner.index && inner.index < own.row.end;
			if (holds(slot.left, left) || holds(slot.right, right)) kept.add(outer);
		}
	}
	// The guest is what everything turns around.
	for (const [line, { left }] of slots.entries()) if (left?.entersGuest === true) kept.add(line);
	const lines = [...kept].sort((a, b) => a - b);
	const place = new Map(lines.map((line, at) => [line, at]));
	return {
		slots: lines.map((line) => slots[line]!),
		moves: moves.map((move) => ({ ...move, from: place.get(move.from)!, to: place.get(move.to)! })),
	};
}

function movesOf(slots: readonly Slot[]): Moved[] {
	const come = new Map<string, number[]>();
	for (const [line, { left, right }] of slots.entries()) {
		const key = left === null && right !== null ? anywhere(right) : null;
		if (key !== null) come.set(key, [...(come.get(key) ?? []), line]);
	}
	const moves: Moved[] = [];
	for (const [from, { left, right }] of slots.entries()) {
		const key = left !== null && right === null ? anywhere(left) : null;
		const to = key === null ? undefined : come.get(key)?.shift();
		if (to !== undefined) moves.push({ from, to, isInner: false });
	}
	return moves.map((move) => ({ ...move, isInner: isInner(move, moves, slots) }));
}

/** Whether a move lies within another one on both sides. */
function isInner(move: Moved, moves: readonly Moved[], slots: readonly Slot[]): boolean {
	const left = slots[move.from]!.left!;
	const right = slots[move.to]!.right!;
	return moves.some((outer) => {
		const from = slots[outer.from]!.left!;
		const to = slots[outer.to]!.right!;
		return (
			from.index < left.index &&
			left.index < from.row.end &&
			to.index < right.index &&
			right.index < to.row.end
		);
	});
}
