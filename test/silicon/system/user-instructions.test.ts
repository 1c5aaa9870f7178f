/** System instructions that user code may execute, if CR4 says so. */
import { describe, expect, it } from "vitest";
import { CR4, EFER } from "../../../src/silicon/cpu/control.ts";
import type { Cpu } from "../../../src/silicon/cpu/cpu.ts";
import * as L from "../../../src/silicon/cpu/layout.ts";
import { cpl } from "../../../src/silicon/cpu/modes.ts";
import {
	segmentAttributes,
	segmentBase,
	segmentSelector,
	setSegment,
} from "../../../src/silicon/cpu/segments.ts";
import { emeraldRapids } from "../../../src/silicon/models/emerald-rapids.ts";
import type { CpuModel } from "../../../src/silicon/models/model.ts";
import { turin } from "../../../src/silicon/models/turin.ts";
import { OUTCOME } from "../../../src/silicon/translate/services.ts";
import { AT, longModeCpu, peek64, poke64, setLevel, step, takeFault } from "../machine-code.ts";

const GP0 = { vector: 13, errorCode: 0 };

/** A processor at a level, with bits of CR4 set; RAX holds the address of data. */
function cpuAt(level: 0 | 3, cr4: number): Cpu {
	const cpu = longModeCpu();
	cpu.write32(L.CR4, cpu.read32(L.CR4) | cr4);
	setLevel(cpu, level);
	cpu.setGpr(L.RAX, BigInt(AT.data));
	return cpu;
}

function run(cpu: Cpu, code: readonly number[]) {
	const outcome = step(cpu, code);
	return outcome === OUTCOME.fault ? takeFault(cpu) : outcome;
}

describe("FSGSBASE (SDM Vol. 2, RDFSBASE and WRFSBASE)", () => {
	const opcode = (rex: number, register: number) => [0xf3, rex, 0x0f, 0xae, register];
	// biome-ignore format: of RAX and RDX
	const [readFs, readGs, writeFs, writeGs] = [0xc2, 0xca, 0xd0, 0xd8];

	it("writes a base at level 3 that is read back, and that memory operands are counted from", () => {
		for (const [segment, read, write, prefix] of [
			[L.FS, readFs, writeFs, 0x64],
			[L.GS, readGs, writeGs, 0x65],
		] as const) {
			const cpu = cpuAt(3, CR4.FSGSBASE);
			expect(run(cpu, opcode(0x48, write))).toBe(OUTCOME.next);
			expect(segmentBase(cpu, segment)).toBe(BigInt(AT.data));
			expect(run(cpu, opcode(0x48, read))).toBe(OUTCOME.next);
			expect(cpu.gpr(L.RDX)).toBe(BigInt(AT.data));
			// sgdt fs:[rbx]: one that is carried out here.
			cpu.setGpr(L.RBX, 0x10n);
			expect(run(cpu, [prefix, 0x0f, 0x01, 0x03])).toBe(OUTCOME.next);
			expect(peek64(cpu, AT.data + 0x12)).toBe(BigInt(AT.gdt));
		}
	});

	it("of 32 bits zero-extends, both ways", () => {
		const cpu = cpuAt(3, CR4.FSGSBASE);
		cpu.setGpr(L.RAX, 0xffff_8000_8000_1234n);
		expect(run(cpu, opcode(0x40, writeFs))).toBe(OUTCOME.next);
		expect(segmentBase(cpu, L.FS)).toBe(0x8000_1234n);
		cpu.setGpr(L.RDX, -1n & 0xffff_ffff_ffff_ffffn);
		cpu.write64(L.SEG + L.FS * L.SEG_BYTES, 0xffff_8000_0000_5678n);
		expect(run(cpu, opcode(0x40, readFs))).toBe(OUTCOME.next);
		expect(cpu.gpr(L.RDX)).toBe(0x5678n);
	});

	it("refuses a base that is not canonical", () => {
		const cpu = cpuAt(0, CR4.FSGSBASE);
		cpu.setGpr(L.RAX, 1n << 63n);
		for (const write of [writeFs, writeGs]) expect(run(cpu, opcode(0x48, write))).toEqual(GP0);
	});
});

