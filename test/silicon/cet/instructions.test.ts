/** The instructions that manage shadow stacks (SDM Vol. 2). */
import { describe, expect, it } from "vitest";
import { CET, CP } from "../../../src/silicon/cpu/cet.ts";
import { CR4 } from "../../../src/silicon/cpu/control.ts";
import type { Cpu } from "../../../src/silicon/cpu/cpu.ts";
import { VECTOR } from "../../../src/silicon/cpu/fault.ts";
import * as L from "../../../src/silicon/cpu/layout.ts";
import { readRflags } from "../../../src/silicon/cpu/rflags.ts";
import { setSegment } from "../../../src/silicon/cpu/segments.ts";
import { contextChanged } from "../../../src/silicon/paging/tlb.ts";
import { emeraldRapids } from "../../../src/silicon/models/emerald-rapids.ts";
import { AT, peek64, poke64 } from "../machine-code.ts";
import {
	CODE,
	call,
	cetMachine,
	intel,
	movRax,
	poke,
	run,
	SHADOW,
	ssp,
	USER,
	userMachine,
} from "./cet-machine.ts";

const TOP = SHADOW.kernel + 0xff8;
const carry = (cpu: Cpu) => (readRflags(cpu) & 1) !== 0;

/** Runs code at level 0, with RBX set. */
function runAt0(cpu: Cpu, rbx: number, ...code: readonly (readonly number[])[]) {
	cpu.setGpr(L.RBX, BigInt(rbx));
	cpu.write64(L.RIP, BigInt(AT.code));
	poke(cpu, AT.code, ...code, CODE.hlt);
	return run(cpu);
}

describe("without a shadow stack", () => {
	const all = Object.entries(CODE).filter(([name]) => /ssp|wr.?ss|ssbsy/.test(name));

	it.each(all)("%s is #UD, or a NOP if it is RDSSP", (name, code) => {
		for (const [control, cr4] of [
			[0, CR4.CET],
			[3, 0],
		] as const) {
			const cpu = cetMachine(intel, control);
			cpu.write32(L.CR4, (cpu.read32(L.CR4) & ~CR4.CET) | cr4);
			contextChanged(cpu);
			cpu.setGpr(L.RAX, 77n);
			const { vector } = runAt0(cpu, SHADOW.kernel, code);
			// WRUSS asks for CR4.CET alone.
			if (name.startsWith("wruss") && cr4 !== 0) expect(vector).toBe(VECTOR.PF);
			else expect(vector).toBe(name.startsWith("rdssp") ? null : VECTOR.UD);
			if (vector === null) expect(cpu.gpr(L.RAX)).toBe(77n);
		}
	});

	it("of the processor the same holds, and CR4.CET is reserved", () => {
		const cpu = cetMachine(
			{ ...emeraldRapids, features: { ...intel.features, cetSs: false, cetIbt: false } },
			0,
		);
		cpu.write32(L.CR4, cpu.read32(L.CR4) & ~CR4.CET);
		contextChanged(cpu);
		for (const [name, code] of all)
			expect(`${name} ${runAt0(cpu, 0, code).vector}`).toBe(
				`${name} ${name.startsWith("rdssp") ? null : VECTOR.UD}`,
			);
		// MOV CR4, RAX
		expect(runAt0(cpu, 0, movRax(cpu.read32(L.CR4) | CR4.CET), [0x0f, 0x22, 0xe0]).vector).toBe(VECTOR.GP);
	});
});

describe("CR4.CET", () => {
	const movCr4Rax = [0x0f, 0x22, 0xe0];
	const movCr0Rax = [0x0f, 0x22, 0xc0];

	it("goes with CR0.WP: neither CET without WP nor WP taken away from CET", () => {
		const cpu = cetMachine(intel, 0);
		const [cr0, cr4] = [cpu.read32(L.CR0), cpu.read32(L.CR4)];
		const withoutWp = [
			0xb8,
			...[cr0 & ~0x10000].flatMap((v) => [v & 255, (v >> 8) & 255, (v >> 16) & 255, v >>> 24]),
		];
		expect(runAt0(cpu, 0, withoutWp, movCr0Rax).vector).toBe(VECTOR.GP);
		expect(runAt0(cpu, 0, movRax(cr4 & ~CR4.CET), movCr4Rax, withoutWp, movCr0Rax).vector).toBe(null);
		expect(runAt0(cpu, 0, movRax(cr4), movCr4Rax).vector).toBe(VECTOR.GP);
	});
});

