/** Vector operations that Wasm has no instructions for, or not with x86's results: by number, for translated code. */
import type { Cpu } from "../cpu/cpu.ts";
import * as L from "../cpu/layout.ts";
import { noteUnavailableMmx } from "../x87/instruction.ts";
import { AES } from "./aes.ts";
import { CONVERT } from "./convert.ts";
import { FLOAT } from "./float.ts";
import { INTEGER } from "./integer.ts";
import type { VectorOperation } from "./operation.ts";
import { SHA } from "./sha.ts";
import { STRINGS } from "./strings.ts";

const table: readonly (readonly [string, VectorOperation])[] = [
	...FLOAT,
	...CONVERT,
	...INTEGER,
	...STRINGS,
	...AES,
	...SHA,
	["mmx", noteUnavailableMmx],
];

const numbers = new Map(table.map(([name], number) => [name, number]));

/** The number of an operation. @throws TypeError if there is none of that name */
export function vectorOperation(name: string): number {
	const number = numbers.get(name);
	if (number === undefined) throw new TypeError(`no vector operation ${name}`);
	return number;
}

/**
 * Carries out an operation on VECTOR_A, VECTOR_B and VECTOR_C of the state block; its result is in VECTOR_RESULT.
 * @returns 1 if a fault is noted, else 0
 */
export function carryOutVector(cpu: Cpu, operation: number, immediate: number): number {
	table[operation]![1](cpu, immediate);
	return cpu.read32(L.FAULT) !== 0 ? 1 : 0;
}
