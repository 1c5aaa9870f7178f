/** Where the registers of each state component lie in the processor's area. */
import type { Cpu } from "../cpu/cpu.ts";
import * as L from "../cpu/layout.ts";
import type { StateComponent } from "../cpu/state-components.ts";

/** Components whose registers are fields of the state block; the others lie in the register file. */
const fields: readonly (number | undefined)[] = Object.assign([], { 9: L.PKRU, 10: L.PASID, 12: L.PL0_SSP });

/** CET_U: U_CET and PL3_SSP, which do not lie side by side in the state block. */
export const CET_U = 11;

/** Word index in `cpu.u32` of a component's registers. CET_U is gathered first: see `gatherCetUser`. */
export function registersOf(cpu: Cpu, component: StateComponent): number {
	if (component.index === CET_U) return gatherCetUser(cpu);
	const field = fields[component.index];
	return (cpu.base + (field ?? L.XSTATE + component.intelOffset)) >> 2;
}

/** Copies U_CET and PL3_SSP into the unused header of the register file. @returns its word index */
function gatherCetUser(cpu: Cpu): number {
	const at = (cpu.base + L.XSTATE + 512) >> 2;
	copyWords(cpu.u32, (cpu.base + L.U_CET) >> 2, cpu.u32, at, 2);
	copyWords(cpu.u32, (cpu.base + L.PL3_SSP) >> 2, cpu.u32, at + 2, 2);
	return at;
}

/** Copies words. Plain loops: the areas are short, and a subarray would be an allocation per component. */
export function copyWords(
	from: Uint32Array,
	fromAt: number,
	to: Uint32Array,
	toAt: number,
	count: number,
): void {
	for (let i = 0; i < count; i++) to[toAt + i] = from[fromAt + i]!;
}

/** Word of R0 in the legacy region, which is that of ST0 in an image. */
const STACK_AT = 8;

/**
 * Copies ST(0) to ST(7) between the register file, which has them by their physical numbers, and an image, which has them
 * from the top of the stack on.
 * @param load into the register file, whose FSW holds TOP already
 */
export function copyStack(cpu: Cpu, image: Uint32Array, load: boolean): void {
	const registers = ((cpu.base + L.XSTATE) >> 2) + STACK_AT;
	const top = (cpu.read32(L.XSTATE) >>> 27) & 7;
	for (let i = 0; i < 8; i++) {
		const inFile = registers + 4 * ((top + i) & 7);
		if (load) copyWords(image, STACK_AT + 4 * i, cpu.u32, inFile, 4);
		else copyWords(cpu.u32, inFile, image, STACK_AT + 4 * i, 4);
	}
}
