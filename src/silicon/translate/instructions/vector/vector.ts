/** All vector instructions that are translated, by mnemonic. */
import type { Definition } from "../definition.ts";
import { CONVERT } from "./convert.ts";
import { FLOAT_COMPARE } from "./float-compare.ts";
import { MOVES } from "./moves.ts";
import { byMnemonic } from "./named.ts";
import { PACKED_FLOAT } from "./packed-float.ts";
import { PACKED_INTEGER } from "./packed-integer.ts";
import { PACKED_SHIFT } from "./packed-shift.ts";
import { PERMUTE } from "./permute.ts";
import { SHUFFLE } from "./shuffle.ts";

const RAISING = byMnemonic([...PACKED_FLOAT, ...FLOAT_COMPARE, ...CONVERT]);

/** Definitions by mnemonic, for the forms that forms.ts admits. */
export const VECTOR: ReadonlyMap<number, Definition> = new Map([
	...byMnemonic([...MOVES, ...PACKED_INTEGER, ...PACKED_SHIFT, ...SHUFFLE, ...PERMUTE]),
	...RAISING,
]);

/** Those that can raise a SIMD floating-point exception. */
export const RAISES: ReadonlySet<number> = new Set(RAISING.map(([mnemonic]) => mnemonic));
