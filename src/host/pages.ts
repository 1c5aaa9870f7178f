/** Host physical memory in pages, handed out and taken back: alloc_pages(). */
import type { MachineMemory } from "../silicon/machine.ts";

const PAGE_BYTES = 4096;

/** A run of pages that is free again. */
interface FreeRun {
	hpa: number;
	bytes: number;
}

export class HostPages {
	private readonly memory: MachineMemory;
	/** Pages from here on were never taken. */
	private nextHpa: number;
	/** Runs below that which are free, by rising address; no two touch. */
	private readonly free: FreeRun[] = [];
	/** Bytes that are taken now. */
	usedBytes = 0;

	/** @param firstHpa the first page that is not the kernel's own */
	constructor(memory: MachineMemory, firstHpa: number) {
		this.memory = memory;
		this.nextHpa = firstHpa;
	}

	/** End of the memory that was ever taken. */
	get endHpa(): number {
		return this.nextHpa;
	}

	/**
	 * Takes pages as they are.
	 * @param bytes a multiple of 4 KiB
	 * @param align of the host physical address, in bytes, a power of two
	 * @returns host physical address
	 * @throws RangeError when the machine has no more
	 */
	take(bytes: number, align = PAGE_BYTES): number {
		for (const run of this.free) {
			const hpa = (run.hpa + align - 1) & -align;
			if (hpa + bytes > run.hpa + run.bytes) continue;
			const end = run.hpa + run.bytes;
			this.free.splice(this.free.indexOf(run), 1);
			this.putBack(run.hpa, hpa - run.hpa);
			this.putBack(hpa + bytes, end - hpa - bytes);
			this.usedBytes += bytes;
			return hpa;
		}
		const hpa = (this.nextHpa + align - 1) & -align;
		if (hpa + bytes > this.memory.ramBytes) {
			throw new RangeError(
				`the machine has ${this.memory.ramBytes} bytes of memory; ${bytes} more are wanted`,
			);
		}
		this.nextHpa = hpa + bytes;
		this.usedBytes += bytes;
		return hpa;
	}

	/** Gives pages back. */
	give(hpa: number, bytes: number): void {
		this.usedBytes -= bytes;
		this.putBack(hpa, bytes);
	}

	private putBack(hpa: number, bytes: number): void {
		if (bytes === 0) return;
		const { free } = this;
		let at = 0;
		while (at < free.length && free[at]!.hpa < hpa) at++;
		free.splice(at, 0, { hpa, bytes });
		this.join(at);
		if (at > 0) this.join(at - 1);
	}

	/** A run that touches the next one becomes one with it. */
	private join(at: number): void {
		const run = this.free[at]!;
		const next = this.free[at + 1];
		if (next === undefined || run.hpa + run.bytes !== next.hpa) return;
		run.bytes += next.bytes;
		this.free.splice(at + 1, 1);
	}
}
