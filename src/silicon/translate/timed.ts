/**
 * RDTSC and PAUSE within a region, so that a loop that waits stays in it. Where the processor is ahead of others, where the
 * instruction is intercepted, or where CR4.TSD is set, the system side carries it out (system/registers.ts and
 * system/interrupts.ts), which does the same otherwise.
 */
import { CR4 } from "../cpu/control.ts";
import * as L from "../cpu/layout.ts";
import { OPCODE as O, TYPE } from "../wasm/builder.ts";
import { CPU } from "./block-emitter.ts";
import { Mnemonic as M } from "./decode.ts";
import type { Emitter } from "./emitter.ts";
import { EXIT } from "./exits.ts";

/** Time stamps from here on are not exact in f64, and do not fit i64: the system side's. */
const TSC_END = 2 ** 63;

/** Leaves for the system side if the i32 on the stack is 0. */
function leaveUnless(e: Emitter): void {
	e.code.op(O.i32Eqz);
	e.code.if();
	e.leaveWith((e.ids.system(e.insn) << 8) | EXIT.system, e.insn.rip);
	e.code.end();
}

/** Pushes whether CYCLES is at most what a field of the state block says. */
function pushMay(e: Emitter, until: number): void {
	e.code.get(e.cycles);
	e.code.get(CPU);
	e.code.access(O.f64Load, until);
	e.code.op(O.f64Le);
}

/** Emits the current instruction. The instructions before it are accounted for. */
export function emitTimed(e: Emitter): void {
	if (e.insn.mnemonic === M.Pause) {
		pushMay(e, L.PAUSE_UNTIL);
		leaveUnless(e);
		return;
	}
	const { code } = e;
	const time = e.temporary(TYPE.f64);
	pushMay(e, L.TSC_UNTIL);
	code.get(CPU);
	code.access(O.i32Load, L.CR4);
	code.i32(CR4.TSD);
	code.op(O.i32And);
	code.op(O.i32Eqz);
	code.op(O.i32And);
	// As `readTsc` in cpu/msr.ts sums it up.
	code.get(e.cycles);
	code.op(O.f64Floor);
	code.get(CPU);
	code.access(O.f64Load, L.TSC_BIAS);
	code.op(O.f64Add);
	code.get(CPU);
	code.access(O.f64Load, L.TSC_OFFSET);
	code.op(O.f64Add);
	code.tee(time);
	code.op(O.f64Abs);
	code.f64(TSC_END);
	code.op(O.f64Lt);
	code.op(O.i32And);
	leaveUnless(e);
	const value = e.temp64();
	code.get(time);
	code.op(O.i64TruncF64S);
	code.tee(value);
	code.op(O.i32WrapI64);
	e.setIndex(L.RAX, 4);
	code.get(value);
	code.i64(32);
	code.op(O.i64ShrU);
	code.op(O.i32WrapI64);
	e.setIndex(L.RDX, 4);
}
