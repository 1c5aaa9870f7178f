/** Every encoding of every vector instruction that is translated does what SDM Vol. 2 says. */
import { describe } from "vitest";
import { Bench } from "./bench.ts";
import { byInstruction, testEncodings } from "./encoding-tests.ts";
import { allEncodings } from "./encodings.ts";
import { isVector } from "./reference/reference.ts";

const STRINGS = /^(Movsd|Cmpsd)_m32_m32$/;
const groups = byInstruction(
	allEncodings().filter(({ mnemonic, name }) => isVector(mnemonic) && !STRINGS.test(name)),
);

const MODES: readonly [string, 32 | 64, readonly bigint[]][] = [
	["64-bit mode", 64, [0n, 0n, 0n, 0n, 0x100000n, 2n ** 64n - 0x3000n]],
	["32-bit mode with segment bases", 32, [0x800n, 0x1000n, 0x2010n, 0x1001n, 0x2000n, 0xffffff00n]],
];
for (const [at, [mode, bitness, bases]] of MODES.entries()) {
	describe(mode, () => {
		const bench = new Bench(bitness, bases, 11 + at, 3, 4);
		testEncodings(groups, bitness, bench);
	});
}
