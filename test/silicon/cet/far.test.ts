/** Far transfers under shadow stacks: within a privilege level and between two (SDM Vol. 1, 17.2.5; Vol. 2). */
import { describe, expect, it } from "vitest";
import { CP } from "../../../src/silicon/cpu/cet.ts";
import { EFER } from "../../../src/silicon/cpu/control.ts";
import type { Cpu } from "../../../src/silicon/cpu/cpu.ts";
import { VECTOR } from "../../../src/silicon/cpu/fault.ts";
import * as L from "../../../src/silicon/cpu/layout.ts";
import { cpl } from "../../../src/silicon/cpu/modes.ts";
import { AT, peek64, poke64, SELECTOR, setGate, setLevel } from "../machine-code.ts";
import {
	amd,
	CODE,
	call,
	cetMachine,
	ENDBR64,
	imm32,
	intel,
	poke,
	run,
	SHADOW,
	ssp,
	USER,
	userMachine,
} from "./cet-machine.ts";

const TOP = SHADOW.kernel + 0xff8;
const TOKEN = SHADOW.kernel2 + 0xff8;
const SYSCALL_ENTRY = 0x74000;

/** LCALL [RIP+disp32] with its far pointer behind it. */
const farCall = (to: number, selector: number) => [
	0xff,
	0x1d,
	2,
	0,
	0,
	0,
	0xeb,
	6,
	...imm32(to),
	selector & 255,
	selector >> 8,
];
/** Five words at AT.stack for IRETQ. */
function frame(cpu: Cpu, rip: number, selector: number, rsp: number, stackSelector: number): void {
	const top = Number(cpu.gpr(L.RSP));
	for (const [at, value] of [rip, selector, 0x3002, rsp, stackSelector].entries())
		poke64(cpu, top + at * 8, BigInt(value));
}
const shadow = (cpu: Cpu, top: number, count: number) =>
	Array.from({ length: count }, (_, at) => Number(peek64(cpu, top + at * 8)));

describe("a far CALL within a level", () => {
	it("leaves CS, the linear return address and SSP on the shadow stack, and RETF takes them back", () => {
		const cpu = cetMachine();
		poke(cpu, AT.code, farCall(AT.code + 0x100, SELECTOR.kernelCode), CODE.hlt);
		// RETF with 32-bit operands, as the CALL had them
		poke(cpu, AT.code + 0x100, [0xcb]);
		expect(run(cpu)).toMatchObject({ vector: null, rip: AT.code + 14 });
		expect(ssp(cpu)).toBe(TOP);
		expect(shadow(cpu, TOP - 24, 3)).toEqual([TOP, AT.code + 6, SELECTOR.kernelCode]);
	});

	it("aligns a pointer that is a multiple of 4, with zeros in the hole", () => {
		const cpu = cetMachine();
		cpu.write64(L.SSP, BigInt(TOP - 4));
		poke64(cpu, TOP - 8, -1n & 0xffff_ffff_ffff_ffffn);
		poke(cpu, AT.code, farCall(AT.code + 0x100, SELECTOR.kernelCode), CODE.hlt);
		poke(cpu, AT.code + 0x100, CODE.rdsspqRax, [0xcb]);
		expect(run(cpu).vector).toBe(null);
		expect([Number(cpu.gpr(L.RAX)), ssp(cpu)]).toEqual([TOP - 32, TOP - 4]);
		expect(peek64(cpu, TOP - 8)).toBe(0xffff_ffff_0000_0000n);
	});

	it.each([
		["return address", [0x83, 0x04, 0x24, 0x01]],
		["code selector", [0x80, 0x4c, 0x24, 0x04, 0x01]],
	])(
		"is #CP(FAR-RET/IRET) at the RETF if the %s was changed, and nothing of it has happened",
		(what, change) => {
			const user = what === "code selector";
			const cpu = userMachine();
			const selector = user ? SELECTOR.userCode : SELECTOR.userCode;
			poke(cpu, USER.code, farCall(USER.code + 0x100, selector), CODE.hlt);
			if (user) poke64(cpu, SHADOW.user, 0n);
			poke(cpu, USER.code + 0x100, change, user ? [0xc7, 0x44, 0x24, 0x04, 0x23, 0, 0, 0] : [], [0xcb]);
			const ended = run(cpu);
			if (user) {
				// Put back as it was: the RETF succeeds.
				expect(ended).toMatchObject({ vector: VECTOR.GP, rip: USER.code + 14 });
				return;
			}
			expect(ended).toEqual({
				vector: VECTOR.CP,
				errorCode: CP.farRetIret,
				rip: USER.code + 0x100 + change.length,
			});
			expect(Number(cpu.read64(L.PL3_SSP))).toBe(SHADOW.user + 0x1000 - 24);
		},
	);

	it("to code whose SSP would have to be below 4 GiB is #GP(0) above it", () => {
		const cpu = userMachine();
		cpu.write64(L.SSP, 0x1_0000_0000n);
		setLevel(cpu, 0);
		cpu.write64(L.S_CET, 1n);
		poke(cpu, USER.code, farCall(USER.code, 0x38));
		// The shadow stack cannot be written either: the delivery of the #GP ends the machine.
		expect(() => run(cpu)).toThrow("shutdown");
	});
});

