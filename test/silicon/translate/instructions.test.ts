/** Every encoding of every instruction that is translated does what SDM Vol. 2 says, in 64-bit and in 32-bit mode. */
import { Mnemonic } from "iced-x86";
import { describe, expect, test } from "vitest";
import { decode } from "../../../src/silicon/translate/decode.ts";
import { definitionOf } from "../../../src/silicon/translate/instructions/definitions.ts";
import { Bench } from "./bench.ts";
import { byInstruction, testEncodings } from "./encoding-tests.ts";
import { allEncodings } from "./encodings.ts";
import { isKnown, isVector } from "./reference/reference.ts";

/** Their own tests follow the control flow; vectors have a file of their own. */
const ELSEWHERE = /^(J|Call|Ret|Loop|Hlt|(Movs|Stos|Lods|Scas|Cmps)[bdqw]_)/;

const encodings = allEncodings().filter(
	({ mnemonic, name }) => isKnown(mnemonic) && !isVector(mnemonic) && !ELSEWHERE.test(name),
);
const groups = byInstruction(encodings);

const FLAT = [0n, 0n, 0n, 0n, 0x100000n, 2n ** 64n - 0x3000n];
const MODES: readonly [string, 32 | 64, readonly bigint[]][] = [
	["64-bit mode", 64, FLAT],
	["32-bit mode with flat segments", 32, [0n, 0n, 0n, 0n, 0x1000n, 0xfffff000n]],
	["32-bit mode with segment bases", 32, [0x800n, 0x1000n, 0x2010n, 0x1001n, 0x2000n, 0xffffff00n]],
];
for (const [at, [mode, bitness, bases]] of MODES.entries()) {
	describe(mode, () => {
		const bench = new Bench(bitness, bases, 1 + at);
		testEncodings(groups, bitness, bench);
	});
}

test("BEXTR with an immediate is XOP's, which no processor here has: it is left to the system side, as #UD", () => {
	const xop = decode(new Uint8Array([0x8f, 0xea, 0x78, 0x10, 0xc0, 4, 4, 0, 0]), 0n, 64);
	expect(xop.mnemonic).toBe(Mnemonic.Bextr);
	expect(definitionOf(xop)).toBeUndefined();
});
