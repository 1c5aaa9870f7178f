/** Limits and types of segments (SDM Vol. 3A, 6.3 and 6.4), checked by translated code and by the system side alike. */
import { describe, expect, it } from "vitest";
import type { Cpu } from "../../../src/silicon/cpu/cpu.ts";
import * as L from "../../../src/silicon/cpu/layout.ts";
import { setSegment } from "../../../src/silicon/cpu/segments.ts";
import { contextChanged } from "../../../src/silicon/paging/tlb.ts";
import { AT, SELECTOR } from "../machine-code.ts";
import { bareMachine, program } from "../guest-machine.ts";

/** 32-bit code in compatibility mode, whose faults go through the 64-bit IDT. */
function compatible(...parts: readonly (readonly number[])[]): Cpu {
	const { cpu } = bareMachine("vmx");
	setSegment(cpu, L.CS, SELECTOR.code32, 0n, 0xffffffff, 0xc09b);
	setSegment(cpu, L.SS, SELECTOR.kernelData, 0n, 0xffffffff, 0xc093);
	for (const segment of [L.DS, L.ES, L.FS, L.GS])
		setSegment(cpu, segment, SELECTOR.kernelData, 0n, 0xffffffff, 0xc093);
	contextChanged(cpu);
	program(cpu, ...parts);
	return cpu;
}

/** Vector of the handler that halted the processor, or null if the program came to its own HLT. */
function vectorOf(cpu: Cpu): number | null {
	cpu.halted = "no";
	cpu.execute(cpu);
	const rip = Number(cpu.read64(L.RIP));
	return rip >= AT.handler ? (rip - 1 - AT.handler) / 16 : null;
}

const LOAD = [0x8b, 0x03]; // mov eax, [ebx]
const STORE = [0x89, 0x03]; // mov [ebx], eax
const STORE_SS = [0x36, 0x89, 0x03];
const LOAD_CS = [0x2e, 0x8b, 0x03];
const STORE_CS = [0x2e, 0x89, 0x03];
const PUSH = [0x50];
const MOVSD = [0xa5];
const [READ_ONLY, EXPAND_DOWN, EXECUTE_ONLY, NULL] = [0xc091, 0xc097, 0xc099, 0x10000];

describe("an access through a segment with a limit", () => {
	it("may reach the limit, not beyond: #GP(0), and #SS(0) through SS", () => {
		for (const [code, offset, wanted] of [
			[LOAD, 0xffc, null],
			[LOAD, 0xffd, 13],
			[STORE, 0xffc, null],
			[STORE, 0x1000, 13],
			[STORE_SS, 0xffd, 12],
		] as const) {
			const cpu = compatible(code);
			for (const segment of [L.DS, L.SS]) setSegment(cpu, segment, 0x10, BigInt(AT.data), 0xfff, 0x4093);
			cpu.setGpr(L.RBX, BigInt(offset));
			expect(vectorOf(cpu), `${code} at ${offset}`).toBe(wanted);
		}
	});

	it("of a segment that grows down must lie above it", () => {
		for (const [offset, wanted] of [
			[0xfff, 13],
			[0x1000, null],
		] as const) {
			const cpu = compatible(LOAD);
			setSegment(cpu, L.DS, 0x10, BigInt(AT.data - 0x1000), 0xfff, EXPAND_DOWN);
			cpu.setGpr(L.RBX, BigInt(offset));
			expect(vectorOf(cpu)).toBe(wanted);
		}
	});

	it("follows the type: code is not written, and read only if readable; a null segment is not used", () => {
		for (const [code, segment, attributes, wanted] of [
			[LOAD, L.DS, READ_ONLY, null],
			[STORE, L.DS, READ_ONLY, 13],
			[LOAD_CS, L.DS, 0xc093, null],
			[STORE_CS, L.DS, 0xc093, 13],
			[LOAD, L.DS, EXECUTE_ONLY, 13],
			[LOAD, L.DS, NULL, 13],
		] as const) {
			const cpu = compatible(code);
			setSegment(cpu, segment, 0x10, 0n, 0xffffffff, attributes);
			cpu.setGpr(L.RBX, BigInt(AT.data));
			expect(vectorOf(cpu), `${code} with ${attributes.toString(16)}`).toBe(wanted);
		}
	});

	it("by PUSH and by a string instruction is checked like any other", () => {
		const push = compatible(PUSH);
		setSegment(push, L.SS, 0x10, BigInt(AT.data), 0xfff, 0x4093);
		push.setGpr(L.RSP, 0x1002n);
		expect(vectorOf(push)).toBe(12);
		const move = compatible(MOVSD);
		setSegment(move, L.ES, 0x10, BigInt(AT.data), 0xfff, 0x4093);
		move.setGpr(L.RSI, BigInt(AT.data));
		move.setGpr(L.RDI, 0xffdn);
		expect(vectorOf(move)).toBe(13);
		expect(move.gpr(L.RSI)).toBe(BigInt(AT.data));
	});
});

describe("code", () => {
	it("does not run, and a branch does not lead, beyond the limit of CS", () => {
		const JUMP_BACK = [0xeb, 0x20];
		for (const [limit, wanted] of [
			[AT.code + 0x22, null],
			[AT.code + 0x21, 13],
			[AT.code + 1, 13],
			[AT.code, 13],
		] as const) {
			const cpu = compatible(JUMP_BACK);
			cpu.memory.u8[cpu.memory.ramBase + AT.code + 0x22] = 0xf4;
			setSegment(cpu, L.CS, SELECTOR.code32, 0n, limit, 0x409b);
			expect(vectorOf(cpu), limit.toString(16)).toBe(wanted);
		}
	});

	it("at one offset of two code segments is two programs", () => {
		const cpu = compatible([0xff, 0xc6]); // inc esi
		expect(vectorOf(cpu)).toBe(null);
		cpu.memory.u8.set([0xff, 0xce, 0xf4], cpu.memory.ramBase + AT.code + 0x100); // dec esi
		setSegment(cpu, L.CS, SELECTOR.code32, 0x100n, 0xffffffff, 0xc09b);
		cpu.write64(L.RIP, BigInt(AT.code));
		cpu.halted = "no";
		cpu.execute(cpu);
		expect(cpu.gpr(L.RSI)).toBe(0n);
	});

	it("in 64-bit mode: a branch to an address that is not canonical faults at the branch, whose RSP has not moved", () => {
		const { cpu } = bareMachine("svm");
		program(cpu, [0xff, 0xd3]); // call rbx
		cpu.setGpr(L.RBX, 1n << 60n);
		cpu.halted = "no";
		cpu.execute(cpu);
		const top = Number(cpu.gpr(L.RSP));
		expect((Number(cpu.read64(L.RIP)) - 1 - AT.handler) / 16).toBe(13);
		expect(cpu.memory.view.getBigUint64(cpu.memory.ramBase + top + 8, true)).toBe(BigInt(AT.code));
		expect(cpu.memory.view.getBigUint64(cpu.memory.ramBase + top + 32, true)).toBe(BigInt(AT.stack));
	});
});
