/**
 * The physical local APIC as far as interrupt acceptance and delivery go (SDM Vol. 3A, 12.8): IRR, ISR,
 * priorities, acknowledge and EOI. Its timer and IPIs are the host kernel's ops.
 */
import { type Cpu, PENDING } from "../cpu/cpu.ts";
import type { InterruptController } from "../cpu/host-vectors.ts";

const WORDS = 8;

export class LocalApic implements InterruptController {
	/** Task priority, 0-255; its upper four bits are the class (SDM 12.8.3.1). */
	taskPriority = 0;
	private readonly cpu: Cpu;
	private readonly irr = new Int32Array(WORDS);
	private readonly isr = new Int32Array(WORDS);

	/** @param cpu the processor whose `pending` a deliverable interrupt sets */
	constructor(cpu: Cpu) {
		this.cpu = cpu;
	}

	/** Accepts an interrupt: sets its bit in IRR. @param vector 16-255; lower ones are illegal and dropped */
	raise(vector: number): void {
		if (vector < 16 || vector > 255) return;
		this.irr[vector >> 5] = this.irr[vector >> 5]! | (1 << (vector & 31));
		this.cpu.pending |= PENDING.interrupt;
	}

	/** Whether a vector waits in IRR. */
	requested(vector: number): boolean {
		return (this.irr[vector >> 5]! & (1 << (vector & 31))) !== 0;
	}

	/** Whether a vector is in service: acknowledged, without its EOI yet. */
	inService(vector: number): boolean {
		return (this.isr[vector >> 5]! & (1 << (vector & 31))) !== 0;
	}

	/** The highest vector in service, or -1. */
	highestInService(): number {
		return highest(this.isr);
	}

	/** The vector that would be delivered now, or -1: the highest of IRR, if its class is above the processor priority's. */
	highestPending(): number {
		const vector = highest(this.irr);
		if (vector < 0) return -1;
		const priority = Math.max(this.taskPriority >> 4, highest(this.isr) >> 4);
		return vector >> 4 > priority ? vector : -1;
	}

	/** Moves the highest pending vector from IRR to ISR and returns it, or -1 when none is deliverable. */
	acknowledge(): number {
		const vector = this.highestPending();
		if (vector < 0) return -1;
		const bit = 1 << (vector & 31);
		this.irr[vector >> 5] = this.irr[vector >> 5]! & ~bit;
		this.isr[vector >> 5] = this.isr[vector >> 5]! | bit;
		return vector;
	}

	/** End of interrupt: takes the highest vector out of service. What it held back becomes pending. */
	eoi(): void {
		const vector = highest(this.isr);
		if (vector >= 0) this.isr[vector >> 5] = this.isr[vector >> 5]! & ~(1 << (vector & 31));
		this.update();
	}

	/** Sets the task priority, as MOV to CR8 does (`priority` = CR8 << 4). */
	setTaskPriority(priority: number): void {
		this.taskPriority = priority & 0xff;
		this.update();
	}

	/** Makes the processor's pending bit agree with IRR, ISR and the task priority. */
	update(): void {
		if (this.highestPending() >= 0) this.cpu.pending |= PENDING.interrupt;
		else this.cpu.pending &= ~PENDING.interrupt;
	}

	/** Clears everything, as INIT does. */
	reset(): void {
		this.irr.fill(0);
		this.isr.fill(0);
		this.taskPriority = 0;
		this.update();
	}
}

/** The highest bit set in 256, or -1. */
function highest(words: Int32Array): number {
	for (let word = WORDS - 1; word >= 0; word--) {
		const bits = words[word]!;
		if (bits !== 0) return word * 32 + 31 - Math.clz32(bits);
	}
	return -1;
}