describe("INCSSP", () => {
	it.each([
		["incsspqRax", 8],
		["incsspdEax", 4],
	] as const)("%s adds up to 255 elements", (name, bytes) => {
		const cpu = cetMachine();
		cpu.write64(L.SSP, BigInt(SHADOW.kernel));
		runAt0(cpu, 0, movRax(0x203), CODE[name]);
		expect(ssp(cpu)).toBe(SHADOW.kernel + 3 * bytes);
	});

	it("touches the last element that it pops", () => {
		const cpu = userMachine();
		cpu.write64(L.SSP, BigInt(SHADOW.user + 0xff0));
		poke(cpu, USER.code, movRax(3), CODE.incsspqRax);
		// The page behind is of level 0.
		expect(run(cpu)).toMatchObject({ vector: VECTOR.PF, errorCode: 0x45 });
		expect(cpu.read64(L.PL3_SSP)).toBe(BigInt(SHADOW.user + 0xff0));
	});
});

describe("RSTORSSP and SAVEPREVSSP", () => {
	/** A restore token of 64-bit mode at the top of a shadow stack: it says where the stack's top was. */
	const token = (at: number) => BigInt(at + 8) | 1n;

	it("change to another shadow stack and leave a restore token behind, with which the way back goes", () => {
		const cpu = cetMachine();
		const other = SHADOW.kernel2 + 0x800;
		poke64(cpu, other, token(other));
		runAt0(cpu, other, CODE.rstorsspRbx);
		expect(ssp(cpu)).toBe(other);
		expect(peek64(cpu, other)).toBe(BigInt(TOP) | 3n);
		runAt0(cpu, other, CODE.saveprevssp);
		expect(ssp(cpu)).toBe(other + 8);
		expect(peek64(cpu, TOP - 8)).toBe(token(TOP - 8));
		runAt0(cpu, TOP - 8, CODE.rstorsspRbx, CODE.saveprevssp);
		expect(ssp(cpu)).toBe(TOP);
	});

	it.each([
		["of 32-bit mode", (at: number) => BigInt(at + 8)],
		["that is one of a previous SSP", (at: number) => BigInt(at + 8) | 3n],
		["that points elsewhere", (at: number) => BigInt(at + 16) | 1n],
		["that is none", () => 0n],
	])("RSTORSSP by a token %s is #CP(RSTORSSP), and the token stays", (_name, make) => {
		const cpu = cetMachine();
		const other = SHADOW.kernel2 + 0x800;
		poke64(cpu, other, make(other));
		expect(runAt0(cpu, other, CODE.rstorsspRbx)).toMatchObject({ vector: VECTOR.CP, errorCode: CP.rstorssp });
		expect(peek64(cpu, other)).toBe(make(other));
	});

	it("RSTORSSP of an address that is no multiple of 8 is #GP(0)", () => {
		expect(runAt0(cetMachine(), SHADOW.kernel2 + 4, CODE.rstorsspRbx)).toMatchObject({
			vector: VECTOR.GP,
			errorCode: 0,
		});
	});

	it("SAVEPREVSSP without a previous-SSP token, or with CF in 64-bit mode, is #GP(0)", () => {
		const cpu = cetMachine();
		cpu.write64(L.SSP, BigInt(SHADOW.kernel + 0x800));
		expect(runAt0(cpu, 0, CODE.saveprevssp).vector).toBe(VECTOR.GP);
		const other = SHADOW.kernel2 + 0x800;
		const second = cetMachine();
		poke64(second, other, token(other));
		// STC between the two
		expect(runAt0(second, other, CODE.rstorsspRbx, [0xf9], CODE.saveprevssp).vector).toBe(VECTOR.GP);
	});

	it("in 32-bit mode CF tells of the hole below a stack whose top was a multiple of 4", () => {
		const cpu = cetMachine();
		setSegment(cpu, L.CS, 0x38, 0n, 0xffffffff, 0xc09b);
		setSegment(cpu, L.DS, 0x10, 0n, 0xffffffff, 0xc093);
		contextChanged(cpu);
		const other = SHADOW.kernel2 + 0x800;
		poke64(cpu, other, BigInt(other + 12));
		runAt0(cpu, other, CODE.rstorsspRbx);
		expect([ssp(cpu), carry(cpu)]).toEqual([other, true]);
		runAt0(cpu, other, [0xf9], CODE.saveprevssp);
		expect(ssp(cpu)).toBe(other + 12);
		expect(peek64(cpu, TOP - 8)).toBe(BigInt(TOP));
	});
});

