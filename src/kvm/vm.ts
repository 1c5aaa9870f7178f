/** A virtual machine: `struct kvm` with what all vendors share. */
import type { Kernel } from "../host/kernel.ts";
import type { HostPages } from "../host/pages.ts";
import { QueuedRwLock } from "../host/spinlock.ts";
import type { MachineMemory } from "../silicon/machine.ts";
import type { Vendor } from "../silicon/models/model.ts";
import type { CompiledTree } from "./flow/compile.ts";
import { IoBus } from "./io-bus.ts";
import type { Mmu } from "./mmu/mmu.ts";
import type { VendorOps } from "./vendor-ops.ts";
import type { Td } from "../silicon/tdx/td.ts";
import type { Vcpu } from "./vcpu.ts";

/** Guest physical memory backed by host physical memory (KVM_SET_USER_MEMORY_REGION). */
export interface MemorySlot {
	readonly gpa: number;
	readonly bytes: number;
	/** Host physical address of its first byte. */
	readonly hpa: number;
	/** KVM_MEM_READONLY. */
	readonly readOnly: boolean;
	/** KVM_MEM_LOG_DIRTY_PAGES: a bit a page, the least significant first. Absent: nothing is logged. */
	readonly dirtyBitmap?: Uint8Array;
}

export interface VmOptions {
	readonly vendor: Vendor;
	readonly tree: CompiledTree;
	/** In-kernel interrupt controllers (KVM_CREATE_IRQCHIP). */
	readonly irqchip: boolean;
	/** In-kernel timer (KVM_CREATE_PIT2). Default: as `irqchip`. */
	readonly pit?: boolean;
}

export class Vm {
	readonly memory: MachineMemory;
	readonly kernel: Kernel;
	readonly vendor: Vendor;
	/** A check goes on with another one: nobody else does. */
	tree: CompiledTree;
	readonly slots: MemorySlot[] = [];
	readonly vcpus: Vcpu[] = [];
	/** The TDX module's side of a TD; null for other VMs, and before the first vCPU. */
	td: Td | null = null;
	/** KVM_CREATE_IRQCHIP was called; before the first vCPU. */
	irqchip: boolean;
	/** KVM_CREATE_PIT2 was called. */
	pit: boolean;
	/** apicv_inhibit_reasons is not 0: APICv stays off, whatever the vCPUs' modes. Set before they run. */
	apicvInhibited = false;
	/** vm_dead: KVM has given the VM up (kvm_vm_dead()), and its ioctls return -EIO. */
	dead = false;
	/** Accesses that user space wants no exits for. */
	readonly ioBus = new IoBus();
	/** kvm_x86_ops. */
	readonly ops: VendorOps;
	readonly mmu: Mmu;
	readonly mmuLock = new QueuedRwLock();
	/** When the guest's clock stood at 0, in cycles of the host. */
	clockBaseCycles: number;
	wallClockVersion = 0;
	/** KVM_CAP_EXIT_HYPERCALL: hypercalls that user space wants, a bit each. */
	hypercallExits = 0;
	private readonly pages: HostPages;
	/** What was taken, to be given back. */
	private readonly taken: { readonly hpa: number; readonly bytes: number }[] = [];

	/** @param pages the host's memory, from which KVM's tables and memory slots are taken */
	constructor(
		kernel: Kernel,
		ops: VendorOps,
		makeMmu: (vm: Vm) => Mmu,
		options: VmOptions,
		pages: HostPages,
	) {
		this.kernel = kernel;
		this.memory = kernel.cpu.memory;
		this.vendor = options.vendor;
		this.tree = options.tree;
		this.irqchip = options.irqchip;
		this.pit = options.pit ?? options.irqchip;
		this.ops = ops;
		this.pages = pages;
		this.clockBaseCycles = kernel.cpu.cycles;
		this.mmu = makeMmu(this);
	}

	/** Takes zeroed host memory for a table: reserve(), then zeroes. */
	allocate(bytes: number, align = 4096): number {
		const hpa = this.reserve(bytes, align);
		const at = this.memory.ramBase + hpa;
		this.memory.u8.fill(0, at, at + bytes);
		return hpa;
	}

	/**
	 * Takes host memory as it is, for a memory slot.
	 * @param bytes a multiple of 4 KiB
	 * @param align of the host physical address, in bytes, a power of two
	 * @returns its host physical address
	 * @throws RangeError when the machine has no more
	 */
	reserve(bytes: number, align = 4096): number {
		const hpa = this.pages.take(bytes, align);
		this.taken.push({ hpa, bytes });
		return hpa;
	}

	/** Gives one reservation back. @param hpa what `reserve` returned */
	release(hpa: number): void {
		const at = this.taken.findIndex((one) => one.hpa === hpa);
		const [one] = this.taken.splice(at, 1);
		this.pages.give(hpa, one!.bytes);
	}

	/** Gives all of the VM's memory back: kvm_destroy_vm(). */
	destroy(): void {
		for (const { hpa, bytes } of this.taken) this.pages.give(hpa, bytes);
		this.taken.length = 0;
	}

	/** End of the host memory that was taken so far. */
	get endHpa(): number {
		return this.pages.endHpa;
	}

	/** The slot that holds a guest physical address. */
	slotOf(gpa: number): MemorySlot | undefined {
		for (const slot of this.slots) if (gpa >= slot.gpa && gpa < slot.gpa + slot.bytes) return slot;
		return undefined;
	}

	/** mark_page_dirty(): the page of a guest physical address was written, by the guest or by KVM for it. */
	markDirty(gpa: number): void {
		const slot = this.slotOf(gpa);
		if (slot?.dirtyBitmap === undefined) return;
		const page = Math.floor((gpa - slot.gpa) / 4096);
		slot.dirtyBitmap[page >> 3]! |= 1 << (page & 7);
	}

	/** Host physical address behind a guest physical one, or -1 when no slot holds it. */
	gpaToHpa(gpa: number): number {
		for (const slot of this.slots) {
			if (gpa >= slot.gpa && gpa < slot.gpa + slot.bytes) return slot.hpa + (gpa - slot.gpa);
		}
		return -1;
	}
}
