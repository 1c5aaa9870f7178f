/** Indirect-branch tracking (SDM Vol. 1, 17.3). */
import { describe, expect, it } from "vitest";
import { CET, CP } from "../../../src/silicon/cpu/cet.ts";
import type { Cpu } from "../../../src/silicon/cpu/cpu.ts";
import { VECTOR } from "../../../src/silicon/cpu/fault.ts";
import * as L from "../../../src/silicon/cpu/layout.ts";
import { setSegment } from "../../../src/silicon/cpu/segments.ts";
import { contextChanged } from "../../../src/silicon/paging/tlb.ts";
import { AT, poke64, SELECTOR } from "../machine-code.ts";
import {
	amd,
	CODE,
	call,
	cetMachine,
	ENDBR32,
	ENDBR64,
	imm32,
	intel,
	movRax,
	poke,
	run,
	USER,
	userMachine,
} from "./cet-machine.ts";

const TARGET = USER.code + 0x100;
const missing = { vector: VECTOR.CP, errorCode: CP.endbranch, rip: TARGET };

/** User code with tracking: a branch to TARGET, where `landing` lies, and a UD2 behind. */
function branch(control: number, code: readonly number[], ...landing: readonly (readonly number[])[]) {
	const cpu = userMachine(intel, control);
	poke(cpu, USER.code, movRax(TARGET), code, [0x0f, 0x0b]);
	poke(cpu, TARGET, ...landing, [0x0f, 0x0b]);
	return { cpu, ended: run(cpu) };
}

const tracker = (cpu: Cpu) => cpu.read32(L.U_CET) & (CET.TRACKER | CET.SUPPRESS);
const ud = (rip: number) => ({ vector: VECTOR.UD, errorCode: null, rip });

describe.each([
	["JMP", CODE.jmpRax],
	["CALL", CODE.callRax],
	["JMP through memory", [0x50, 0xff, 0x24, 0x24]],
	["far JMP", [0xff, 0x2d, 0, 0, 0, 0, ...imm32(TARGET), SELECTOR.userCode, 0]],
])("an indirect %s", (_name, code) => {
	it("may land on ENDBR64", () => {
		const { cpu, ended } = branch(CET.ENDBR_EN, code, ENDBR64);
		expect(ended).toEqual(ud(TARGET + 4));
		expect(tracker(cpu)).toBe(0);
	});

	it("is #CP(ENDBRANCH) at its target on anything else, ENDBR32 too; level 3 still waits", () => {
		for (const landing of [[0x90], ENDBR32, []]) {
			const { cpu, ended } = branch(CET.ENDBR_EN, code, landing);
			expect(ended).toEqual(missing);
			expect(tracker(cpu)).toBe(CET.TRACKER);
		}
	});

	it("may land anywhere without ENDBR_EN", () => {
		expect(branch(0, code, CODE.incRsi).ended).toEqual(ud(TARGET + 3));
	});
});

it("direct branches and RET are not tracked", () => {
	const cpu = userMachine(intel, CET.ENDBR_EN);
	poke(cpu, USER.code, call(USER.code, TARGET), [0xeb, 0x10]);
	poke(cpu, USER.code + 0x17, [0x0f, 0x0b]);
	poke(cpu, TARGET, CODE.incRsi, CODE.ret);
	expect(run(cpu)).toEqual(ud(USER.code + 0x17));
});

it("the prefix 3EH exempts a JMP where NO_TRACK_EN is set, and only there", () => {
	expect(branch(CET.ENDBR_EN | CET.NO_TRACK_EN, CODE.notrackJmpRax).ended).toEqual(ud(TARGET));
	expect(branch(CET.ENDBR_EN, CODE.notrackJmpRax).ended).toEqual(missing);
	// FS has the last word among prefixes of segments in 64-bit mode.
	expect(branch(CET.ENDBR_EN | CET.NO_TRACK_EN, [0x3e, 0x64, ...CODE.jmpRax]).ended).toEqual(missing);
});

it("a page fault of the target comes before #CP, and INT3 in the place of the ENDBR64 is #BP", () => {
	const cpu = userMachine(intel, CET.ENDBR_EN);
	poke(cpu, USER.code, movRax(0x1ff000), CODE.jmpRax);
	poke64(cpu, AT.table + 0x1ff * 8, 0n);
	contextChanged(cpu);
	expect(run(cpu)).toMatchObject({ vector: VECTOR.PF, errorCode: 0x14 });
	const second = branch(CET.ENDBR_EN, CODE.jmpRax, [0xcc]);
	expect(second.ended).toEqual({ vector: VECTOR.BP, errorCode: null, rip: TARGET + 1 });
	expect(tracker(second.cpu)).toBe(CET.TRACKER);
});

