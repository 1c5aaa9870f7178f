/** What the comparison with a real processor found in 16-bit code, one statement each. */
import { expect, it } from "vitest";
import { CodeMachine } from "./code-machine.ts";
import { classOf, MODE } from "./modes.ts";
import { WINDOW } from "./places.ts";
import { CaseState, type Record } from "./state.ts";

const RSP = 4;
const RBP = 5;

it("ENTER with 32-bit operands on a 16-bit stack gives EBP the upper half of ESP", () => {
	const record: Record = {
		// ENTER 10H, 0
		bytes: new Uint8Array([0x66, 0xc8, 0x10, 0, 0]),
		classes: classOf(MODE.code16),
		region: WINDOW + 0x8000,
		pins: [{ register: RSP, and: 0n, add: 0x7fff_8040n }],
		indices: null,
	};
	const state = new CaseState();
	state.make(record, 1, 0, 0);
	const machine = new CodeMachine();
	machine.begin(record);
	expect(machine.run(record, state)).toBe(-1);
	expect(machine.gpr(RBP)).toBe(0x7fff_803cn);
	expect(machine.gpr(RSP)).toBe(0x7fff_802cn);
});
