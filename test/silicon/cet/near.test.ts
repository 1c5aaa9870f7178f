/** Near CALL and RET under a shadow stack (SDM Vol. 1, 17.2.2). */
import { describe, expect, it } from "vitest";
import { CP } from "../../../src/silicon/cpu/cet.ts";
import type { Cpu } from "../../../src/silicon/cpu/cpu.ts";
import { VECTOR } from "../../../src/silicon/cpu/fault.ts";
import * as L from "../../../src/silicon/cpu/layout.ts";
import { setSegment } from "../../../src/silicon/cpu/segments.ts";
import { contextChanged, flushTlb } from "../../../src/silicon/paging/tlb.ts";
import { AT, P, peek64, poke64, setLevel, US } from "../machine-code.ts";
import { Random } from "../translate/random.ts";
import {
	amd,
	CODE,
	call,
	cetMachine,
	D,
	intel,
	movRax,
	poke,
	run,
	SHADOW,
	ssp,
	USER,
	userMachine,
} from "./cet-machine.ts";

describe.each([
	["Intel", intel],
	["AMD", amd],
])("on %s's processors", (_name, model) => {
	it("CALL leaves its return address on both stacks, and RET takes it from both", () => {
		const cpu = userMachine(model);
		poke(cpu, USER.code, call(USER.code, USER.code + 0x100), CODE.hlt);
		poke(cpu, USER.code + 0x100, CODE.rdsspqRax, CODE.ret);
		expect(run(cpu)).toEqual({ vector: VECTOR.GP, errorCode: 0, rip: USER.code + 5 });
		expect(Number(cpu.gpr(L.RAX))).toBe(SHADOW.user + 0xff8);
		expect(Number(peek64(cpu, SHADOW.user + 0xff8))).toBe(USER.code + 5);
		expect(Number(cpu.read64(L.PL3_SSP))).toBe(SHADOW.user + 0x1000);
	});

	it("a return address that was tampered with is #CP(NEAR-RET), and RIP, RSP and SSP are those of the RET", () => {
		const cpu = userMachine(model);
		poke(cpu, USER.code, call(USER.code, USER.code + 0x100));
		// ADD QWORD [RSP], 1
		poke(cpu, USER.code + 0x100, [0x48, 0x83, 0x04, 0x24, 0x01], CODE.ret);
		expect(run(cpu)).toEqual({ vector: VECTOR.CP, errorCode: CP.nearRet, rip: USER.code + 0x105 });
		expect(Number(peek64(cpu, Number(cpu.gpr(L.RSP)) + 32))).toBe(USER.stack - 8);
		expect(Number(cpu.read64(L.PL3_SSP))).toBe(SHADOW.user + 0xff8);
	});

	it("a CALL of the next instruction pushes no shadow: it is how code finds its address", () => {
		const cpu = cetMachine(model);
		poke(cpu, AT.code, call(AT.code, AT.code + 5), [0x58], CODE.hlt);
		expect(run(cpu).vector).toBe(null);
		expect([Number(cpu.gpr(L.RAX)), ssp(cpu)]).toEqual([AT.code + 5, SHADOW.kernel + 0xff8]);
	});

	it("a CALL whose shadow push faults leaves RSP and SSP alone; the fault tells of a shadow-stack write", () => {
		const cpu = userMachine(model);
		cpu.write64(L.SSP, BigInt(AT.data));
		poke(cpu, USER.code, call(USER.code, USER.code + 0x100));
		expect(run(cpu)).toMatchObject({ vector: VECTOR.PF, errorCode: 0x47, rip: USER.code });
		expect(cpu.read64(L.CR2)).toBe(BigInt(AT.data - 8));
		expect(Number(peek64(cpu, Number(cpu.gpr(L.RSP)) + 32))).toBe(USER.stack);
		expect(cpu.read64(L.PL3_SSP)).toBe(BigInt(AT.data));
	});

	it("level 0 without a shadow stack that can be written cannot even take the fault: shutdown", () => {
		const cpu = cetMachine(model);
		cpu.write64(L.SSP, BigInt(AT.data));
		poke(cpu, AT.code, call(AT.code, AT.code + 0x100));
		expect(() => run(cpu)).toThrow("shutdown");
	});
});

it("outside of 64-bit mode a return address on the shadow stack has 4 bytes", () => {
	const cpu = cetMachine();
	setSegment(cpu, L.CS, 0x38, 0n, 0xffffffff, 0xc09b);
	cpu.write64(L.SSP, BigInt(SHADOW.kernel + 0xffc));
	contextChanged(cpu);
	poke(cpu, AT.code, call(AT.code, AT.code + 0x100), CODE.hlt);
	poke(cpu, AT.code + 0x100, CODE.rdsspdEax, CODE.ret);
	expect(run(cpu)).toEqual({ vector: null, errorCode: null, rip: AT.code + 5 });
	expect(Number(cpu.gpr(L.RAX))).toBe(SHADOW.kernel + 0xff8);
	expect(peek64(cpu, SHADOW.kernel + 0xff8)).toBe(BigInt(AT.code + 5));
});