it("ENDBR64 that runs over the end of a page is found", () => {
	const cpu = userMachine(intel, CET.ENDBR_EN);
	const target = USER.code + 0xffe;
	poke(cpu, USER.code, movRax(target), CODE.jmpRax);
	poke(cpu, target, ENDBR64, [0x0f, 0x0b]);
	expect(run(cpu)).toEqual(ud(target + 4));
});

it("tracking is exact in loops that have become hot", () => {
	const cpu = userMachine(intel, CET.ENDBR_EN);
	// MOV ECX, 5000; loop: CALL RAX; DEC ECX; JNZ loop
	poke(cpu, USER.code, movRax(TARGET), [
		0xb9,
		...imm32(5000),
		0xff,
		0xd0,
		0xff,
		0xc9,
		0x75,
		0xfa,
		0x0f,
		0x0b,
	]);
	poke(cpu, TARGET, ENDBR64, CODE.incRsi, CODE.ret);
	expect(run(cpu)).toEqual(ud(USER.code + 18));
	expect(cpu.gpr(6)).toBe(5000n);
});

describe("the legacy bitmap", () => {
	const bitmap = 0x72000;
	const control = CET.ENDBR_EN | CET.LEG_IW_EN | bitmap;
	const mark = (cpu: Cpu) => {
		cpu.memory.u8[cpu.memory.ramBase + bitmap + (TARGET >> 15)] = 1 << ((TARGET >> 12) & 7);
	};
	const runWith = (value: number) => {
		const cpu = userMachine(intel, value);
		mark(cpu);
		poke(cpu, USER.code, movRax(TARGET), CODE.jmpRax);
		poke(cpu, TARGET, CODE.incRsi, movRax(TARGET + 0x100), CODE.jmpRax);
		poke(cpu, TARGET + 0x100, CODE.incRsi, ENDBR64, movRax(TARGET + 0x200), CODE.jmpRax);
		poke(cpu, TARGET + 0x200, CODE.incRsi, [0x0f, 0x0b]);
		return { cpu, ended: run(cpu) };
	};

	it("allows its pages, and tracking pauses until the next ENDBR64", () => {
		const { cpu, ended } = runWith(control);
		expect([ended.rip, cpu.gpr(6)]).toEqual([TARGET + 0x203, 3n]);
		expect(tracker(cpu)).toBe(CET.SUPPRESS);
	});

	it("does not pause it with SUPPRESS_DIS set", () => {
		const { cpu, ended } = runWith(control | CET.SUPPRESS_DIS);
		expect([ended.rip, tracker(cpu)]).toEqual([TARGET + 0x203, 0]);
	});

	it("refuses other pages", () => {
		const { ended } = branch(control, CODE.jmpRax, [0x90]);
		expect(ended).toEqual(missing);
	});
});

describe("an event", () => {
	it("to level 0 must find an ENDBR64 in its handler; level 3's own state waits for the return", () => {
		const cpu = userMachine(intel, CET.ENDBR_EN);
		poke(cpu, USER.code, CODE.int80);
		expect(run(cpu).vector).toBe(0x80);
		expect(cpu.read32(L.S_CET) & CET.TRACKER).toBe(0);
		const second = userMachine(intel, CET.ENDBR_EN);
		poke(second, USER.code, CODE.int80);
		poke(second, AT.handler + 0x800, CODE.hlt);
		expect(run(second)).toEqual({ vector: VECTOR.CP, errorCode: CP.endbranch, rip: AT.handler + 0x800 });
	});

	it("between an indirect branch and its landing is taken first, and the landing is looked at after IRETQ", () => {
		for (const [landing, ended] of [
			[ENDBR64, ud(TARGET + 4)],
			[[0x90], missing],
		] as const) {
			const cpu = userMachine(intel, CET.ENDBR_EN);
			// A page fault of the fetch; its handler maps the page.
			poke64(cpu, AT.table + (TARGET >> 12) * 8, 0n);
			poke(cpu, USER.stack, []);
			const code = 0x76000;
			cpu.write64(L.RIP, BigInt(code));
			poke(cpu, code, movRax(TARGET), CODE.jmpRax);
			poke(cpu, TARGET, landing, [0x0f, 0x0b]);
			const entry = BigInt(TARGET & ~0xfff) | 7n;
			// MOV QWORD [table], imm32; ADD RSP, 8; IRETQ
			const store = [
				0x48,
				0xc7,
				0x04,
				0x25,
				...imm32(AT.table + (TARGET >> 12) * 8),
				...imm32(Number(entry)),
			];
			poke(cpu, AT.code, store, [0x48, 0x83, 0xc4, 0x08], CODE.iretq);
			poke(cpu, AT.handler + 14 * 16, ENDBR64, [0xe9, ...imm32(AT.code - (AT.handler + 14 * 16 + 9))]);
			expect(run(cpu)).toEqual(ended);
		}
	});

	it("SYSCALL must find an ENDBR64 too", () => {
		const cpu = userMachine(intel, CET.ENDBR_EN);
		cpu.write64(L.STAR, (0x13n << 48n) | (8n << 32n));
		cpu.write64(L.LSTAR, BigInt(TARGET));
		poke(cpu, USER.code, CODE.syscall);
		poke(cpu, TARGET, [0x90]);
		expect(run(cpu)).toEqual(missing);
	});
});

