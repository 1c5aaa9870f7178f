/** Opcodes that are hints, or left for hints to come: NOPs on any processor, as tried on a Zen 4 (SDM Vol. 2B, NOP). */
import { expect, it } from "vitest";
import type { Cpu } from "../../../src/silicon/cpu/cpu.ts";
import * as L from "../../../src/silicon/cpu/layout.ts";
import { FLAG, readRflags, writeRflags } from "../../../src/silicon/cpu/rflags.ts";
import { VECTOR } from "../../../src/silicon/cpu/fault.ts";
import { MachineMemory } from "../../../src/silicon/machine.ts";
import { emeraldRapids } from "../../../src/silicon/models/emerald-rapids.ts";
import { turin } from "../../../src/silicon/models/turin.ts";
import { createProcessor } from "../../../src/silicon/processor.ts";
import { AT, enterLongMode, RAM } from "../machine-code.ts";

const OPCODES = [0x0d, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f];
const PREFIXES = [[], [0x66], [0xf2], [0xf3], [0x48]];
/** With RBX, which names no memory, and R/M of a register; RIP-relative, which is PREFETCHIT's form. */
const FORMS = [
	[0x03, 0],
	[0xc3, 0],
	[0x05, 4],
] as const;

const FLAGS = FLAG.CF | FLAG.ZF | FLAG.PF | 2;
const registers = Array.from({ length: 16 }, (_, index) => 0x7777_0000_0000n + BigInt(index));

function* codes(): Generator<{ code: readonly number[]; isOfRegister0d: boolean }> {
	for (const prefix of PREFIXES)
		for (const opcode of OPCODES)
			for (const [form, displacementBytes] of FORMS)
				for (let register = 0; register < 8; register++) {
					const displacement = Array<number>(displacementBytes).fill(0x7f);
					const code = [...prefix, 0x0f, opcode, form | (register << 3), ...displacement];
					yield { code, isOfRegister0d: opcode === 0x0d && form === 0xc3 };
				}
}

/** Runs one instruction. @returns "done", the vector of its fault, or "changed" if registers or flags are not what they were */
function outcomeOf(cpu: Cpu, code: readonly number[]): "done" | "changed" | number {
	cpu.memory.onCodeWrite(AT.code >> 12);
	cpu.memory.u8.set(code, cpu.memory.ramBase + AT.code);
	for (const [index, value] of registers.entries()) cpu.setGpr(index, value);
	writeRflags(cpu, FLAGS);
	cpu.write64(L.RIP, BigInt(AT.code));
	cpu.write32(L.FAULT, 0);
	cpu.executeOne(cpu);
	if (cpu.read32(L.FAULT) !== 0) return cpu.read32(L.FAULT_VECTOR);
	const passed = cpu.read64(L.RIP) === BigInt(AT.code + code.length) && readRflags(cpu) === FLAGS;
	return passed && registers.every((value, index) => cpu.gpr(index) === value) ? "done" : "changed";
}

it.each([turin, emeraldRapids])("change nothing and touch no memory: $name", (model) => {
	const cpu = enterLongMode(createProcessor(new MachineMemory(1, RAM), model));
	for (const { code, isOfRegister0d } of codes()) {
		const name = code.map((byte) => byte.toString(16)).join(" ");
		expect(outcomeOf(cpu, code), name).toBe(isOfRegister0d && model === turin ? VECTOR.UD : "done");
	}
});