describe.each([
	["Intel", intel],
	["AMD", amd],
])("an interrupt on %s's processors", (_name, model) => {
	it("within level 0 leaves a frame on the shadow stack, which IRETQ takes back", () => {
		const cpu = cetMachine(model);
		poke(cpu, AT.code, CODE.int80, CODE.hlt);
		poke(cpu, AT.handler + 0x800, CODE.rdsspqRax, CODE.iretq);
		expect(run(cpu)).toMatchObject({ vector: null, rip: AT.code + 2 });
		expect(Number(cpu.gpr(L.RAX))).toBe(TOP - 24);
		expect(shadow(cpu, TOP - 24, 3)).toEqual([TOP, AT.code + 2, SELECTOR.kernelCode]);
		expect(ssp(cpu)).toBe(TOP);
	});

	it("from level 3 uses IA32_PL0_SSP's shadow stack, busy while it is in use, and level 3's comes back", () => {
		const cpu = userMachine(model);
		poke(cpu, USER.code, call(USER.code, USER.code + 0x100));
		poke(cpu, USER.code + 0x100, CODE.int80, CODE.rdsspqRax, CODE.syscall);
		poke(cpu, AT.handler + 0x800, CODE.hlt, CODE.iretq);
		expect(run(cpu).vector).toBe(0x80);
		expect([ssp(cpu), Number(cpu.read64(L.PL3_SSP)), cpl(cpu)]).toEqual([TOKEN, SHADOW.user + 0xff8, 0]);
		expect(peek64(cpu, TOKEN)).toBe(BigInt(TOKEN) | 1n);
		cpu.write32(L.EFER, cpu.read32(L.EFER) & ~EFER.SCE);
		// SYSCALL without EFER.SCE is #UD, from level 3 once more.
		expect(run(cpu)).toMatchObject({ vector: VECTOR.UD, rip: USER.code + 0x107 });
		expect(Number(cpu.gpr(L.RAX))).toBe(SHADOW.user + 0xff8);
	});

	it("from level 3 to a shadow stack that is busy is #GP(0), which ends in shutdown for want of another", () => {
		const cpu = userMachine(model);
		poke64(cpu, TOKEN, BigInt(TOKEN) | 1n);
		poke(cpu, USER.code, CODE.int80);
		expect(() => run(cpu)).toThrow("shutdown");
	});

	it("through an IST uses the shadow stack of the interrupt SSP table, and IRETQ frees it", () => {
		const cpu = cetMachine(model);
		setGate(cpu, 0x80, AT.handler + 0x800, 0xe, 3, 1);
		const table = AT.data;
		cpu.write64(L.INTERRUPT_SSP_TABLE, BigInt(table));
		poke64(cpu, table + 8, BigInt(TOKEN));
		poke(cpu, AT.code, CODE.int80, CODE.hlt);
		poke(cpu, AT.handler + 0x800, CODE.hlt, CODE.iretq);
		expect(run(cpu).vector).toBe(0x80);
		expect(ssp(cpu)).toBe(TOKEN - 24);
		expect(shadow(cpu, TOKEN - 24, 4)).toEqual([TOP, AT.code + 2, SELECTOR.kernelCode, TOKEN | 1]);
		expect(run(cpu)).toMatchObject({ vector: null, rip: AT.code + 2 });
		expect([ssp(cpu), Number(peek64(cpu, TOKEN))]).toEqual([TOP, TOKEN]);
	});

	it("whose return address was changed is #CP(FAR-RET/IRET) at the IRETQ within level 0, but not to level 3", () => {
		// ADD QWORD [RSP], 1
		const change = [0x48, 0x83, 0x04, 0x24, 0x01];
		const cpu = cetMachine(model);
		poke(cpu, AT.code, CODE.int80, CODE.hlt, CODE.hlt);
		poke(cpu, AT.handler + 0x800, change, CODE.iretq);
		expect(run(cpu)).toMatchObject({ vector: VECTOR.CP, errorCode: CP.farRetIret, rip: AT.handler + 0x805 });
		const user = userMachine(model);
		poke(user, USER.code, CODE.int80, CODE.hlt, CODE.int80);
		poke(user, AT.handler + 0x800, change, CODE.iretq);
		poke(user, USER.code + 2, [0x90, 0x0f, 0x0b]);
		expect(run(user)).toMatchObject({ vector: VECTOR.UD, rip: USER.code + 3 });
	});
});