it("32-bit code wants ENDBR32", () => {
	for (const [landing, vector] of [
		[ENDBR32, null],
		[ENDBR64, VECTOR.CP],
	] as const) {
		const cpu = cetMachine(intel, CET.ENDBR_EN);
		setSegment(cpu, L.CS, 0x38, 0n, 0xffffffff, 0xc09b);
		contextChanged(cpu);
		cpu.setGpr(L.RAX, BigInt(TARGET));
		poke(cpu, AT.code, CODE.jmpRax);
		poke(cpu, TARGET, landing, CODE.hlt);
		expect(run(cpu).vector).toBe(vector);
	}
});

it("AMD's processors track nothing: ENDBR64 is a NOP and ENDBR_EN reserved", () => {
	const cpu = cetMachine(amd, 0);
	poke(cpu, AT.code, movRax(TARGET), CODE.jmpRax);
	poke(cpu, TARGET, ENDBR64, ENDBR32, CODE.hlt);
	expect(run(cpu)).toMatchObject({ vector: null, rip: TARGET + 8 });
});

describe("IA32_U_CET and IA32_S_CET", () => {
	const wrmsr = [0x0f, 0x30];
	/** WRMSR of a value. @returns whether it faulted */
	const refuses = (model: typeof intel, index: number, value: bigint): boolean => {
		const cpu = cetMachine(model, 0);
		cpu.setGpr(L.RCX, BigInt(index));
		cpu.setGpr(L.RAX, value & 0xffff_ffffn);
		cpu.setGpr(L.RDX, value >> 32n);
		// The tracker may have been set.
		poke(cpu, AT.code, wrmsr, ENDBR64, CODE.hlt);
		const { vector } = run(cpu);
		expect([null, VECTOR.GP]).toContain(vector);
		return vector !== null;
	};

	it.each([0x6a0, 0x6a2])(
		"%i refuse reserved bits, both of SUPPRESS and TRACKER, and bases that are not canonical",
		(index) => {
			const reserved = (model: typeof intel) => {
				const bits: number[] = [];
				for (let bit = 0n; bit < 64n; bit++) if (refuses(model, index, 1n << bit)) bits.push(Number(bit));
				return bits;
			};
			// Linear addresses have 57 bits.
			const high = Array.from({ length: 8 }, (_, at) => 56 + at);
			expect(reserved(intel)).toEqual([6, 7, 8, 9, ...high]);
			expect(reserved(amd)).toEqual(Array.from({ length: 62 }, (_, at) => at + 2));
			expect(refuses(intel, index, 0xc04n)).toBe(true);
			expect(refuses(intel, index, 0x804n)).toBe(false);
		},
	);

	it.each([0x6a4, 0x6a5, 0x6a6, 0x6a7])(
		"IA32_PLx_SSP (%i) wants a canonical multiple of 4, the SSP table a canonical address",
		(index) => {
			expect([1n, 2n, 4n, 1n << 60n].map((value) => refuses(amd, index, value))).toEqual([
				true,
				true,
				false,
				true,
			]);
			expect([1n, 1n << 60n].map((value) => refuses(intel, 0x6a8, value))).toEqual([false, true]);
		},
	);
});
