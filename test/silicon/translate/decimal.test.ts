/** Decimal adjustment, against decimal arithmetic itself (SDM Vol. 1, 5.1.3). */
import { describe, expect, it } from "vitest";
import * as L from "../../../src/silicon/cpu/layout.ts";
import { FLAG, readRflags } from "../../../src/silicon/cpu/rflags.ts";
import { BareMachine } from "./bare-machine.ts";

const machine = new BareMachine(32);
const HLT = 0xf4;
const packed = (value: number) => (Math.floor(value / 10) << 4) | (value % 10);

function run(code: readonly number[], ax: number, bx = 0): { ax: number; carry: boolean } {
	machine.poke(0x1000, [...code, HLT]);
	machine.translator.reset();
	machine.cpu.setGpr(L.RAX, BigInt(ax));
	machine.cpu.setGpr(L.RBX, BigInt(bx));
	machine.run(0x1000);
	const carry = (readRflags(machine.cpu) & FLAG.CF) !== 0;
	return { ax: Number(machine.cpu.gpr(L.RAX) & 0xffffn), carry };
}

describe("decimal adjustment", () => {
	it("DAA behind ADD and DAS behind SUB are sums and differences of packed decimals", () => {
		for (let left = 0; left < 100; left += 7) {
			for (let right = 0; right < 100; right += 9) {
				const sum = run([0x00, 0xd8, 0x27], packed(left), packed(right));
				expect(sum).toEqual({ ax: packed((left + right) % 100), carry: left + right > 99 });
				const difference = run([0x28, 0xd8, 0x2f], packed(left), packed(right));
				expect(difference).toEqual({ ax: packed((left - right + 100) % 100), carry: left < right });
			}
		}
	});

	it("AAA and AAS carry into AH, AAM and AAD convert to digits and back, AAM 0 is #DE", () => {
		expect(run([0x00, 0xd8, 0x37], 0x0108, 7)).toEqual({ ax: 0x0205, carry: true });
		expect(run([0x28, 0xd8, 0x3f], 0x0203, 7)).toEqual({ ax: 0x0106, carry: true });
		expect(run([0xd4, 10], 87).ax).toBe(0x0807);
		expect(run([0xd5, 10], 0x0807).ax).toBe(87);
		run([0xd4, 0], 1);
		expect(machine.fault?.vector).toBe(0);
	});
});