it("Intel's processors want token and frame in one 32-byte line, AMD's do not", () => {
	for (const [model, refused] of [
		[intel, true],
		[amd, false],
	] as const) {
		const cpu = userMachine(model);
		cpu.write64(L.PL0_SSP, BigInt(TOKEN - 8));
		poke64(cpu, TOKEN - 8, BigInt(TOKEN - 8));
		poke(cpu, USER.code, CODE.int80);
		if (refused) expect(() => run(cpu)).toThrow("shutdown");
		else expect(run(cpu).vector).toBe(0x80);
	}
});

describe("fast system calls", () => {
	it.each([
		["Intel", intel],
		["AMD", amd],
	])(
		"SYSCALL keeps level 3's pointer in IA32_PL3_SSP and begins without one, SYSRET brings it back: %s",
		(_name, model) => {
			const cpu = userMachine(model);
			cpu.write64(L.STAR, (0x13n << 48n) | (8n << 32n));
			cpu.write64(L.LSTAR, BigInt(SYSCALL_ENTRY));
			poke(cpu, USER.code, call(USER.code, USER.code + 0x100), [0x0f, 0x0b]);
			poke(cpu, USER.code + 0x100, CODE.syscall, CODE.ret);
			poke(cpu, SYSCALL_ENTRY, ENDBR64, CODE.hlt, CODE.sysretq);
			expect(run(cpu)).toMatchObject({ vector: null, rip: SYSCALL_ENTRY + 4 });
			expect([ssp(cpu), Number(cpu.read64(L.PL3_SSP))]).toEqual([0, SHADOW.user + 0xff8]);
			expect(run(cpu)).toMatchObject({ vector: VECTOR.UD, rip: USER.code + 5 });
			expect(Number(cpu.read64(L.PL3_SSP))).toBe(SHADOW.user + 0x1000);
		},
	);

	it("SYSENTER and SYSEXIT do the same", () => {
		const cpu = userMachine();
		cpu.write64(L.SYSENTER_CS, 8n);
		cpu.write64(L.SYSENTER_EIP, BigInt(SYSCALL_ENTRY));
		cpu.write64(L.SYSENTER_ESP, BigInt(AT.kernelStack));
		poke(cpu, USER.code, [0x0f, 0x34]);
		poke(cpu, SYSCALL_ENTRY, CODE.hlt, [0x48, 0x0f, 0x35]);
		run(cpu);
		expect([ssp(cpu), Number(cpu.read64(L.PL3_SSP))]).toEqual([0, SHADOW.user + 0x1000]);
		cpu.setGpr(L.RDX, BigInt(USER.code + 0x100));
		cpu.setGpr(L.RCX, BigInt(USER.stack));
		poke(cpu, USER.code + 0x100, CODE.rdsspqRax, [0x0f, 0x0b]);
		expect(run(cpu)).toMatchObject({ vector: VECTOR.UD, rip: USER.code + 0x105 });
		expect(Number(cpu.gpr(L.RAX))).toBe(SHADOW.user + 0x1000);
	});
});

describe("a return to level 3", () => {
	it("frees the shadow stack of level 0 and takes IA32_PL3_SSP", () => {
		const cpu = cetMachine();
		cpu.write64(L.SSP, BigInt(TOKEN));
		poke64(cpu, TOKEN, BigInt(TOKEN) | 1n);
		frame(cpu, USER.code, SELECTOR.userCode, USER.stack, SELECTOR.userData);
		poke(cpu, AT.code, CODE.iretq);
		poke(cpu, USER.code, CODE.rdsspqRax, [0x0f, 0x0b]);
		expect(run(cpu).vector).toBe(VECTOR.UD);
		expect(Number(cpu.gpr(L.RAX))).toBe(SHADOW.user + 0x1000);
	});

	it("with an SSP of level 0 that is no multiple of 8 is #CP(FAR-RET/IRET)", () => {
		const cpu = cetMachine();
		cpu.write64(L.SSP, BigInt(TOP - 4));
		frame(cpu, USER.code, SELECTOR.userCode, USER.stack, SELECTOR.userData);
		poke(cpu, AT.code, CODE.iretq);
		expect(run(cpu)).toMatchObject({ vector: VECTOR.CP, errorCode: CP.farRetIret, rip: AT.code });
	});

	it("with an IA32_PL3_SSP that is not canonical is #GP(0), and level 0 goes on", () => {
		const cpu = cetMachine();
		cpu.write64(L.PL3_SSP, 1n << 52n);
		frame(cpu, USER.code, SELECTOR.userCode, USER.stack, SELECTOR.userData);
		poke(cpu, AT.code, CODE.iretq);
		expect(run(cpu)).toMatchObject({ vector: VECTOR.GP, errorCode: 0, rip: AT.code });
		expect(cpl(cpu)).toBe(0);
	});
});