describe("UMIP (SDM Vol. 3A, 2.5)", () => {
	// biome-ignore format: one row an instruction
	const STORES = [
		["SGDT", [0x0f, 0x01, 0x00]], ["SIDT", [0x0f, 0x01, 0x08]], ["SLDT", [0x0f, 0x00, 0x00]], ["STR", [0x0f, 0x00, 0x08]],
		["SMSW", [0x0f, 0x01, 0x20]], ["SMSW to a register", [0x0f, 0x01, 0xe2]], ["STR to a register", [0x0f, 0x00, 0xca]],
	] as const;

	it.each(STORES)("refuses %s at level 3, and nothing is stored", (_name, code) => {
		const cpu = cpuAt(3, CR4.UMIP);
		poke64(cpu, AT.data, 0x1111n);
		cpu.setGpr(L.RDX, 0x2222n);
		expect(run(cpu, code)).toEqual(GP0);
		expect([peek64(cpu, AT.data), cpu.gpr(L.RDX)]).toEqual([0x1111n, 0x2222n]);
	});

	it.each(STORES)("lets %s pass at level 0, and at level 3 while it is off", (_name, code) => {
		expect(run(cpuAt(0, CR4.UMIP), code)).toBe(OUTCOME.next);
		expect(run(cpuAt(3, 0), code)).toBe(OUTCOME.next);
	});
});

describe("system calls of 32-bit code", () => {
	// sysenter, sysexit, syscall, sysret
	const [ENTER, EXIT, CALL, RETURN] = [0x34, 0x35, 0x05, 0x07] as const;
	const SELECTORS = { call: 0x08, return: 0x1b } as const;
	const code32 = 0xc09b;

	/** Legacy protected mode, flat, at a level. */
	function legacyCpu(model: CpuModel, level: 0 | 3): Cpu {
		const cpu = longModeCpu(model);
		cpu.write64(L.CR0, 0x11n);
		cpu.write32(L.EFER, EFER.SCE);
		setSegment(cpu, L.CS, 8 | level, 0n, 0xffffffff, code32 | (level << 5));
		setSegment(cpu, L.SS, 16 | level, 0n, 0xffffffff, 0xc093 | (level << 5));
		cpu.write64(
			L.STAR,
			BigInt(AT.handler) | (BigInt(SELECTORS.call) << 32n) | (BigInt(SELECTORS.return) << 48n),
		);
		cpu.write32(L.SYSENTER_CS, SELECTORS.call);
		cpu.write64(L.SYSENTER_EIP, BigInt(AT.handler));
		cpu.write32(L.RFLAGS, 0x202);
		return cpu;
	}
	const run32 = (cpu: Cpu, opcode: number) => {
		const outcome = step(cpu, [0x0f, opcode], 32);
		return outcome === OUTCOME.fault ? takeFault(cpu) : outcome;
	};
	const UNDEFINED = { vector: 6, errorCode: null };

	it("SYSCALL and SYSRET are AMD's alone in legacy mode: EIP from STAR, ECX, IF, no R11", () => {
		for (const [level, opcode] of [
			[3, CALL],
			[0, RETURN],
		] as const)
			expect(run32(legacyCpu(emeraldRapids, level), opcode)).toEqual(UNDEFINED);
		const cpu = legacyCpu(turin, 3);
		cpu.setGpr(11, 77n);
		expect(run32(cpu, CALL)).toBe(OUTCOME.jumped);
		expect([cpu.read64(L.RIP), cpu.gpr(L.RCX), cpu.gpr(11)]).toEqual([
			BigInt(AT.handler),
			BigInt(AT.code + 2),
			77n,
		]);
		expect([segmentSelector(cpu, L.CS), segmentAttributes(cpu, L.CS)]).toEqual([8, code32]);
		expect([segmentSelector(cpu, L.SS), cpl(cpu), cpu.read32(L.RFLAGS)]).toEqual([16, 0, 2]);
		expect(run32(cpu, RETURN)).toBe(OUTCOME.jumped);
		expect([cpu.read64(L.RIP), segmentSelector(cpu, L.CS)]).toEqual([BigInt(AT.code + 2), 0x1b]);
		expect([segmentSelector(cpu, L.SS), cpl(cpu), cpu.read32(L.RFLAGS)]).toEqual([0x23, 3, 0x202]);
		expect(run32(legacyCpu(turin, 3), RETURN)).toEqual(GP0);
	});

	it("SYSENTER and SYSEXIT are #UD in AMD's long mode, and there in legacy mode", () => {
		for (const opcode of [ENTER, EXIT]) {
			const long = longModeCpu(turin);
			long.write32(L.SYSENTER_CS, SELECTORS.call);
			expect(run(long, [0x0f, opcode])).toEqual(UNDEFINED);
			expect(run32(legacyCpu(turin, 0), opcode)).toBe(OUTCOME.jumped);
		}
	});
});
