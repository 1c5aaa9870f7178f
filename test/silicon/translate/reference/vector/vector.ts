/** All vector instructions that the reference knows. */
import type { Operation } from "../state.ts";
import { named } from "./lanes.ts";
import { CONVERT } from "./convert.ts";
import { CRYPTOGRAPHY } from "./cryptography.ts";
import { FLOAT } from "./float.ts";
import { INTEGER } from "./integer.ts";
import { MASKED } from "./masked.ts";
import { MOVES } from "./moves.ts";
import { SHUFFLE } from "./shuffle.ts";
import { STRING_COMPARE } from "./strings.ts";

/** Operations by mnemonic. */
export const VECTOR: ReadonlyMap<number, Operation> = new Map(
	named([
		...MOVES,
		...INTEGER,
		...SHUFFLE,
		...FLOAT,
		...CONVERT,
		...MASKED,
		...CRYPTOGRAPHY,
		...STRING_COMPARE,
	]),
);
