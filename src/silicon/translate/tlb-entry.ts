/** Where the software TLB keeps the translation of an address, in code: what cpu/tlb-index.ts computes. */
import * as L from "../cpu/layout.ts";
import { type Code, OPCODE as O } from "../wasm/builder.ts";
import { CPU } from "./block-emitter.ts";

/**
 * Pushes the base of the processor's area plus the offset of an entry within TLB_READ or TLB_WRITE, bank 0.
 * @param linear i64 local with the linear address
 * @param scratch i32 local
 */
export function pushTlbEntry(code: Code, linear: number, scratch: number): void {
	code.get(linear);
	code.op(O.i32WrapI64);
	code.tee(scratch);
	code.i32(L.TLB_SHIFT);
	code.op(O.i32ShrU);
	code.get(scratch);
	code.i32(L.TLB_SHIFT_2);
	code.op(O.i32ShrU);
	code.op(O.i32Xor);
	code.i32((L.TLB_ENTRIES - 1) * L.TLB_ENTRY_BYTES);
	code.op(O.i32And);
	code.get(CPU);
	code.op(O.i32Add);
}
