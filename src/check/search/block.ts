/**
 * A block of a chain, and which events need not be tried in it: those that do at an op what they did at the op before.
 */
import type { DeliveryState, EventRow } from "../events.ts";
import { NO_SURROUNDINGS } from "../surroundings.ts";
import { NOTE, READ_MORE, READ_SHIFT } from "../subject.ts";
import type { Injection } from "../types.ts";
import type { Snapshot } from "./snapshot.ts";

/** A block of a chain: where it begins, and what arrives in it. */
export interface Block {
	readonly start: Snapshot;
	/** Op count at its start. */
	readonly opsBefore: number;
	/** Events that the chain has in this block: of its first one only. */
	readonly prefix: readonly Injection[];
	/** Op count at its end. */
	readonly opsAfter: number;
	readonly entries: readonly number[];
	readonly guestEntries: readonly number[];
	/** What was noted at the op before its first one, and at each of its own. */
	readonly notes: readonly number[];
	/** The surroundings of the same ops. */
	readonly surroundings: readonly number[];
}

/** Before the first op: as if somebody had looked at everything. */
const NOTHING_NOTED = { note: NOTE.interruptFlag | NOTE.gif, surroundings: NO_SURROUNDINGS };
const EVERYTHING_READ = 0xff << READ_SHIFT;

/** What was noted at an op: a note as subject.ts has it, and the surroundings. */
export type Noted = Readonly<typeof NOTHING_NOTED>;

const notedAt = ({ notes, surroundings }: Block, at: number): Noted => ({
	note: notes.at(at)!,
	surroundings: surroundings.at(at)!,
});

/** What was noted at the op before a block's first one. */
export const firstNoted = (block: Block): Noted => notedAt(block, 0);
/** What was noted at a block's last op. @param block undefined: no op has been done yet */
export const lastNoted = (block: Block | undefined): Noted =>
	block === undefined ? NOTHING_NOTED : notedAt(block, -1);

/** What was looked at ahead of a block's first op, since the op before. */
export const readsBefore = (block: Block): number => (block.notes[1] ?? EVERYTHING_READ) >> READ_SHIFT;

function deliveryState(note: number): DeliveryState {
	return {
		interruptFlag: (note & NOTE.interruptFlag) !== 0,
		gif: (note & NOTE.gif) !== 0,
		nmiBlocked: (note & NOTE.nmiBlocked) !== 0,
	};
}

/**
 * Whether an event at an op of a block is the same as at the op before: it would wait at both, and nobody looked
 * between them; or it would change nothing at both.
 */
export function isRepeated({ waits, idle, sets = 0 }: EventRow, block: Block, op: number): boolean {
	if ((waits ?? idle) === undefined) return false;
	// At the entry itself it is tried in any case: what enters the guest is looked at apart.
	if (block.entries.includes(op)) return false;
	const at = op - block.opsBefore;
	const note = block.notes[at]!;
	const [here, before] = [deliveryState(note), deliveryState(block.notes[at - 1]!)];
	if (idle?.(here) === true && idle(before))
		return here.interruptFlag === before.interruptFlag && here.gif === before.gif;
	if (waits === undefined || (note >> READ_SHIFT) & (sets | READ_MORE)) return false;
	return waits(here) && waits(before);
}

/**
 * Whether an event that is the last one does at an op what it did at the op before: its handler runs at once, sees the same
 * and leaves nothing behind. @param first op of the block that may have it
 */
export function passesAgain({ passes }: EventRow, block: Block, op: number, first: number): boolean {
	if (passes === undefined) return false;
	if (block.entries.includes(op)) return false;
	// An event of the chain that came at the op before may have come first or last there.
	if (block.prefix.length > 0 && op <= first + 1) return false;
	const at = op - block.opsBefore;
	const [here, before] = [block.surroundings[at]!, block.surroundings[at - 1]!];
	return (
		here !== NO_SURROUNDINGS &&
		here === before &&
		passes(deliveryState(block.notes[at]!)) &&
		passes(deliveryState(block.notes[at - 1]!))
	);
}
