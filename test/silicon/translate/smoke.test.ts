import { expect, test } from "vitest";
import * as L from "../../../src/silicon/cpu/layout.ts";
import { BareMachine } from "./bare-machine.ts";

test("a loop sums 1 to 100", () => {
	const machine = new BareMachine();
	// xor eax,eax; mov ecx,100; 1: add eax,ecx; dec ecx; jnz 1b; hlt
	machine.poke(0x1000, [0x31, 0xc0, 0xb9, 100, 0, 0, 0, 0x01, 0xc8, 0xff, 0xc9, 0x75, 0xfa, 0xf4]);
	machine.run(0x1000);
	expect(machine.fault).toBe(null);
	expect(machine.cpu.gpr(L.RAX)).toBe(5050n);
	expect(machine.cpu.instructions).toBe(2 + 300);
});
