import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
	CR4,
	isValidXcr0,
	readXcr,
	writeCr0,
	writeCr4,
	writeXcr,
	XFEATURE,
} from "../../../src/silicon/cpu/control.ts";
import { cpuid } from "../../../src/silicon/cpu/cpuid.ts";
import { GP0, UD } from "../../../src/silicon/cpu/fault.ts";
import * as L from "../../../src/silicon/cpu/layout.ts";
import { cpl, is64Bit, isLongMode } from "../../../src/silicon/cpu/modes.ts";
import { MSR, readMsr, writeMsr } from "../../../src/silicon/cpu/msr.ts";
import { compactedSize, standardSize } from "../../../src/silicon/cpu/state-components.ts";
import { emeraldRapids } from "../../../src/silicon/models/emerald-rapids.ts";
import { turin } from "../../../src/silicon/models/turin.ts";
import { freshCpu, longModeCpu } from "../machine-code.ts";

describe("power-on state", () => {
	it("is that of SDM table 10-1", () => {
		const cpu = freshCpu();
		expect(cpu.read64(L.RIP)).toBe(0xfff0n);
		expect(cpu.read64(L.SEG + L.CS * L.SEG_BYTES)).toBe(0xffff0000n);
		expect(cpu.read32(L.CR0)).toBe(0x60000010);
		expect(cpu.xcr0).toBe(1);
		expect(cpu.read64(L.PAT)).toBe(0x0007040600070406n);
		expect(cpu.read32(L.DR6)).toBe(0xffff0ff0);
		expect(cpl(cpu)).toBe(0);
		expect(isLongMode(cpu)).toBe(false);
	});
});

describe("XSETBV", () => {
	it("takes exactly the combinations of SDM Vol. 1, 13.3", () => {
		const cpu = longModeCpu();
		const { xcr0 } = cpu.model.features;
		fc.assert(
			fc.property(fc.integer({ min: 0, max: 0xfffff }), (value) => {
				const has = (bit: number) => (value & bit) !== 0;
				const avx512 = [XFEATURE.opmask, XFEATURE.zmmHi256, XFEATURE.hi16Zmm].map(has);
				const legal =
					(value & ~xcr0) === 0 &&
					has(XFEATURE.x87) &&
					(!has(XFEATURE.avx) || has(XFEATURE.sse)) &&
					avx512.every((bit) => bit === avx512[0]) &&
					(!avx512[0] || has(XFEATURE.avx)) &&
					has(XFEATURE.xtilecfg) === has(XFEATURE.xtiledata);
				expect(isValidXcr0(cpu, value)).toBe(legal);
				expect(writeXcr(cpu, 0, value)).toBe(legal ? null : GP0);
				if (legal) expect(readXcr(cpu, 0)).toBe(value);
			}),
			{ seed: 5, numRuns: 1000 },
		);
		expect(isValidXcr0(cpu, xcr0)).toBe(true);
	});

	it("is #UD without CR4.OSXSAVE and #GP(0) for XCR1", () => {
		const cpu = longModeCpu();
		expect(writeXcr(cpu, 1, 3)).toBe(GP0);
		cpu.write32(L.CR4, CR4.PAE);
		expect(writeXcr(cpu, 0, 3)).toBe(UD);
		expect(readXcr(cpu, 0)).toBe(UD);
	});
});

describe("control registers", () => {
	it("CR0.PG with EFER.LME enters IA-32e mode, and needs CR4.PAE", () => {
		const cpu = freshCpu();
		expect(writeMsr(cpu, MSR.IA32_EFER, 0x100n)).toBeNull();
		expect(writeCr0(cpu, 0x80000001 | 0)).toBe(GP0);
		expect(writeCr4(cpu, CR4.PAE)).toBeNull();
		expect(writeCr0(cpu, 0x80000001 | 0)).toBeNull();
		expect(isLongMode(cpu)).toBe(true);
		expect(is64Bit(cpu)).toBe(false);
		expect(writeMsr(cpu, MSR.IA32_EFER, 0n)).toBe(GP0);
		expect(writeCr4(cpu, 0)).toBe(GP0);
	});

	it("refuse PG without PE, NW without CD, and CR4 bits that the model lacks", () => {
		const cpu = freshCpu();
		expect(writeCr0(cpu, 0x80000000 | 0)).toBe(GP0);
		expect(writeCr0(cpu, 1 << 29)).toBe(GP0);
		expect(writeCr4(cpu, 1 << 14)).toBe(GP0);
	});
});

