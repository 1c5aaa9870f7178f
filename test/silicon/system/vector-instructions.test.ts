/** Which exception a vector instruction raises where control registers do not enable it (SDM Vol. 2, 2.4). */
import { describe, expect, it } from "vitest";
import { CR0, CR4 } from "../../../src/silicon/cpu/control.ts";
import type { Cpu } from "../../../src/silicon/cpu/cpu.ts";
import { xinuse } from "../../../src/silicon/cpu/control.ts";
import * as L from "../../../src/silicon/cpu/layout.ts";
import { AT } from "../machine-code.ts";
import { ASM, bareMachine, program } from "../guest-machine.ts";

const PADDB = [0x66, 0x0f, 0xfc, 0xc1];
const VPADDB = [0xc5, 0xf1, 0xfc, 0xc2];
const VZEROUPPER = [0xc5, 0xf8, 0x77];
const ANDN = [0xc4, 0xe2, 0x70, 0xf2, 0xc2];
const UD = 6;
const NM = 7;

/** The vector whose handler halted the processor, or "ran". */
function outcome(cpu: Cpu): number | "ran" {
	cpu.halted = "no";
	cpu.write64(L.RIP, BigInt(AT.code));
	cpu.execute(cpu);
	const rip = Number(cpu.read64(L.RIP));
	return rip < AT.handler ? "ran" : (rip - 1 - AT.handler) / 16;
}

/** Runs an instruction with bits of CR0 and CR4 set or cleared, and with an XCR0. */
function run(code: readonly number[], cr0: number, cr4: number, xcr0 = 7): number | "ran" {
	const { cpu } = bareMachine("vmx");
	program(cpu, code);
	cpu.write32(L.CR0, cpu.read32(L.CR0) | cr0);
	cpu.write32(L.CR4, (cpu.read32(L.CR4) & ~(CR4.OSFXSR | CR4.OSXSAVE)) | cr4);
	cpu.write32(L.XCR0, xcr0);
	return outcome(cpu);
}

const ALL = CR4.OSFXSR | CR4.OSXSAVE;

describe("an SSE instruction", () => {
	it("runs with CR4.OSFXSR, whatever OSXSAVE and XCR0 say", () => {
		expect(run(PADDB, 0, ALL)).toBe("ran");
		expect(run(PADDB, 0, CR4.OSFXSR, 1)).toBe("ran");
	});
	it("raises #UD without CR4.OSFXSR and with CR0.EM, both before #NM", () => {
		expect(run(PADDB, 0, CR4.OSXSAVE)).toBe(UD);
		expect(run(PADDB, CR0.EM, ALL)).toBe(UD);
		expect(run(PADDB, CR0.EM | CR0.TS, ALL)).toBe(UD);
		expect(run(PADDB, CR0.TS, 0)).toBe(UD);
	});
	it("raises #NM with CR0.TS", () => {
		expect(run(PADDB, CR0.TS, ALL)).toBe(NM);
	});
});

describe("an MMX instruction", () => {
	const PADDB_MM = [0x0f, 0xfc, 0xc1];
	const MOVQ_STORE = [0x0f, 0x7f, 0x04, 0x25, AT.data & 0xff, (AT.data >> 8) & 0xff, AT.data >> 16, 0];
	const EMMS = [0x0f, 0x77];
	const CVTPI2PS = [0x0f, 0x2a, 0xc1];
	const MMX = [PADDB_MM, MOVQ_STORE, EMMS];

	it("runs whatever CR4.OSFXSR says, unless it has an XMM operand", () => {
		for (const code of MMX) expect(run(code, 0, 0)).toBe("ran");
		expect(run(CVTPI2PS, 0, CR4.OSFXSR)).toBe("ran");
		expect(run(CVTPI2PS, 0, 0)).toBe(UD);
	});
	it("raises #UD with CR0.EM, else #NM with CR0.TS", () => {
		for (const code of MMX) {
			expect(run(code, CR0.EM | CR0.TS, ALL)).toBe(UD);
			expect(run(code, CR0.TS, ALL)).toBe(NM);
		}
	});
	it("raises #MF while an x87 exception is pending; CVTPI2PS from memory has nothing to do with x87", () => {
		const pending = (code: readonly number[]) => {
			const { cpu } = bareMachine("vmx");
			program(cpu, code);
			cpu.write32(L.CR4, cpu.read32(L.CR4) | CR4.OSFXSR);
			// FCW without the mask of #Z; FSW with ZE, ES and B, and TOP 5.
			cpu.write32(L.XSTATE, 0x037b | (0xa884 << 16));
			cpu.setGpr(L.RAX, BigInt(AT.data));
			return outcome(cpu);
		};
		for (const code of [...MMX, CVTPI2PS]) expect(pending(code)).toBe(16);
		expect(pending([0x0f, 0x2a, 0x00])).toBe("ran");
	});
	it("leaves TOP at 0 and no register empty; EMMS empties them", () => {
		const { cpu } = bareMachine("vmx");
		cpu.write32(L.XSTATE, 0x037f | (0x2800 << 16));
		cpu.write32(L.XSTATE + 4, 0x10);
		program(cpu, PADDB_MM);
		outcome(cpu);
		expect([cpu.read32(L.XSTATE) >>> 16, cpu.read32(L.XSTATE + 4)]).toEqual([0, 0xff]);
		expect(cpu.read32(L.XSTATE + 32 + 8) & 0xffff).toBe(0xffff);
		program(cpu, EMMS);
		outcome(cpu);
		expect(cpu.read32(L.XSTATE + 4)).toBe(0);
	});
});

