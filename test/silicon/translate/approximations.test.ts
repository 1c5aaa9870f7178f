/** RCPPS and RSQRTPS: within the error that the manual allows, and exact where it says what comes out (SDM Vol. 2B). */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { CR4 } from "../../../src/silicon/cpu/control.ts";
import * as L from "../../../src/silicon/cpu/layout.ts";
import { BareMachine } from "./bare-machine.ts";

const AT = 0x1000;
const RCPSS = [0xf3, 0x0f, 0x53, 0xc1, 0xf4];
const RSQRTSS = [0xf3, 0x0f, 0x52, 0xc1, 0xf4];

function approximation(code: readonly number[]): (bits: number) => number {
	const machine = new BareMachine();
	const { cpu } = machine;
	cpu.write32(L.CR4, CR4.OSFXSR);
	// Nothing is masked: what raises nothing goes on.
	cpu.write32(L.MXCSR, 0);
	machine.poke(AT, code);
	return (bits) => {
		cpu.write32(L.XMM + 16, bits);
		machine.run(AT);
		expect(machine.fault).toBeNull();
		expect(cpu.read32(L.MXCSR)).toBe(0);
		return cpu.read32(L.XMM);
	};
}

const floats = new Float32Array(1);
const words = new Uint32Array(floats.buffer);
function numberOf(bits: number): number {
	words[0] = bits;
	return floats[0]!;
}

const BOUND = 1.5 * 2 ** -12;
const normal = (from: number, to: number) => fc.integer({ min: from, max: to });
const SPECIAL: readonly (readonly [string, number, number, number])[] = [
	["+0", 0, 0x7f800000, 0x7f800000],
	["-0", 0x80000000, 0xff800000, 0xff800000],
	["a denormal", 0x80000001, 0xff800000, 0xff800000],
	["+∞", 0x7f800000, 0, 0],
	["-∞", 0xff800000, 0x80000000, 0xffc00000],
	["-1", 0xbf800000, 0xbf800000, 0xffc00000],
	["a signaling NaN", 0xff800001, 0xffc00001, 0xffc00001],
];

describe("the approximate reciprocal", () => {
	const rcpss = approximation(RCPSS);
	test("is within 1.5 × 2^-12 of the exact one", () => {
		fc.assert(
			fc.property(normal(0x00800000, 0x7e7fffff), (bits) => {
				expect(Math.abs(numberOf(rcpss(bits)) * numberOf(bits) - 1)).toBeLessThan(BOUND);
			}),
			{ seed: 1 },
		);
	});
	test.each(SPECIAL)("of %s", (_, bits, expected) => expect(rcpss(bits)).toBe(expected));
});

describe("the approximate reciprocal of the square root", () => {
	const rsqrtss = approximation(RSQRTSS);
	test("is within 1.5 × 2^-12 of the exact one", () => {
		fc.assert(
			fc.property(normal(0x00800000, 0x7f7fffff), (bits) => {
				expect(Math.abs(numberOf(rsqrtss(bits)) * Math.sqrt(numberOf(bits)) - 1)).toBeLessThan(BOUND);
			}),
			{ seed: 1 },
		);
	});
	test.each(SPECIAL)("of %s", (_, bits, _reciprocal, expected) => expect(rsqrtss(bits)).toBe(expected));
});
