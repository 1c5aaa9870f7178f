/** The PDPTEs of PAE paging, which the processor keeps in registers (arch/x86/kvm/x86.c: load_pdptrs(), v6.18). */
import { CR0, CR4, EFER } from "../../silicon/cpu/control.ts";
import type { Vcpu } from "../vcpu.ts";
import { readGuestPhysical } from "./guest-memory.ts";

/** X86_CR0_PDPTR_BITS: a change of one of them loads the PDPTEs. */
export const CR0_PDPTR_BITS = CR0.CD | CR0.NW | CR0.PG;
/** X86_CR4_PDPTR_BITS. */
export const CR4_PDPTR_BITS = CR4.PSE | CR4.PGE | CR4.PAE | CR4.SMEP;

const ENTRIES = 4;
const PRESENT = 1n;

const bytes = new Uint8Array(ENTRIES * 8);
const view = new DataView(bytes.buffer);

/** is_pae_paging(), of register values that are about to be set. */
export function isPaePaging(v: Vcpu, cr0: number, cr4: number): boolean {
	return (cr0 & CR0.PG) !== 0 && (cr4 & CR4.PAE) !== 0 && (Number(v.efer) & EFER.LME) === 0;
}

/** pdptr_rsvd_bits(): beyond the guest's physical addresses, 8:5 and 2:1. */
function reservedBits(v: Vcpu): bigint {
	return (((1n << 64n) - 1n) << BigInt(v.cpu.model.features.physicalAddressBits)) | 0x1e6n;
}

/**
 * load_pdptrs(): reads and checks the four entries that CR3 points to, and hands them to the vendor.
 * @returns false, for #GP(0), if they are not in memory or a present one has reserved bits set; nothing has changed then
 */
export function loadPdptrs(v: Vcpu, cr3: bigint): boolean {
	if (!readGuestPhysical(v.vm, Number(cr3 & 0xffff_ffe0n), bytes)) return false;
	const entries = Array.from({ length: ENTRIES }, (_, at) => view.getBigUint64(at * 8, true));
	const reserved = reservedBits(v);
	if (entries.some((entry) => (entry & PRESENT) !== 0n && (entry & reserved) !== 0n)) return false;
	v.vm.ops.setPdptrs?.(v, entries);
	return true;
}
