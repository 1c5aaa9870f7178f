/** Arrays, maps and sets: their contents as lists, which a snapshot has. */

/** What holds values in an order. */
export type Container = unknown[] | Map<unknown, unknown> | Set<unknown>;

/** Whether an object is an array, map or set. */
export function isContainer(value: object): value is Container {
	return Array.isArray(value) || value instanceof Map || value instanceof Set;
}

/** A container's content as a list: a map's keys and values take turns. */
export function contentOf(container: Container): unknown[] {
	if (Array.isArray(container)) return container.slice();
	if (container instanceof Set) return [...container];
	const list: unknown[] = [];
	for (const [key, value] of container) list.push(key, value);
	return list;
}

/** Empties a list. To set its length is many times slower: V8 has no code of its own for that. */
export function empty(list: unknown[]): void {
	while (list.length > 0) list.pop();
}

/** Gives a container a content. */
export function fillContainer(container: Container, list: readonly unknown[]): void {
	if (Array.isArray(container)) {
		if (container.length !== list.length) container.length = list.length;
		for (let at = 0; at < list.length; at++) container[at] = list[at];
		return;
	}
	container.clear();
	if (container instanceof Set) for (const value of list) container.add(value);
	else for (let at = 0; at < list.length; at += 2) container.set(list[at], list[at + 1]);
}

/** Whether a container has what a list has. */
export function holds(container: Container, list: readonly unknown[]): boolean {
	if (!Array.isArray(container)) {
		if (container.size === 0) return list.length === 0;
		return holds(contentOf(container), list);
	}
	if (container.length !== list.length) return false;
	for (let at = 0; at < list.length; at++) if (container[at] !== list[at]) return false;
	return true;
}
