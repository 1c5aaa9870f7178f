/** Guest memory of the software machine: a part of its host memory, mapped into user space. */
import { storeHostPhysical } from "../kvm/emulate/guest-memory.ts";
import type { MemorySlot } from "../kvm/vm.ts";
import type { MachineMemory } from "../silicon/machine.ts";
import { type GuestMemory, KvmError } from "../uapi/api.ts";

const PAGE_BYTES = 4096;
const PAGE_WORDS = PAGE_BYTES / 4;

export class SoftMemory implements GuestMemory {
	readonly slot: number;
	readonly gpa: number;
	/** The slot as KVM has it. */
	readonly region: MemorySlot;
	private readonly memory: MachineMemory;
	/** User space has a view of it, and may write through it without a word. */
	private exposed = false;
	/** Pages with translated code as they were when the guest ran last, by host page number. */
	private readonly codeBefore = new Map<number, Uint32Array>();
	private removed = false;

	constructor(slot: number, region: MemorySlot, memory: MachineMemory) {
		this.slot = slot;
		this.gpa = region.gpa;
		this.region = region;
		this.memory = memory;
	}

	private get mapped(): Uint8Array {
		if (this.removed) throw new KvmError("GuestMemory", "EFAULT", `slot ${this.slot} was removed`);
		const start = this.memory.ramBase + this.region.hpa;
		return this.memory.u8.subarray(start, start + this.region.bytes);
	}

	/** The memory. Do not keep it beyond removeMemory(). @throws KvmError once it was removed */
	get bytes(): Uint8Array {
		this.exposed = true;
		return this.mapped;
	}
	read(offset: number, bytes: number): Uint8Array {
		return this.mapped.slice(offset, offset + bytes);
	}
	write(offset: number, data: Uint8Array): void {
		if (offset < 0 || offset + data.length > this.mapped.length) {
			throw new KvmError("GuestMemory", "EFAULT", `slot ${this.slot} ends at ${this.mapped.length}`);
		}
		storeHostPhysical(this.memory, this.region.hpa + offset, data);
	}

	private *codePages(): Generator<number> {
		const first = this.region.hpa / PAGE_BYTES;
		const end = first + this.region.bytes / PAGE_BYTES;
		const { codePages } = this.memory;
		for (
			let page = codePages.indexOf(1, first);
			page >= 0 && page < end;
			page = codePages.indexOf(1, page + 1)
		) {
			yield page;
		}
	}

	private words(page: number): Uint32Array {
		const first = (this.memory.ramBase + page * PAGE_BYTES) / 4;
		return this.memory.u32.subarray(first, first + PAGE_WORDS);
	}

	/** Before KVM_RUN: code that user space has changed through `bytes` is translated anew. */
	beforeRun(): void {
		if (!this.exposed) return;
		for (const [page, before] of this.codeBefore) {
			const now = this.words(page);
			if (before.some((word, at) => word !== now[at])) this.memory.onCodeWrite(page);
		}
	}

	/** Behind KVM_RUN: remembers what was translated. */
	afterRun(): void {
		if (!this.exposed) return;
		this.codeBefore.clear();
		for (const page of this.codePages()) this.codeBefore.set(page, this.words(page).slice());
	}

	/** It is taken away; what was translated from it is dropped, and it is left zeroed for whoever comes next. */
	release(): void {
		if (this.removed) return;
		for (const page of [...this.codePages()]) this.memory.onCodeWrite(page);
		this.mapped.fill(0);
		this.removed = true;
		this.codeBefore.clear();
	}
}
