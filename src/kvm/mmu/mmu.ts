/**
 * The TDP MMU (arch/x86/kvm/mmu/tdp_mmu.c): second-level page tables from guest physical to host physical
 * addresses, in host memory, as EPT entries (SDM Vol. 3C, 31.3.2) or NPT entries (APM Vol. 2, 15.25).
 *
 *     root ─┬─ 512 GiB ─┬─ 1 GiB ─┬─ 2 MiB: a leaf where slot and alignment permit
 *           │           │         └─ table ── 4 KiB leaves
 */
import { FN, runFunction } from "../../host/functions.ts";
import type { Cpu } from "../../silicon/cpu/cpu.ts";
import { symbol } from "../../silicon/cpu/symbols.ts";
import { KVM_REQ } from "../requests.ts";
import type { Vcpu } from "../vcpu.ts";
import type { MemorySlot, Vm } from "../vm.ts";
import { kvmMakeAllCpusRequest } from "../x86/kick.ts";
import { srcuDereference } from "../x86/srcu.ts";

const TDP_PAGE_FAULT = symbol("kvm_tdp_page_fault");
const TDP_MMU_MAP = symbol("kvm_tdp_mmu_map");
const INVALIDATE_RANGE = symbol("kvm_mmu_notifier_invalidate_range_start");
const UNMAP_RANGE = symbol("kvm_tdp_mmu_unmap_gfn_range");
/** Plain instructions: of a fault outside of mmu_lock, of mapping a page under it, and of unmapping one. Assumed. */
const FAULTIN_INSTRUCTIONS = 300;
const MAP_INSTRUCTIONS = 250;
const UNMAP_INSTRUCTIONS = 60;

const PAGE_BYTES = 4096;
const LARGE_PAGE_BYTES = 2 ** 21;

/** Entry bits below the address; all of them fit in the low word. */
interface Format {
	/** A table entry that leads to the next level. */
	readonly table: number;
	/** A leaf that may be written. */
	readonly leaf: number;
	/** Bits that a read-only leaf lacks. */
	readonly write: number;
	/** Marks a 2 MiB leaf. */
	readonly large: number;
	/** Nonzero in every present entry. */
	readonly present: number;
}

/** EPT: R 0, W 1, X 2, memory type 5:3 (6 = write-back), ignore PAT 6, large 7, A 8, D 9. */
const EPT: Format = { table: 0x107, leaf: 0x377, write: 0x2, large: 0x80, present: 0x7 };
/** NPT: P 0, W 1, U 2, A 5, D 6, PS 7. The walk counts as a user access, so U is set everywhere. */
const NPT: Format = { table: 0x27, leaf: 0x67, write: 0x2, large: 0x80, present: 0x1 };

/** The GPA bit that tells a TD's shared from its private memory, for a 48-bit GPA width. Both lead to the same slot. */
export const TDX_SHARED_BIT = 2 ** 47;

/** What became of a second-level fault: mapped, so that the access is retried, or an access to no memory slot. */
export type PageFaultResult = "fixed" | "mmio";

export class Mmu {
	readonly vm: Vm;
	/** Host physical address of the root table. */
	readonly rootHpa: number;
	/** Leaves mapped since the last zap: 4 KiB and 2 MiB. */
	readonly stat = { pages4k: 0, pages2m: 0 };
	private readonly format: Format;
	private readonly gpaModulus: number;
	/** Tables taken from the host and not in use. */
	private readonly freeTables: number[] = [];
	private readonly usedTables: number[] = [];

	/** kvm_mmu_create(): one root for the life of the VM. */
	constructor(vm: Vm) {
		this.vm = vm;
		this.format = vm.vendor === "svm" ? NPT : EPT;
		this.gpaModulus = vm.vendor === "tdx" ? TDX_SHARED_BIT : 2 ** 48;
		this.rootHpa = vm.allocate(PAGE_BYTES);
	}

