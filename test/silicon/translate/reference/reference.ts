/** The reference interpreter as a whole: one instruction at a time, exact at faults. */
import { Code, Decoder, Instruction } from "iced-x86";
import { ARITHMETIC } from "./arithmetic.ts";
import { BITS } from "./bits.ts";
import { CONTROL } from "./control.ts";
import { DATA } from "./data.ts";
import { SHIFT } from "./shift.ts";
import { type Operation, type Reference, ReferenceFault } from "./state.ts";
import { STRINGS } from "./strings.ts";
import { VECTOR } from "./vector/vector.ts";

const operations = new Map<number, Operation>([
	...ARITHMETIC,
	...SHIFT,
	...BITS,
	...DATA,
	...CONTROL,
	...STRINGS,
	...VECTOR,
]);

const strings = new Map<number, Operation>(STRINGS);

/** Whether the reference knows a mnemonic. */
export function isKnown(mnemonic: number): boolean {
	return operations.has(mnemonic);
}

/** Whether a mnemonic is that of a vector instruction. */
export function isVector(mnemonic: number): boolean {
	return VECTOR.has(mnemonic);
}

/**
 * Carries out one instruction.
 * @returns the fault it raised, with the state as before it (for REP: before the faulting element), or null
 * @throws Unpredictable if the manual does not say what happens
 */
export function interpret(r: Reference, i: Instruction): ReferenceFault | null {
	// MOVSD and CMPSD are two instructions each.
	const isString = i.code === Code.Movsd_m32_m32 || i.code === Code.Cmpsd_m32_m32;
	const operation = (isString ? strings : operations).get(i.mnemonic);
	if (operation === undefined) throw new Error(`the reference does not know ${i.toString()}`);
	r.checkpoint();
	const start = r.rip;
	r.rip = BigInt.asUintN(r.bitness, start + BigInt(i.length));
	try {
		operation(r, i);
		r.checkpoint();
		return null;
	} catch (error) {
		r.rollBack();
		r.rip = start;
		if (error instanceof ReferenceFault) return error;
		throw error;
	}
}

/**
 * Runs code from RIP until an instruction `stop` says so, or a fault.
 * @returns the fault, or null, and how many instructions were carried out
 */
export function runReference(
	r: Reference,
	stepsMax: number,
	stop: (i: Instruction) => boolean,
): { fault: ReferenceFault | null; instructions: number } {
	const i = new Instruction();
	try {
		for (let steps = 0; steps < stepsMax; steps++) {
			const at = Number(r.linearIn(1, r.rip));
			const decoder = new Decoder(r.bitness, r.memory.bytes.subarray(at, at + 15), 0);
			decoder.ip = r.rip;
			decoder.decodeOut(i);
			decoder.free();
			if (stop(i)) return { fault: null, instructions: steps };
			const fault = interpret(r, i);
			if (fault !== null) return { fault, instructions: steps };
		}
		throw new Error(`no end within ${stepsMax} instructions`);
	} finally {
		i.free();
	}
}
