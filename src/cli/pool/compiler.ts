/**
 * V8's optimizing compiler while a pool is at work. Each thread has V8 compile the machine for itself, on the processors that search:
 * that was more than a third of what a search of seconds took. It compiles later, and inlines less, as long as a pool is there.
 *
 * The flags are the process's: only a command, whose process is its own, may say them. A library's caller keeps its own.
 */
import { setFlagsFromString } from "node:v8";

/** At work, and as V8 11 (Node 20) has it by itself. */
// biome-ignore format: one flag a row
const FLAGS = [
	// Bytes of bytecode that are inlined into one function.
	["--max-inlined-bytecode-size-cumulative=300", "--max-inlined-bytecode-size-cumulative=920"],
	// Bytes of bytecode that a function runs before it is looked at.
	["--interrupt-budget=200000", "--interrupt-budget=135168"],
	["--no-turbo-loop-peeling", "--turbo-loop-peeling"],
] as const;

/** Has V8 compile less. */
export function compileLess(): void {
	for (const [atWork] of FLAGS) setFlagsFromString(atWork);
}

/** Has V8 compile as it does by itself. */
export function compileAsUsual(): void {
	for (const [, usual] of FLAGS) setFlagsFromString(usual);
}