	/**
	 * kvm_mmu_page_fault() → kvm_tdp_page_fault(): maps the page of a guest physical address.
	 * @param vcpu whose access it was; null for one of nobody, as tests make it
	 * @param gpa guest physical address; a TD's shared bit may be set
	 * @param write the access was a write
	 * @param _fetch the access was an instruction fetch; slots are always executable
	 * @returns "mmio" when no slot holds the address, or it is a write to a read-only slot
	 */
	pageFault(vcpu: Vcpu | null, gpa: number, write: boolean, fetch: boolean): PageFaultResult {
		if (vcpu === null) return this.map(gpa, write, fetch);
		const { cpu, kernel } = vcpu;
		const lock = this.vm.mmuLock;
		cpu.enter(TDP_PAGE_FAULT);
		srcuDereference(vcpu);
		cpu.code(FAULTIN_INSTRUCTIONS);
		runFunction(cpu, FN.try_get_folio);
		if (kernel.kvm.tdpMmu) lock.readLock(cpu);
		else lock.writeLock(cpu);
		cpu.enter(TDP_MMU_MAP);
		const result = this.map(gpa, write, fetch);
		runFunction(cpu, FN.mmu_try_to_unsync_pages);
		cpu.code(MAP_INSTRUCTIONS);
		cpu.leave();
		if (kernel.kvm.tdpMmu) lock.readUnlock(cpu);
		else lock.writeUnlock(cpu);
		cpu.leave();
		return result;
	}

	/** What is done under mmu_lock: kvm_tdp_mmu_map(). */
	private map(gpa: number, write: boolean, _fetch: boolean): PageFaultResult {
		const slotGpa = gpa % this.gpaModulus;
		const slot = this.vm.slotOf(slotGpa);
		if (slot === undefined || (write && slot.readOnly)) return "mmio";
		const { format } = this;
		// What is logged is mapped read-only until it is written: kvm_tdp_mmu_clear_dirty_pt_masked().
		const logged = slot.dirtyBitmap !== undefined;
		if (logged && write) this.vm.markDirty(slotGpa);
		const writable = slot.readOnly || (logged && !write) ? ~format.write : ~0;
		const largeGpa = slotGpa - (slotGpa % LARGE_PAGE_BYTES);
		const table2m = this.walkTo(gpa);
		const at2m = this.entryIndex(table2m, gpa, 21);
		if (!logged && this.fitsLargePage(slot, largeGpa)) {
			const hpa = slot.hpa + (largeGpa - slot.gpa);
			this.writeEntry(at2m, hpa, (format.leaf & writable) | format.large);
			this.stat.pages2m++;
			return "fixed";
		}
		const table4k = this.childTable(at2m);
		const pageGpa = slotGpa - (slotGpa % PAGE_BYTES);
		this.writeEntry(
			this.entryIndex(table4k, gpa, 12),
			slot.hpa + (pageGpa - slot.gpa),
			format.leaf & writable,
		);
		this.stat.pages4k++;
		return "fixed";
	}

	/** kvm_mmu_zap_all(): drops every mapping and asks each vCPU for a TLB flush. */
	zap(): void {
		this.clear();
		kvmMakeAllCpusRequest(this.vm, KVM_REQ.TLB_FLUSH);
	}

	/**
	 * kvm_mmu_notifier_invalidate_range_start(): user space takes memory away, and the guest must not reach it any more.
	 * @param cpu the CPU whose thread does so
	 * @param gpa first address, a multiple of 4 KiB
	 * @param bytes a multiple of 4 KiB
	 * @returns pages that were mapped
	 */
	unmapRange(cpu: Cpu, gpa: number, bytes: number): number {
		const lock = this.vm.mmuLock;
		cpu.enter(INVALIDATE_RANGE);
		lock.writeLock(cpu);
		cpu.enter(UNMAP_RANGE);
		let unmapped = 0;
		for (let at = gpa; at < gpa + bytes; at += PAGE_BYTES) {
			cpu.code(UNMAP_INSTRUCTIONS);
			if (this.unmapPage(at)) unmapped++;
		}
		cpu.leave();
		if (unmapped > 0) kvmMakeAllCpusRequest(this.vm, KVM_REQ.TLB_FLUSH);
		lock.writeUnlock(cpu);
		cpu.leave();
		return unmapped;
	}