describe("MSRs", () => {
	it("refuse reserved values and unknown registers", () => {
		const cpu = longModeCpu();
		const refused: readonly (readonly [number, bigint])[] = [
			[MSR.IA32_XSS, 1n << 40n],
			[MSR.IA32_XSS, 1n],
			[MSR.IA32_PAT, 2n],
			[MSR.IA32_LSTAR, 1n << 56n],
			[MSR.IA32_KERNEL_GS_BASE, 0xfe00_0000_0000_0000n],
			[MSR.IA32_PKRS, 1n << 32n],
			[MSR.IA32_EFER, 1n << 3n],
			[MSR.IA32_TSC_AUX, 1n << 32n],
			[MSR.IA32_XFD, 1n],
			[MSR.IA32_FMASK, 1n << 32n],
			[0x1234, 0n],
			[0x800, 0n],
		];
		for (const [index, value] of refused) expect(writeMsr(cpu, index, value), index.toString(16)).toBe(GP0);
		expect(readMsr(cpu, 0x1234)).toBe(GP0);
		expect(readMsr(cpu, 0x80b)).toBe(GP0);
	});

	it("exist as the model says", () => {
		expect(readMsr(longModeCpu(turin), MSR.IA32_XFD)).toBe(GP0);
		expect(readMsr(longModeCpu(emeraldRapids), MSR.IA32_XFD)).toBe(0n);
		expect(readMsr(longModeCpu(emeraldRapids), MSR.SYSCFG)).toBe(GP0);
	});

	it("the time stamp counter goes on from what was written", () => {
		const cpu = longModeCpu();
		cpu.cycles = 1000;
		writeMsr(cpu, MSR.IA32_TSC, 5n);
		cpu.cycles += 70;
		expect(readMsr(cpu, MSR.IA32_TSC)).toBe(75n);
	});
});

describe("CPUID", () => {
	it("leaf 0DH agrees with the sizes of the XSAVE areas", () => {
		for (const model of [emeraldRapids, turin]) {
			const cpu = longModeCpu(model);
			cpu.writeNumber(L.XCR0, model.features.xcr0);
			cpu.writeNumber(L.XSS, model.features.xss);
			expect(cpuid(cpu, 0xd, 0).ebx).toBe(standardSize(model, model.features.xcr0));
			expect(cpuid(cpu, 0xd, 1).ebx).toBe(compactedSize(model.features.xcr0 | model.features.xss));
			for (let index = 2; index < 32; index++) {
				const { eax, ebx, ecx } = cpuid(cpu, 0xd, index);
				const offered = ((model.features.xcr0 | model.features.xss) >>> index) & 1;
				expect(eax !== 0).toBe(offered === 1);
				if ((ecx & 1) === 0) expect(eax + ebx).toBeLessThanOrEqual(standardSize(model, model.features.xcr0));
			}
		}
	});

	it("advertises no AVX-512 and no AMX instructions, whose state XSAVE has all the same", () => {
		const seven = cpuid(longModeCpu(), 7, 0);
		expect([seven.ebx & (1 << 16), seven.edx & (1 << 24)]).toEqual([0, 0]);
	});

	it("OSXSAVE and OSPKE follow CR4", () => {
		const cpu = longModeCpu();
		expect(cpuid(cpu, 1, 0).ecx & (1 << 27)).not.toBe(0);
		expect(cpuid(cpu, 7, 0).ecx & (1 << 4)).toBe(0);
		cpu.write32(L.CR4, CR4.PAE | CR4.PKE);
		expect(cpuid(cpu, 1, 0).ecx & (1 << 27)).toBe(0);
		expect(cpuid(cpu, 7, 0).ecx & (1 << 4)).not.toBe(0);
	});
});
