/** All vector instructions that are translated, by mnemonic. */
import type { Definition } from "../definition.ts";
import { CONVERT } from "./convert.ts";
import { CRYPTOGRAPHY } from "./cryptography.ts";
import { FLOAT_COMPARE } from "./float-compare.ts";
import { MASKED } from "./masked.ts";
import { MOVES } from "./moves.ts";
import { byMnemonic } from "./named.ts";
import { PACKED_FLOAT } from "./packed-float.ts";
import { PACKED_INTEGER } from "./packed-integer.ts";
import { PACKED_SHIFT } from "./packed-shift.ts";
import { PERMUTE } from "./permute.ts";
import { SHUFFLE } from "./shuffle.ts";
import { STRING_COMPARE } from "./string-compare.ts";

const RAISING = byMnemonic([...PACKED_FLOAT, ...FLOAT_COMPARE, ...CONVERT]);

/** Definitions by mnemonic, for the forms that forms.ts admits. */
export const VECTOR: ReadonlyMap<number, Definition> = new Map([
	...byMnemonic([
		...MOVES,
		...MASKED,
		...PACKED_INTEGER,
		...PACKED_SHIFT,
		...SHUFFLE,
		...PERMUTE,
		...CRYPTOGRAPHY,
		...STRING_COMPARE,
	]),
	...RAISING,
]);

/** Those that can raise a SIMD floating-point exception. */
export const RAISES: ReadonlySet<number> = new Set(RAISING.map(([mnemonic]) => mnemonic));
