/**
 * Objects that were not there when the code for a machine was made: a closure's holder, a queued work item. A snapshot has them by name
 * of their fields, which is slower.
 */
import { contentOf, fillContainer, isContainer } from "./containers.ts";
import { SnapshotError, type SnapshotRules } from "./snapshot-rules.ts";

/** One of them, with the names and values of its fields, or with a container's content. */
export interface LooseObject {
	readonly object: object;
	readonly fields: readonly (readonly [string, unknown])[] | readonly unknown[];
}

/** No objects, and no values that lead to them. */
export const NONE: readonly never[] = [];

/** Gives objects back what they held. */
export function restoreLoose(loose: readonly LooseObject[]): void {
	for (const { object, fields } of loose) {
		if (isContainer(object)) fillContainer(object, fields);
		else
			for (const [name, value] of fields as readonly (readonly [string, unknown])[])
				(object as Record<string, unknown>)[name] = value;
	}
}

/** Tells them from those that the code knows. */
export class LooseObjects {
	private readonly known: ReadonlyMap<object, number>;
	private readonly rules: SnapshotRules;

	/** @param known objects that the code knows */
	constructor(known: ReadonlyMap<object, number>, rules: SnapshotRules) {
		this.known = known;
		this.rules = rules;
	}

	/** Whether a value is one. */
	has(value: unknown): value is object {
		if (typeof value !== "object" || value === null) return false;
		return !this.known.has(value) && !this.rules.opaque.has(value) && !ArrayBuffer.isView(value);
	}

	/**
	 * Saves a value if it is one, and those that it leads to.
	 * @param found takes them @param seen those that were looked at
	 * @throws SnapshotError for a typed array with memory of its own
	 */
	collect(value: unknown, found: LooseObject[], seen: Set<object>): void {
		if (typeof value !== "object" || value === null) return;
		if (this.known.has(value) || this.rules.opaque.has(value) || seen.has(value)) return;
		seen.add(value);
		if (ArrayBuffer.isView(value)) {
			if (this.rules.foreign.has(value.buffer)) return;
			throw new SnapshotError("a typed array was made while the machine ran; it cannot be saved");
		}
		const list = isContainer(value) ? contentOf(value) : Object.entries(value);
		found.push({ object: value, fields: list });
		for (const field of list)
			this.collect(isContainer(value) ? field : (field as [string, unknown])[1], found, seen);
	}
}
