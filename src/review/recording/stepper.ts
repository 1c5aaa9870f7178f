/**
 * Runs a guest one instruction at a time, so that each can be written down. What it does to the machine is what the
 * translator makes of the same bytes; only debug exceptions (RFLAGS.TF, breakpoints) are left out.
 */
import type { Cpu } from "../../silicon/cpu/cpu.ts";
import * as L from "../../silicon/cpu/layout.ts";
import { faulted } from "../../silicon/paging/access.ts";
import { processorServices } from "../../silicon/system/services.ts";

/** Blocking by STI and by MOV SS. */
const SHADOW = 3;

/**
 * Puts itself in the place of the processor's executor.
 * @param before called before each instruction; false: no more of them are wanted before the next VM exit, and the
 *   processor's own executor goes on
 * @returns puts the processor's own executor back
 */
export function stepGuest(cpu: Cpu, before: (cpu: Cpu) => boolean): () => void {
	const whole = cpu.execute;
	cpu.execute = (running) => {
		let wanted = true;
		while (wanted) {
			if (running.pending !== 0 || running.cycles >= running.limit) {
				if (processorServices.boundary(running)) return;
			}
			wanted = before(running);
			const shadow = running.read32(L.INTERRUPTIBILITY) & SHADOW;
			const shadowAt = running.f64[(running.base + L.SHADOW_AT) >> 3];
			const complete = running.executeOne(running);
			if (running.guest === null || running.paused) return;
			if (!complete && faulted(running) && processorServices.deliverFault(running)) return;
			if (shadow !== 0 && running.f64[(running.base + L.SHADOW_AT) >> 3] === shadowAt)
				running.write32(L.INTERRUPTIBILITY, running.read32(L.INTERRUPTIBILITY) & ~SHADOW);
		}
		whole(running);
	};
	return () => {
		cpu.execute = whole;
	};
}