	/** Clears a 4 KiB leaf. @returns whether there was one */
	private unmapPage(gpa: number): boolean {
		const { u32 } = this.vm.memory;
		let table = this.rootHpa;
		for (let shift = 39; shift >= 12; shift -= 9) {
			const at = this.entryIndex(table, gpa, shift);
			const low = u32[at]!;
			if ((low & this.format.present) === 0 || (shift === 21 && (low & this.format.large) !== 0))
				return false;
			if (shift === 12) {
				u32[at] = 0;
				u32[at + 1] = 0;
				return true;
			}
			table = this.entryAddress(at);
		}
		return false;
	}

	/** Drops every mapping; whoever does it sees to the flush. */
	clear(): void {
		const { u32, ramBase } = this.vm.memory;
		const clear = (hpa: number) => u32.fill(0, (ramBase + hpa) >> 2, (ramBase + hpa + PAGE_BYTES) >> 2);
		clear(this.rootHpa);
		for (const hpa of this.usedTables) {
			clear(hpa);
			this.freeTables.push(hpa);
		}
		this.usedTables.length = 0;
		this.stat.pages4k = 0;
		this.stat.pages2m = 0;
	}

	/**
	 * The host physical address that the tables give for a guest physical one, or -1 when it is not mapped.
	 * For tests and dumps; the processor walks the tables itself.
	 */
	translate(gpa: number): number {
		const { u32 } = this.vm.memory;
		let table = this.rootHpa;
		for (let shift = 39; shift >= 12; shift -= 9) {
			const at = this.entryIndex(table, gpa, shift);
			const low = u32[at]!;
			if ((low & this.format.present) === 0) return -1;
			const isLeaf = shift === 12 || (shift === 21 && (low & this.format.large) !== 0);
			const address = this.entryAddress(at);
			if (isLeaf) return address + (gpa % 2 ** shift);
			table = address;
		}
		return -1;
	}

	/** The 2 MiB page lies inside the slot, and gpa and hpa are equal modulo 2 MiB. */
	private fitsLargePage(slot: MemorySlot, largeGpa: number): boolean {
		return (
			largeGpa >= slot.gpa &&
			largeGpa + LARGE_PAGE_BYTES <= slot.gpa + slot.bytes &&
			(slot.hpa - slot.gpa) % LARGE_PAGE_BYTES === 0
		);
	}

	/** The page-directory-level table for a guest physical address, made on the way. */
	private walkTo(gpa: number): number {
		const table1g = this.childTable(this.entryIndex(this.rootHpa, gpa, 39));
		return this.childTable(this.entryIndex(table1g, gpa, 30));
	}

	/** Index in u32 of the entry's low word. */
	private entryIndex(tableHpa: number, gpa: number, shift: number): number {
		return (this.vm.memory.ramBase + tableHpa + (Math.floor(gpa / 2 ** shift) % 512) * 8) >>> 2;
	}

	private entryAddress(at: number): number {
		const { u32 } = this.vm.memory;
		return ((u32[at]! & 0xffff_f000) >>> 0) + (u32[at + 1]! & 0x000f_ffff) * 2 ** 32;
	}

	private writeEntry(at: number, hpa: number, bits: number): void {
		const { u32 } = this.vm.memory;
		u32[at + 1] = Math.floor(hpa / 2 ** 32);
		u32[at] = (hpa % 2 ** 32) + bits;
	}

	/** The table that an entry leads to; a new one if the entry is not present. */
	private childTable(at: number): number {
		if ((this.vm.memory.u32[at]! & this.format.present) !== 0) return this.entryAddress(at);
		const hpa = this.freeTables.pop() ?? this.vm.allocate(PAGE_BYTES);
		this.usedTables.push(hpa);
		this.writeEntry(at, hpa, this.format.table);
		return hpa;
	}
}
