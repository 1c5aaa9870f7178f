/** VDPPS is a product and two sums: what one of them raises (found by comparing with a Zen 4). */
import { expect, test } from "vitest";
import { CR0, CR4 } from "../../../src/silicon/cpu/control.ts";
import { VECTOR } from "../../../src/silicon/cpu/fault.ts";
import * as L from "../../../src/silicon/cpu/layout.ts";
import { BareMachine } from "./bare-machine.ts";

const AT = 0x1000;
/** VDPPS YMM0, YMM1, YMM2, FFH; HLT. */
const VDPPS = [0xc4, 0xe3, 0x75, 0x40, 0xc2, 0xff, 0xf4];
const SMALL = 0x0080_0000; // 2^-126
const HALF = 0x3f00_0001;
const DE = 2;
const UE_PE = 0x30;

function flagsAfter(mxcsr: number, lanes: (half: number) => readonly [number, number]) {
	const machine = new BareMachine();
	const { cpu } = machine;
	cpu.write32(L.CR0, cpu.read32(L.CR0) | CR0.PG);
	cpu.write32(L.CR4, CR4.OSFXSR | CR4.OSXSAVE | CR4.OSXMMEXCPT);
	cpu.write32(L.XCR0, 7);
	cpu.write32(L.MXCSR, mxcsr);
	for (const [half, place] of [L.XMM, L.YMM_HIGH].entries()) {
		const [a, b] = lanes(half);
		for (let lane = 0; lane < 4; lane++) {
			cpu.write32(place + 16 + 4 * lane, a);
			cpu.write32(place + 32 + 4 * lane, b);
		}
	}
	machine.poke(AT, VDPPS);
	machine.run(AT);
	return { flags: cpu.read32(L.MXCSR) & 0x3f, fault: machine.fault?.vector };
}

test("a sum whose denormal operand is not masked keeps the flags of the products", () => {
	// The products underflow, and are denormal operands of the sums.
	expect(flagsAfter(0x1c00, () => [SMALL, HALF])).toEqual({ flags: DE | UE_PE, fault: VECTOR.XM });
});

test("a product whose denormal operand is not masked is the only one to tell, in whatever half it is", () => {
	const lanes = (half: number) => (half === 1 ? ([1, HALF] as const) : ([SMALL, HALF] as const));
	expect(flagsAfter(0x1c00, lanes)).toEqual({ flags: DE, fault: VECTOR.XM });
});