describe("an instruction encoded with VEX", () => {
	it("runs with CR4.OSXSAVE and XCR0[2:1], whatever CR0.EM and CR4.OSFXSR say", () => {
		expect(run(VPADDB, 0, ALL)).toBe("ran");
		expect(run(VPADDB, CR0.EM, CR4.OSXSAVE)).toBe("ran");
		expect(run(VZEROUPPER, 0, ALL)).toBe("ran");
	});
	it("raises #UD without CR4.OSXSAVE, and without SSE or AVX in XCR0, before #NM", () => {
		expect(run(VPADDB, 0, CR4.OSFXSR)).toBe(UD);
		expect(run(VPADDB, 0, ALL, 3)).toBe(UD);
		expect(run(VPADDB, CR0.TS, ALL, 1)).toBe(UD);
	});
	it("raises #NM with CR0.TS, VZEROUPPER too", () => {
		expect(run(VPADDB, CR0.TS, ALL)).toBe(NM);
		expect(run(VZEROUPPER, CR0.TS, ALL)).toBe(NM);
	});
	it("needs none of it if it works on general-purpose registers", () => {
		expect(run(ANDN, CR0.TS, 0, 1)).toBe("ran");
	});
});

describe("a guest that sets CR0.TS lazily", () => {
	it("has #NM at the first vector instruction behind MOV to CR0, and none behind CLTS", () => {
		const { cpu } = bareMachine("vmx");
		program(cpu, PADDB, ASM.movCr0Rax, PADDB);
		cpu.write32(L.XCR0, 7);
		cpu.setGpr(L.RAX, BigInt((cpu.read32(L.CR0) | CR0.TS) >>> 0));
		expect(outcome(cpu)).toBe(NM);
		expect(cpu.read64(L.RIP)).not.toBe(BigInt(AT.code));
		program(cpu, ASM.clts, PADDB, VPADDB);
		expect(outcome(cpu)).toBe("ran");
	});
});

describe("XINUSE", () => {
	it("follows the registers: an XMM register written, an upper half written, VZEROUPPER, all zero again", () => {
		const { cpu } = bareMachine("vmx");
		const inUseAfter = (...code: readonly (readonly number[])[]) => {
			program(cpu, ...code);
			cpu.write32(L.CR4, cpu.read32(L.CR4) | ALL);
			cpu.write32(L.XCR0, 7);
			expect(outcome(cpu)).toBe("ran");
			return xinuse(cpu) & 6;
		};
		expect(inUseAfter(VPADDB)).toBe(0);
		// PCMPEQB xmm0, xmm0; VPCMPEQB ymm1, ymm0, ymm0.
		expect(inUseAfter([0x66, 0x0f, 0x74, 0xc0])).toBe(2);
		expect(inUseAfter([0xc5, 0xfd, 0x74, 0xc8])).toBe(6);
		expect(inUseAfter(VZEROUPPER)).toBe(2);
		// VZEROALL.
		expect(inUseAfter([0xc5, 0xfc, 0x77])).toBe(0);
	});
});