describe("WRSS and WRUSS", () => {
	it("WRSS writes the shadow stack of the current mode where WR_SHSTK_EN allows it", () => {
		const cpu = cetMachine(intel, CET.SH_STK_EN | CET.WR_SHSTK_EN);
		runAt0(cpu, SHADOW.kernel + 8, movRax(-2), CODE.wrssqRbxRax);
		expect(peek64(cpu, SHADOW.kernel + 8)).toBe(0xffff_ffff_ffff_fffen);
		runAt0(cpu, SHADOW.kernel + 16, movRax(-2), CODE.wrssdRbxEax);
		expect(peek64(cpu, SHADOW.kernel + 16)).toBe(0xffff_fffen);
		expect(runAt0(cetMachine(), SHADOW.kernel, CODE.wrssqRbxRax).vector).toBe(VECTOR.UD);
	});

	it("WRSS of level 0 to a shadow stack of user mode faults, WRUSS writes it, with user mode's error code", () => {
		const cpu = cetMachine(intel, 3);
		expect(runAt0(cpu, SHADOW.user, CODE.wrssqRbxRax)).toMatchObject({ vector: VECTOR.PF, errorCode: 0x43 });
		const second = cetMachine(intel, 3);
		runAt0(second, SHADOW.user, movRax(5), CODE.wrussqRbxRax);
		expect(peek64(second, SHADOW.user)).toBe(5n);
		expect(runAt0(second, SHADOW.kernel, CODE.wrussqRbxRax)).toMatchObject({
			vector: VECTOR.PF,
			errorCode: 0x47,
		});
	});

	it("both want a multiple of their size, and WRUSS level 0", () => {
		expect(runAt0(cetMachine(intel, 3), SHADOW.kernel + 4, CODE.wrssqRbxRax).vector).toBe(VECTOR.GP);
		const user = userMachine(intel, 3);
		poke(user, USER.code, CODE.wrussqRbxRax);
		expect(run(user).vector).toBe(VECTOR.GP);
	});

	it("a page of a shadow stack that code was translated from is translated again after WRSS", () => {
		const cpu = cetMachine(intel, CET.SH_STK_EN | CET.WR_SHSTK_EN);
		poke(cpu, SHADOW.kernel, CODE.incRsi, CODE.hlt);
		cpu.write64(L.RIP, BigInt(SHADOW.kernel));
		run(cpu);
		runAt0(cpu, SHADOW.kernel, movRax(0x00f4_9090), CODE.wrssqRbxRax);
		const rsi = cpu.gpr(6);
		cpu.write64(L.RIP, BigInt(SHADOW.kernel));
		expect(run(cpu).rip).toBe(SHADOW.kernel + 2);
		expect(cpu.gpr(6)).toBe(rsi);
	});
});

describe("SETSSBSY and CLRSSBSY", () => {
	const token = SHADOW.kernel2 + 0xff8;

	it("take the shadow stack of IA32_PL0_SSP into use and give it back", () => {
		const cpu = cetMachine();
		runAt0(cpu, token, CODE.setssbsy);
		expect([ssp(cpu), peek64(cpu, token)]).toEqual([token, BigInt(token) | 1n]);
		runAt0(cpu, token, CODE.clrssbsyRbx);
		expect([ssp(cpu), peek64(cpu, token), carry(cpu)]).toEqual([0, BigInt(token), false]);
	});

	it("SETSSBSY of one in use is #CP(SETSSBSY); CLRSSBSY of one that is free says so in CF", () => {
		const cpu = cetMachine();
		poke64(cpu, token, BigInt(token) | 1n);
		expect(runAt0(cpu, token, CODE.setssbsy)).toMatchObject({ vector: VECTOR.CP, errorCode: CP.setssbsy });
		const free = cetMachine();
		runAt0(free, token, CODE.clrssbsyRbx);
		expect([carry(free), peek64(free, token)]).toEqual([true, BigInt(token)]);
	});

	it("are #GP(0) at level 3", () => {
		for (const code of [CODE.setssbsy, CODE.clrssbsyRbx]) {
			const cpu = userMachine();
			poke(cpu, USER.code, code);
			expect(run(cpu).vector).toBe(VECTOR.GP);
		}
	});
});

it("RDSSP reads the pointer as CALLs move it, RDSSPD its low half", () => {
	const cpu = cetMachine();
	cpu.setGpr(L.RAX, -1n & 0xffff_ffff_ffff_ffffn);
	poke(cpu, AT.code + 0x100, CODE.rdsspdEax, CODE.ret);
	runAt0(cpu, 0, call(AT.code, AT.code + 0x100));
	expect(Number(cpu.gpr(L.RAX))).toBe(TOP - 8);
});
