/** The tests of encodings, by the instruction that they are of. */
import { Mnemonic } from "iced-x86";
import { expect, test } from "vitest";
import type { Bench } from "./bench.ts";
import type { Encoding } from "./encodings.ts";

/** Encodings by the names of their instructions. */
export function byInstruction(encodings: readonly Encoding[]): ReadonlyMap<string, readonly Encoding[]> {
	const groups = new Map<string, Encoding[]>();
	for (const encoding of encodings) {
		const name = Mnemonic[encoding.mnemonic]!.toUpperCase();
		groups.set(name, [...(groups.get(name) ?? []), encoding]);
	}
	return groups;
}

/** A test for each instruction that has encodings in a mode, and one that they were compared with something. */
export function testEncodings(
	groups: ReadonlyMap<string, readonly Encoding[]>,
	bitness: 32 | 64,
	bench: Bench,
): void {
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
}
