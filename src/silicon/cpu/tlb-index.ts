/** Where the software TLB keeps the translation of an address. Translated code computes the same (translate/tlb-entry.ts). */
import * as L from "./layout.ts";

const MASK = (L.TLB_ENTRIES - 1) * L.TLB_ENTRY_BYTES;
const FETCH_MASK = (L.TLB_FETCH_ENTRIES - 1) * L.TLB_ENTRY_BYTES;

/** Byte offset of an entry within TLB_READ or TLB_WRITE. @param lo low half of the linear address */
export function tlbOffset(lo: number): number {
	return ((lo >>> L.TLB_SHIFT) ^ (lo >>> L.TLB_SHIFT_2)) & MASK;
}

/** Byte offset of an entry within TLB_FETCH. @param lo low half of the linear address */
export function tlbFetchOffset(lo: number): number {
	return tlbOffset(lo) & FETCH_MASK;
}
