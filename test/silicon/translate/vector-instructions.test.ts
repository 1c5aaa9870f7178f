/** Every encoding of every vector instruction that is translated does what SDM Vol. 2 says. */
import { Mnemonic } from "iced-x86";
import { describe, expect, test } from "vitest";
import { Bench } from "./bench.ts";
import { allEncodings, type Encoding } from "./encodings.ts";
import { isVector } from "./reference/reference.ts";

const STRINGS = /^(Movsd|Cmpsd)_m32_m32$/;
const groups = new Map<string, Encoding[]>();
for (const encoding of allEncodings()) {
	if (!isVector(encoding.mnemonic) || STRINGS.test(encoding.name)) continue;
	const name = Mnemonic[encoding.mnemonic]!.toUpperCase();
	groups.set(name, [...(groups.get(name) ?? []), encoding]);
}

const MODES: readonly [string, 32 | 64, readonly bigint[]][] = [
	["64-bit mode", 64, [0n, 0n, 0n, 0n, 0x100000n, 2n ** 64n - 0x3000n]],
	["32-bit mode with segment bases", 32, [0x800n, 0x1000n, 0x2010n, 0x1001n, 0x2000n, 0xffffff00n]],
];
for (const [at, [mode, bitness, bases]] of MODES.entries()) {
	describe(mode, () => {
		const bench = new Bench(bitness, bases, 11 + at, 3, 4);
		for (const [name, group] of groups) {
			const available = group.filter(({ bitnesses }) => bitnesses.includes(bitness));
			if (available.length === 0) continue;
			test(name, () => {
				let ran = 0;
				for (const encoding of available) {
					const result = bench.try(encoding);
					expect(result.wrong).toEqual([]);
					ran += result.ran;
				}
				expect(ran).toBeGreaterThan(0);
			});
		}
		test("few outcomes were left open, some faulted, and regions were compiled", () => {
			expect(bench.pair.compared).toBeGreaterThan(bench.pair.skipped * 10);
			expect(bench.pair.faults).toBeGreaterThan(100);
			expect(bench.pair.machine.translator.stats.coldRegions).toBeGreaterThan(300);
		});
	});
}
