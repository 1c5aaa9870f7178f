/** Names of kernel functions, interned once, so that call stacks are arrays of small integers. */

import type { Cpu } from "./cpu.ts";

const symbolNames: string[] = [];
const symbolIds = new Map<string, number>();

/** The id of a symbol (a kernel function's name). */
export function symbol(name: string): number {
	let id = symbolIds.get(name);
	if (id === undefined) {
		id = symbolNames.length;
		symbolNames.push(name);
		symbolIds.set(name, id);
	}
	return id;
}

/** The name behind a symbol id. */
export function symbolName(id: number): string {
	return symbolNames[id] ?? `symbol ${id}`;
}

/** Names of the functions on a processor's call stack, innermost first. Empty unless the stack is kept (Cpu.stack). */
export function callStackOf({ stack, stackDepth }: Pick<Cpu, "stack" | "stackDepth">): string[] {
	const names: string[] = [];
	for (let depth = stackDepth - 1; depth >= 0; depth--) names.push(symbolName(stack[depth]!));
	return names;
}
