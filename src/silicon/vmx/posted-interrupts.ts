/**
 * The posted-interrupt descriptor (SDM Vol. 3C, table 30-1): 64 bytes of memory in which other processors and devices
 * leave interrupts for a guest.
 *
 *     bits 255:0    PIR: requested vectors
 *     bit 256       ON: a notification is outstanding
 *     bit 257       SN: suppress notifications of devices
 */
import type { MachineMemory } from "../machine.ts";

const CONTROL_WORD = 8;
const ON = 1;

/** Bytes and alignment of a descriptor. */
export const DESCRIPTOR_BYTES = 64;

export class PostedInterruptDescriptor {
	readonly hpa: number;
	private readonly words: Uint32Array;

	/** @param hpa a multiple of 64 */
	constructor(memory: MachineMemory, hpa: number) {
		this.hpa = hpa;
		const at = (memory.ramBase + hpa) >> 2;
		this.words = memory.u32.subarray(at, at + DESCRIPTOR_BYTES / 4);
	}

	/** Whether a vector is requested. */
	requested(vector: number): boolean {
		return (this.words[vector >> 5]! & (1 << (vector & 31))) !== 0;
	}

	/** Requests a vector: pi_test_and_set_pir(). @returns whether it was requested already */
	testAndSetPir(vector: number): boolean {
		const was = this.requested(vector);
		this.words[vector >> 5]! |= 1 << (vector & 31);
		return was;
	}

	/** Takes 32 vectors out of PIR. @param word 0-7 @returns their bits */
	takePir(word: number): number {
		const bits = this.words[word]!;
		this.words[word] = 0;
		return bits;
	}

	/** A notification is outstanding. */
	get isOn(): boolean {
		return (this.words[CONTROL_WORD]! & ON) !== 0;
	}

	/** pi_test_and_set_on(). @returns whether it was set already */
	testAndSetOn(): boolean {
		const was = this.isOn;
		this.words[CONTROL_WORD]! |= ON;
		return was;
	}

	/** pi_clear_on(). */
	clearOn(): void {
		this.words[CONTROL_WORD]! &= ~ON;
	}

	/** Whether any vector is requested: !pi_is_pir_empty(). */
	get hasRequests(): boolean {
		for (let word = 0; word < CONTROL_WORD; word++) if (this.words[word] !== 0) return true;
		return false;
	}
}
