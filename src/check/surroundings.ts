/**
 * What the handlers of an NMI and of an #MC see of the machine, with the properties that are asked while they run. Where
 * it is the same at two ops in a row, so is what such an event does at them. A test records all that is read meanwhile and
 * holds this to it.
 */
import type { Machine } from "../kvm/api/kvm.ts";
import * as L from "../silicon/cpu/layout.ts";

/** Unlike any surroundings, its own included. */
export const NO_SURROUNDINGS = -1;

/** Words of the processor's state block. */
export const SEEN_WORDS = [L.MCG_STATUS, L.PKRU, L.DR7, L.DR0, L.DR0 + 8, L.DR0 + 16, L.DR0 + 24] as const;

const known = new Map<string, number>();

/**
 * The surroundings as a number: the same if and only if they are.
 * @returns NO_SURROUNDINGS where something else is to be delivered, or the guest runs
 */
export function surroundings({ cpu, kernel }: Machine): number {
	if (cpu.pending !== 0 || cpu.guest !== null || cpu.machineCheckDuringEntry) return NO_SURROUNDINGS;
	const { guestContext, current, handlerDepth, perfNmi } = kernel;
	const { inGuest, handlingEvent } = guestContext;
	const flags = [cpu.gif, cpu.nmiBlocked, cpu.interruptFlag, inGuest, handlingEvent, perfNmi];
	const words = SEEN_WORDS.map((offset) => cpu.read32(offset));
	const key = `${current.name} ${handlerDepth} ${flags.join()} ${words.join()}`;
	const number = known.get(key) ?? known.size;
	known.set(key, number);
	return number;
}
