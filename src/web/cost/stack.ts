/** An exit's cycles by op, under costs that may have been changed: counts times costs, so no run is needed for it. */
import type { CostResult } from "../../review/types.ts";

/** Costs by op, in cycles, as the sliders have them. */
export type Changed = ReadonlyMap<string, number>;

export interface Segment {
	readonly op: string;
	readonly cycles: number;
}

/** What is not an op: the guest's own instructions. */
export const GUEST_SEGMENT = "guest";

/** `xsetbv:100,vmresume:500` */
export function readCosts(text: string): Map<string, number> {
	const changed = new Map<string, number>();
	for (const part of text === "" ? [] : text.split(",")) {
		const at = part.lastIndexOf(":");
		const cycles = Number(part.slice(at + 1));
		if (at > 0 && Number.isFinite(cycles) && cycles >= 0) changed.set(part.slice(0, at), cycles);
	}
	return changed;
}

/** Writes what `readCosts` reads. */
export function writeCosts(changed: Changed): string {
	return [...changed].map(([op, cycles]) => `${op}:${cycles}`).join(",");
}

/** The ops of an exit, the dearest first. */
export function segments(
	{ opsPerExit, cyclesByOrigin }: CostResult,
	costOf: (op: string) => number,
): readonly Segment[] {
	const all = Object.entries(opsPerExit).map(([op, count]) => ({ op, cycles: count * costOf(op) }));
	return [...all, { op: GUEST_SEGMENT, cycles: Math.max(0, cyclesByOrigin.guest) }]
		.filter(({ cycles }) => cycles > 0)
		.sort((a, b) => b.cycles - a.cycles);
}

/** Cycles of all segments. */
export function total(parts: readonly Segment[]): number {
	return parts.reduce((sum, { cycles }) => sum + cycles, 0);
}
