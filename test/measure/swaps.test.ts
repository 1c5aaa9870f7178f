import { describe, expect, it } from "vitest";
import {
	type ExitPath,
	type SwapCase,
	type SwappedRegister,
	conclude,
	hostValues,
} from "../../src/measure/swaps.ts";
import { summarize } from "../../src/measure/statistics.ts";
import type { KvmCpuidEntry2 } from "../../src/uapi/structs.ts";

/** A case whose samples lie within ±4 cycles of a value. */
function measured(register: SwappedRegister, path: ExitPath, cycles: number): SwapCase {
	const samples = Array.from({ length: 50 }, (_, n) => cycles + (n % 9) - 4);
	return { register, path, added: summarize(samples), reason: "" };
}
const both = (register: SwappedRegister, fast: number, slow: number) => [
	measured(register, "fastpath", fast),
	measured(register, "slow", slow),
];
const impossible = (register: SwappedRegister): SwapCase[] =>
	(["fastpath", "slow"] as const).map((path) => ({ register, path, added: null, reason: "not offered" }));
const entry = (leaf: number, index: number, values: Partial<KvmCpuidEntry2>): KvmCpuidEntry2 => ({
	function: leaf,
	index,
	flags: 1,
	eax: 0,
	ebx: 0,
	ecx: 0,
	edx: 0,
	padding: [0, 0, 0],
	...values,
});

describe("what the added cycles say of the running kernel", () => {
	it("paid by fastpath exits too: swapped at every exit, as v6.18 does", () => {
		const { verdicts, behavesLike } = conclude([...both("XCR0", 200, 210), ...both("PKRU", 40, 41)], 2);
		expect(behavesLike).toBe("v6.18");
		expect(verdicts.map(({ verdict }) => verdict)).toEqual(["every exit", "cannot be told", "every exit"]);
	});

	it("paid by slow exits only: swapped outside the fastpath, as version 2 of the series does", () => {
		expect(conclude([...both("XCR0", 0, 210), ...both("PKRU", 1, 41)], 2).behavesLike).toBe("series-v2");
	});

	it("XCR0 outside and PKRU inside is no built-in tree but the middle of the series", () => {
		const { behavesLike, explanation } = conclude([...both("XCR0", 0, 210), ...both("PKRU", 40, 41)], 2);
		expect(behavesLike).toBeNull();
		expect(explanation).toContain("middle of the series");
	});

	it("a register that KVM does not offer says nothing", () => {
		const { verdicts } = conclude([...impossible("PKRU"), ...both("XCR0", 0, 0)], 2);
		expect(verdicts).toContainEqual({ register: "PKRU", verdict: "cannot be told" });
		expect(verdicts).toContainEqual({ register: "XCR0", verdict: "not swapped" });
	});

	it("where even an empty loop is emulated nothing is concluded", () => {
		const { behavesLike, explanation } = conclude(both("XCR0", 200, 210), 4500);
		expect(behavesLike).toBeNull();
		expect(explanation).toContain("emulates");
	});
});

describe("the host's registers, told from outside", () => {
	it("XCR0 has what KVM offers, and PKRU's bit where the kernel has protection keys on", () => {
		const cpuid = [entry(0xd, 0, { eax: 0xe7 }), entry(0xd, 1, { ecx: 0x1800 })];
		expect(hostValues(cpuid, new Set(["ospke"]))).toMatchObject({ xcr0: 0x2e7, xss: 0x1800 });
		expect(hostValues(cpuid, new Set()).xcr0).toBe(0xe7);
	});
});
