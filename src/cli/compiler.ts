/**
 * V8's optimizing compiler, set for what a command does. Nobody sees a difference but in time.
 *
 * The flags are the process's: only a command, whose process is its own, may say them. A library's caller keeps its own.
 */
import { setFlagsFromString } from "node:v8";

/** Bytes of bytecode that are inlined into one function. */
const INLINED = "--max-inlined-bytecode-size-cumulative";

/** While a pool is at work, and as V8 11 (Node 20) has it by itself. */
// biome-ignore format: one flag a row
const POOL_FLAGS = [
	[`${INLINED}=300`, `${INLINED}=920`],
	// Bytes of bytecode that a function runs before it is looked at.
	["--interrupt-budget=200000", "--interrupt-budget=67584"],
	["--no-turbo-loop-peeling", "--turbo-loop-peeling"],
] as const;

/**
 * Has V8 compile less, and later. Each thread of a pool has it compile the machine for itself, on the processors that
 * search: that was more than a third of what a search of seconds took.
 */
export function compileLess(): void {
	for (const [atWork] of POOL_FLAGS) setFlagsFromString(atWork);
}

/** Has V8 compile as it does by itself. */
export function compileAsUsual(): void {
	for (const [, usual] of POOL_FLAGS) setFlagsFromString(usual);
}

/**
 * Has V8 inline more, for a guest that runs for seconds on one thread: the dispatcher, system instructions, the delivery of
 * events and the run loop are many short functions. A tenth more VM exits a second; far more than this is slower again.
 */
export function compileForGuests(): void {
	setFlagsFromString(`${INLINED}=4000`);
}
