/** How it is said what a snapshot holds (rules.ts says it of a machine). */

/**
 * What is done with a field: `saved` and hashed, `unhashed`: saved alone, `left`: neither. One that is `fixed` leads to what is saved,
 * and holds the same itself for as long as its object is there.
 */
export type FieldRule = "saved" | "unhashed" | "fixed" | "left";

export interface SnapshotRules {
	/** Objects that never change: not walked. */
	readonly opaque: ReadonlySet<object>;
	/** Memory whose views are no part of any object. */
	readonly foreign: ReadonlySet<ArrayBufferLike>;
	/** @param owner the object @param field its field's name */
	rule(owner: object, field: string): FieldRule;
	/** Live words of a typed array, from its start; absent: all. */
	liveWords(owner: object, field: string): (() => number) | null;
	/** Ranges of foreign memory that belong to the machine. */
	readonly ranges: readonly MemoryRange[];
}

/** Words of a typed array. */
export interface MemoryRange {
	readonly words: Uint32Array;
	readonly first: number;
	readonly count: number;
	/** Live words from `first`, when that changes. */
	readonly live?: () => number;
	/** Words, counted from `first`, that are never hashed. */
	readonly unhashed?: ReadonlySet<number>;
	/** The first word that is hashed, counted from `first`, when that changes. */
	readonly hashedFrom?: () => number;
}

/** An object that cannot be saved: its class and where it was found. */
export class SnapshotError extends Error {
	override readonly name = "SnapshotError";
}