describe("pages", () => {
	const store = [0x48, 0x89, 0x03]; // MOV [RBX], RAX
	const load = [0x48, 0x8b, 0x03]; // MOV RAX, [RBX]

	it("of a shadow stack are read like others and not written, by level 0 or 3", () => {
		for (const cpu of [cetMachine(), userMachine()]) {
			const at = Number(cpu.read64(L.RIP));
			const user = at === USER.code;
			cpu.setGpr(L.RBX, BigInt(user ? SHADOW.user : SHADOW.kernel));
			poke(cpu, at, load, store);
			expect(run(cpu)).toMatchObject({ vector: VECTOR.PF, errorCode: user ? 7 : 3, rip: at + 3 });
		}
	});

	it.each([
		["writable", P | 2n | US | D],
		["not dirty", P | US],
		["of the other mode", P | D],
		["absent", 0n],
	])("that are %s serve no shadow stack of user mode", (_name, entry) => {
		const cpu = userMachine();
		poke64(cpu, AT.table + (SHADOW.user >> 12) * 8, BigInt(SHADOW.user) | entry);
		contextChanged(cpu);
		poke(cpu, USER.code, call(USER.code, USER.code + 0x100));
		expect(run(cpu)).toMatchObject({ vector: VECTOR.PF, errorCode: entry === 0n ? 0x46 : 0x47 });
	});

	it("serve none either if an entry above is not writable", () => {
		const cpu = userMachine();
		for (const rights of [P | US, P | US | 2n]) {
			cpu.write64(L.RIP, BigInt(USER.code));
			poke64(cpu, AT.directory + 8, 0x5000n | rights);
			poke64(cpu, 0x5000, BigInt(SHADOW.user) | P | US | D);
			cpu.write64(L.SSP, 0x201000n);
			poke(cpu, USER.code, call(USER.code, USER.code + 0x100));
			poke(cpu, USER.code + 0x100, CODE.hlt);
			if ((rights & 2n) === 0n) expect(run(cpu)).toMatchObject({ vector: VECTOR.PF, errorCode: 0x47 });
			else expect(run(cpu)).toMatchObject({ vector: VECTOR.GP, rip: USER.code + 0x100 });
			poke64(cpu, SHADOW.kernel2 + 0xff8, BigInt(SHADOW.kernel2 + 0xff8));
			setLevel(cpu, 3);
			cpu.setGpr(L.RSP, BigInt(USER.stack));
			flushTlb(cpu);
		}
	});
});

/** A random program of nested calls, and where its functions lie. */
function nest(random: Random, base: number): { readonly functions: number[][]; readonly at: number[] } {
	const count = 3 + random.below(6);
	const at = Array.from({ length: count }, (_, index) => base + index * 0x100);
	const functions = at.map((start, index) => {
		const code: number[] = [];
		const steps = 1 + random.below(4);
		for (let step = 0; step < steps; step++) {
			const callee = index + 1 + random.below(count);
			const here = start + code.length;
			switch (callee < count ? random.below(4) : 3) {
				case 0:
					code.push(...call(here, at[callee]!));
					break;
				case 1:
					code.push(...movRax(at[callee]!), ...CODE.callRax);
					break;
				case 2:
					// PUSH RSI before a function that may take it off again; LEA RSP afterwards mends it for one that did not.
					code.push(0x55, 0x48, 0x89, 0xe5, ...call(here + 4, at[callee]!), 0x48, 0x89, 0xec, 0x5d);
					break;
				default:
					code.push(...CODE.incRsi, ...call(here + 3, here + 8), 0x58);
			}
		}
		// The first function is where the program began.
		code.push(...(index === 0 ? CODE.hlt : CODE.ret));
		return code;
	});
	return { functions, at };
}

/** Runs a nest. @returns what it ended with */
function runNest(cpu: Cpu, program: ReturnType<typeof nest>): ReturnType<typeof run> {
	for (const [index, code] of program.functions.entries()) poke(cpu, program.at[index]!, code);
	cpu.write64(L.RIP, BigInt(program.at[0]!));
	return run(cpu);
}

const registers = (cpu: Cpu) => Array.from({ length: 16 }, (_, index) => cpu.gpr(index));

describe("random nests of calls", () => {
	it("end under a shadow stack as without one, and give it back as it was", () => {
		for (let seed = 1; seed <= 60; seed++) {
			const program = nest(new Random(seed), AT.code);
			const free = cetMachine(intel, 0);
			const without = {
				ended: runNest(free, program),
				registers: registers(free),
				instructions: free.instructions,
			};
			const cpu = cetMachine(intel);
			const ended = runNest(cpu, program);
			expect({ ended, registers: registers(cpu), instructions: cpu.instructions }).toEqual(without);
			expect(ssp(cpu)).toBe(SHADOW.kernel + 0xff8);
		}
	});

	it("are #CP(NEAR-RET) at the RET whose return address anything has changed", () => {
		const random = new Random(7);
		for (let seed = 1; seed <= 40; seed++) {
			const program = nest(new Random(seed), AT.code);
			const victim = 1 + random.below(program.at.length - 1);
			// XOR QWORD [RSP], a byte
			const mask = 1 + random.below(127);
			const body = program.functions[victim]!;
			body.splice(-1, 1, 0x48, 0x83, 0x34, 0x24, mask, ...CODE.ret);
			const cpu = cetMachine(intel);
			const ended = runNest(cpu, program);
			// A function that nobody calls changes nothing.
			if (ended.vector === null) continue;
			expect(ended).toEqual({
				vector: VECTOR.CP,
				errorCode: CP.nearRet,
				rip: program.at[victim]! + body.length - 1,
			});
		}
	});
});
