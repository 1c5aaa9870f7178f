/** PCMPESTRI, PCMPESTRM, PCMPISTRI and PCMPISTRM (SDM Vol. 1, 5.11 and 12.12). */
import * as L from "../../../cpu/layout.ts";
import { CC } from "../../../cpu/rflags.ts";
import { EXPLICIT_LENGTHS, STRING_FLAGS, STRING_INDEX } from "../../../simd/strings.ts";
import { OPCODE as O } from "../../../wasm/builder.ts";
import type { Emitter } from "../../emitter.ts";
import { takeVector } from "../../vector-memory.ts";
import type { Definition } from "../definition.ts";
import { immediateOf } from "./moves.ts";
import type { Row } from "./named.ts";
import { source, writeRegister } from "./operands.ts";
import { callOperation } from "./operations.ts";

/** Puts EAX and EDX, or with REX.W RAX and RDX, into the state block as lengths. */
function passLengths(e: Emitter, wide: boolean): void {
	const { code } = e;
	for (const [at, register] of [L.RAX, L.RDX].entries()) {
		code.get(0);
		code.get(e.registerLocal(register));
		if (!wide) {
			code.op(O.i32WrapI64);
			code.op(O.i64ExtendI32S);
		}
		code.access(O.i64Store, L.VECTOR_C + at * 8);
	}
}

/** @param explicit whether lengths are in registers, "wide" if in 64 bits of them @param toMask to XMM0, else to ECX */
function compareStrings(explicit: false | "narrow" | "wide", toMask: boolean): Definition {
	return (e) => {
		const { code } = e;
		const from = [source(e, 0), source(e, 1, false)];
		if (explicit !== false) passLengths(e, explicit === "wide");
		callOperation(e, "pcmpstr", from, immediateOf(e) | (explicit !== false ? EXPLICIT_LENGTHS : 0));
		if (toMask) {
			const mask = { low: e.tempVector(), high: -1 };
			takeVector(e, mask);
			writeRegister(e, 0, mask);
		} else {
			code.get(0);
			code.access(O.i32Load, STRING_INDEX);
			e.setIndex(L.RCX, 4);
		}
		code.get(0);
		code.access(O.i32Load, STRING_FLAGS);
		code.op(O.i64ExtendI32U);
		code.set(e.ccSrc);
		e.op = CC.flags;
	};
}

/** By name. */
// biome-ignore format: one row an instruction
export const STRING_COMPARE: readonly Row[] = [
	["PCMPISTRI", compareStrings(false, false)],      ["PCMPISTRM", compareStrings(false, true)],
	["PCMPESTRI", compareStrings("narrow", false)],   ["PCMPESTRM", compareStrings("narrow", true)],
	["PCMPESTRI64", compareStrings("wide", false)],   ["PCMPESTRM64", compareStrings("wide", true)],
];
