/** A virtual machine: `struct kvm` with what all vendors share. */
import type { Kernel } from "../host/kernel.ts";
import type { MachineMemory } from "../silicon/machine.ts";
import type { Vendor } from "../silicon/models/model.ts";
import type { CompiledTree } from "./flow/compile.ts";
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
	readonly readOnly: boolean;
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
	readonly tree: CompiledTree;
	readonly slots: MemorySlot[] = [];
	readonly vcpus: Vcpu[] = [];
	/** The TDX module's side of a TD; null for other VMs, and before the first vCPU. */
	td: Td | null = null;
	readonly irqchip: boolean;
	readonly pit: boolean;
	/** kvm_x86_ops. */
	readonly ops: VendorOps;
	readonly mmu: Mmu;
	/** When the guest's clock stood at 0, in cycles of the host. */
	readonly clockBaseCycles: number;
	wallClockVersion = 0;
	/** Next free host physical page for KVM's own tables, and its end. */
	private nextHpa: number;

	constructor(
		kernel: Kernel,
		ops: VendorOps,
		makeMmu: (vm: Vm) => Mmu,
		options: VmOptions,
		firstHpa: number,
	) {
		this.kernel = kernel;
		this.memory = kernel.cpu.memory;
		this.vendor = options.vendor;
		this.tree = options.tree;
		this.irqchip = options.irqchip;
		this.pit = options.pit ?? options.irqchip;
		this.ops = ops;
		this.nextHpa = firstHpa;
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
		const hpa = (this.nextHpa + align - 1) & -align;
		if (hpa + bytes > this.memory.ramBytes) {
			throw new RangeError(
				`the machine has ${this.memory.ramBytes} bytes of memory; ${bytes} more are wanted`,
			);
		}
		this.nextHpa = hpa + bytes;
		return hpa;
	}

	/** End of the host memory that was taken so far. */
	get endHpa(): number {
		return this.nextHpa;
	}

	/** Host physical address behind a guest physical one, or -1 when no slot holds it. */
	gpaToHpa(gpa: number): number {
		for (const slot of this.slots) {
			if (gpa >= slot.gpa && gpa < slot.gpa + slot.bytes) return slot.hpa + (gpa - slot.gpa);
		}
		return -1;
	}
}
