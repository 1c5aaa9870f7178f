import { describe, expect, it } from "vitest";
import { LocalApic } from "../../../src/silicon/apic/local-apic.ts";
import { CR4, XFEATURE } from "../../../src/silicon/cpu/control.ts";
import type { Cpu } from "../../../src/silicon/cpu/cpu.ts";
import { INTERCEPT } from "../../../src/silicon/cpu/intercepts.ts";
import * as L from "../../../src/silicon/cpu/layout.ts";
import { cpl, is64Bit, settleShadow } from "../../../src/silicon/cpu/modes.ts";
import { FLAG } from "../../../src/silicon/cpu/rflags.ts";
import { emeraldRapids } from "../../../src/silicon/models/emerald-rapids.ts";
import { turin } from "../../../src/silicon/models/turin.ts";
import { boundary } from "../../../src/silicon/system/interrupts.ts";
import { setPortHandlers } from "../../../src/silicon/system/io.ts";
import { OUTCOME } from "../../../src/silicon/translate/services.ts";
import {
	AT,
	hypervisor,
	longModeCpu,
	peek64,
	poke64,
	SELECTOR,
	setGate,
	setLevel,
	step,
	takeFault,
} from "../machine-code.ts";

const UD = { vector: 6, errorCode: null };
const GP0 = { vector: 13, errorCode: 0 };
const NM = { vector: 7, errorCode: null };

// biome-ignore format: machine code with its assembly
const CODE = {
	cpuid: [0x0f, 0xa2], invd: [0x0f, 0x08], wbinvd: [0x0f, 0x09], hlt: [0xf4], rdmsr: [0x0f, 0x32], wrmsr: [0x0f, 0x30],
	rdtsc: [0x0f, 0x31], xgetbv: [0x0f, 0x01, 0xd0], xsetbv: [0x0f, 0x01, 0xd1], rdpkru: [0x0f, 0x01, 0xee],
	wrpkru: [0x0f, 0x01, 0xef], clts: [0x0f, 0x06], movCr3Rax: [0x0f, 0x22, 0xd8], movRaxCr0: [0x0f, 0x20, 0xc0],
	movRaxCr8: [0x44, 0x0f, 0x20, 0xc0], movCr8Rax: [0x44, 0x0f, 0x22, 0xc0], movDr7Rax: [0x0f, 0x23, 0xf8],
	lgdtRax: [0x0f, 0x01, 0x10], ltrAx: [0x0f, 0x00, 0xd8], swapgs: [0x0f, 0x01, 0xf8], cli: [0xfa], sti: [0xfb],
	clac: [0x0f, 0x01, 0xca], syscall: [0x0f, 0x05], sysretq: [0x48, 0x0f, 0x07], iretq: [0x48, 0xcf], int80: [0xcd, 0x80],
	int3: [0xcc], ud2: [0x0f, 0x0b], outDxAl: [0xee], inEaxDx: [0xed], repOutsb: [0xf3, 0x6e], vmcall: [0x0f, 0x01, 0xc1],
	vmmcall: [0x0f, 0x01, 0xd9], vmlaunch: [0x0f, 0x01, 0xc2], vmrun: [0x0f, 0x01, 0xd8], tdcall: [0x66, 0x0f, 0x01, 0xcc],
	movSsAx: [0x8e, 0xd0], movDsAx: [0x8e, 0xd8], retfq: [0x48, 0xcb], ljmpRax: [0x48, 0xff, 0x28],
	invlpgRax: [0x0f, 0x01, 0x38], wrfsbaseRax: [0xf3, 0x48, 0x0f, 0xae, 0xd0], rdrandRax: [0x48, 0x0f, 0xc7, 0xf0],
	xsavesRdi: [0x48, 0x0f, 0xc7, 0x2f], xrstorsRdi: [0x48, 0x0f, 0xc7, 0x1f], fninit: [0xdb, 0xe3],
	smswRax: [0x48, 0x0f, 0x01, 0xe0], rdpmc: [0x0f, 0x33], monitor: [0x0f, 0x01, 0xc8],
} as const;

type Name = keyof typeof CODE;

/** Runs one instruction; a fault is returned. */
function run(cpu: Cpu, name: Name) {
	const outcome = step(cpu, CODE[name]);
	return outcome === OUTCOME.fault ? takeFault(cpu) : outcome;
}

describe("privilege", () => {
	it("level 3 gets #GP(0) for the privileged instructions, before the hypervisor is asked", () => {
		const privileged: readonly Name[] = [
			"invd",
			"wbinvd",
			"hlt",
			"rdmsr",
			"wrmsr",
			"xsetbv",
			"clts",
			"movCr3Rax",
			"movRaxCr0",
			"lgdtRax",
			"ltrAx",
			"swapgs",
			"cli",
			"sti",
			"outDxAl",
			"invlpgRax",
			"rdpmc",
			"xsavesRdi",
		];
		for (const name of privileged) {
			const cpu = longModeCpu();
			setLevel(cpu, 3);
			cpu.setGpr(L.RAX, BigInt(AT.data));
			cpu.setGpr(L.RDI, BigInt(AT.data));
			let asked = 0;
			cpu.guest = hypervisor({ instruction: () => ++asked > 0 });
			expect(run(cpu, name), name).toEqual(GP0);
			expect(asked, name).toBe(0);
		}
	});

	it("what CR4 has not enabled is #UD", () => {
		const cpu = longModeCpu();
		cpu.write32(L.CR4, CR4.PAE);
		for (const name of ["xgetbv", "xsetbv", "rdpkru", "wrpkru", "wrfsbaseRax", "xsavesRdi"] as const) {
			expect(run(cpu, name), name).toEqual(UD);
		}
	});
});

describe("a VM exit", () => {
	it("is asked for with what the exit needs to know, and the instruction has no effect", () => {
		const io = (bits: number) => (bits | (0x3f8 << 16)) >>> 0;
		const cases: readonly (readonly [Name, number, number])[] = [
			["cpuid", INTERCEPT.cpuid, 0],
			["invd", INTERCEPT.invd, 0],
			["hlt", INTERCEPT.hlt, 0],
			["rdmsr", INTERCEPT.rdmsr, 0xc0000080],
			["wrmsr", INTERCEPT.wrmsr, 0xc0000080],
			["xsetbv", INTERCEPT.xsetbv, 0],
			["movCr3Rax", INTERCEPT.cr, 3],
			["movRaxCr0", INTERCEPT.cr, 0x10],
			["movRaxCr8", INTERCEPT.cr, 0x18],
			["movDr7Rax", INTERCEPT.dr, 7],
			["outDxAl", INTERCEPT.io, io(0)],
			["inEaxDx", INTERCEPT.io, io(3 | 8)],
			["repOutsb", INTERCEPT.io, io(16 | 32)],
			["rdtsc", INTERCEPT.rdtsc, 0],
			["vmcall", INTERCEPT.vmcall, 0],
			["vmlaunch", INTERCEPT.vmx, 0],
			["tdcall", INTERCEPT.tdcall, 0],
			["monitor", INTERCEPT.monitor, 0],
		];
		for (const [name, intercept, info] of cases) {
			const cpu = longModeCpu();
			cpu.setGpr(L.RCX, 0xc0000080n);
			cpu.setGpr(L.RDX, 0x3f8n);
			cpu.setGpr(L.RSI, BigInt(AT.data));
			const before = cpu.memory.u8.slice(cpu.base, cpu.base + L.FAULT);
			const asked: number[][] = [];
			cpu.guest = hypervisor({
				instruction: (_cpu, kind, length, detail) => {
					asked.push([kind, length, detail]);
					return true;
				},
			});
			expect(run(cpu, name), name).toBe(OUTCOME.stop);
			expect(asked, name).toEqual([[intercept, CODE[name].length, info]]);
			expect(cpu.memory.u8.slice(cpu.base, cpu.base + L.FAULT), name).toEqual(before);
		}
	});

	it("SVM instructions are undefined on Intel, VMX instructions on AMD", () => {
		for (const [model, names] of [
			[emeraldRapids, ["vmrun", "vmmcall"]],
			[turin, ["vmlaunch", "vmcall", "tdcall"]],
		] as const) {
			for (const name of names) {
				const cpu = longModeCpu(model);
				cpu.guest = hypervisor({ instruction: () => true });
				expect(run(cpu, name), name).toEqual(UD);
			}
		}
	});

	it("CR reads and writes that do not exit go through the hypervisor's shadow", () => {
		const cpu = longModeCpu();
		cpu.guest = hypervisor({
			readCr: (cr, real) => (cr === 0 ? real & ~8n : real),
			writeCr: (cr, _real, value) => (cr === 8 ? value + 1n : value),
		});
		cpu.write32(L.CR0, cpu.read32(L.CR0) | 8);
		run(cpu, "movRaxCr0");
		expect(cpu.gpr(L.RAX) & 8n).toBe(0n);
		cpu.setGpr(L.RAX, 4n);
		run(cpu, "movCr8Rax");
		expect(cpu.read64(L.CR8)).toBe(5n);
	});
});

describe("XCR0, PKRU, MSRs", () => {
	it("XSETBV takes EDX:EAX, XGETBV gives it back, bad values are #GP(0)", () => {
		const cpu = longModeCpu();
		cpu.setGpr(L.RAX, 7n);
		expect(run(cpu, "xsetbv")).toBe(OUTCOME.next);
		expect(cpu.xcr0).toBe(7);
		cpu.setGpr(L.RAX, 5n);
		expect(run(cpu, "xsetbv")).toEqual(GP0);
		cpu.setGpr(L.RAX, 0n);
		cpu.setGpr(L.RDX, 9n);
		expect(run(cpu, "xgetbv")).toBe(OUTCOME.next);
		expect([cpu.gpr(L.RAX), cpu.gpr(L.RDX)]).toEqual([7n, 0n]);
	});

	it("WRPKRU and RDPKRU want ECX = 0, WRPKRU also EDX = 0", () => {
		const cpu = longModeCpu();
		cpu.write32(L.CR4, cpu.read32(L.CR4) | CR4.PKE);
		cpu.setGpr(L.RAX, 0x55555554n);
		expect(run(cpu, "wrpkru")).toBe(OUTCOME.jumped);
		expect(cpu.pkru).toBe(0x55555554);
		cpu.setGpr(L.RDX, 1n);
		expect(run(cpu, "wrpkru")).toEqual(GP0);
		cpu.setGpr(L.RCX, 1n);
		expect(run(cpu, "rdpkru")).toEqual(GP0);
	});

	it("RDTSC adds the guest's offset, negative ones too", () => {
		const cpu = longModeCpu();
		cpu.cycles = 2 ** 33 + 5;
		run(cpu, "rdtsc");
		expect([cpu.gpr(L.RDX), cpu.gpr(L.RAX)]).toEqual([2n, 5n]);
		cpu.guest = hypervisor({ tscOffset: -(2 ** 33) - 6 });
		run(cpu, "rdtsc");
		expect([cpu.gpr(L.RDX), cpu.gpr(L.RAX)]).toEqual([0xffffffffn, 0xffffffffn]);
	});

	it("RDRAND repeats from reset to reset, and another seed gives other numbers", () => {
		const draw = (seed = 1) => {
			const cpu = longModeCpu();
			cpu.randomSeed = seed;
			return [0, 1, 2].map(() => {
				run(cpu, "rdrandRax");
				expect(cpu.read32(L.RFLAGS) & FLAG.CF).toBe(1);
				return cpu.gpr(L.RAX);
			});
		};
		const first = draw();
		expect(draw()).toEqual(first);
		expect(new Set([...first, ...draw(2), ...draw(0), ...draw(2 ** 32 - 1)]).size).toBe(12);
	});
});

describe("XSAVES and XRSTORS as instructions", () => {
	it("work across a page border and fault on misalignment", () => {
		const cpu = longModeCpu();
		cpu.writeNumber(L.XCR0, 7 | XFEATURE.pkru);
		cpu.write32(L.PKRU, 0x1234);
		cpu.setGpr(L.RAX, 0xffffffffn);
		cpu.setGpr(L.RDI, BigInt(AT.data + 0x1000 - 512));
		expect(run(cpu, "xsavesRdi")).toBe(OUTCOME.next);
		expect(peek64(cpu, AT.data + 0x1000)).toBe(BigInt(XFEATURE.pkru));
		cpu.write32(L.PKRU, 0);
		expect(run(cpu, "xrstorsRdi")).toBe(OUTCOME.jumped);
		expect(cpu.pkru).toBe(0x1234);
		cpu.setGpr(L.RDI, BigInt(AT.data + 8));
		expect(run(cpu, "xsavesRdi")).toEqual(GP0);
	});

	it("XRSTORS of an image with more than XCR0 holds is #GP(0); CR0.TS makes it #NM", () => {
		const cpu = longModeCpu();
		cpu.writeNumber(L.XCR0, 7 | XFEATURE.pkru);
		cpu.write32(L.PKRU, 1);
		cpu.setGpr(L.RAX, 0xffffffffn);
		cpu.setGpr(L.RDI, BigInt(AT.data));
		run(cpu, "xsavesRdi");
		cpu.writeNumber(L.XCR0, 7);
		expect(run(cpu, "xrstorsRdi")).toEqual(GP0);
		cpu.write32(L.CR0, cpu.read32(L.CR0) | 8);
		expect(run(cpu, "xrstorsRdi")).toEqual(NM);
	});
});

describe("segments and far transfers", () => {
	it("MOV to SS checks RPL, DPL and type; a null SS is for 64-bit mode below level 3", () => {
		const cpu = longModeCpu();
		for (const [selector, outcome] of [
			[SELECTOR.kernelData, OUTCOME.jumped],
			[0, OUTCOME.jumped],
			[SELECTOR.userData, { vector: 13, errorCode: SELECTOR.userData & ~3 }],
			[SELECTOR.kernelCode, { vector: 13, errorCode: SELECTOR.kernelCode }],
			[0x100, { vector: 13, errorCode: 0x100 }],
		] as const) {
			cpu.setGpr(L.RAX, BigInt(selector));
			expect(run(cpu, "movSsAx"), selector.toString(16)).toEqual(outcome);
			expect(cpl(cpu)).toBe(0);
		}
	});

	it("a segment that is not present is #NP, SS #SS", () => {
		const cpu = longModeCpu();
		poke64(cpu, AT.gdt + 0x30, 0x00cf13000000ffffn);
		cpu.setGpr(L.RAX, 0x30n);
		expect(run(cpu, "movDsAx")).toEqual({ vector: 11, errorCode: 0x30 });
		expect(run(cpu, "movSsAx")).toEqual({ vector: 12, errorCode: 0x30 });
	});

	it("far JMP enters compatibility mode, and 64-bit code can be left and entered again by RETF", () => {
		const cpu = longModeCpu();
		poke64(cpu, AT.data, BigInt(AT.handler));
		poke64(cpu, AT.data + 8, BigInt(SELECTOR.code32));
		cpu.setGpr(L.RAX, BigInt(AT.data));
		expect(run(cpu, "ljmpRax")).toBe(OUTCOME.jumped);
		expect(is64Bit(cpu)).toBe(false);
		expect(cpu.read64(L.RIP)).toBe(BigInt(AT.handler));
		poke64(cpu, AT.stack, BigInt(AT.code) | (BigInt(SELECTOR.kernelCode) << 32n));
		expect(step(cpu, [0xcb], 32)).toBe(OUTCOME.jumped);
		expect(is64Bit(cpu)).toBe(true);
	});

	it("SYSCALL and SYSRET change levels, flags and registers as SDM Vol. 2 says", () => {
		const cpu = longModeCpu();
		cpu.write64(L.STAR, (0x0013n << 48n) | (0x0008n << 32n));
		cpu.write64(L.LSTAR, BigInt(AT.handler));
		cpu.write64(L.SFMASK, BigInt(FLAG.IF));
		setLevel(cpu, 3);
		cpu.write32(L.RFLAGS, 2 | FLAG.IF | FLAG.CF);
		expect(run(cpu, "syscall")).toBe(OUTCOME.jumped);
		expect([cpl(cpu), cpu.gpr(L.RCX), cpu.gpr(11)]).toEqual([
			0,
			BigInt(AT.code + 2),
			BigInt(2 | FLAG.IF | FLAG.CF),
		]);
		expect(cpu.read32(L.RFLAGS)).toBe(2 | FLAG.CF);
		expect(run(cpu, "sysretq")).toBe(OUTCOME.jumped);
		expect([cpl(cpu), cpu.read64(L.RIP), cpu.read32(L.RFLAGS)]).toEqual([
			3,
			BigInt(AT.code + 2),
			2 | FLAG.IF | FLAG.CF,
		]);
		setLevel(cpu, 0);
		cpu.setGpr(L.RCX, 1n << 47n);
		expect(run(cpu, "sysretq")).toEqual(GP0);
	});

	it("LTR marks the TSS busy and refuses a busy one", () => {
		const cpu = longModeCpu();
		cpu.setGpr(L.RAX, BigInt(SELECTOR.tss));
		expect(run(cpu, "ltrAx")).toBe(OUTCOME.next);
		expect((peek64(cpu, AT.gdt + SELECTOR.tss) >> 40n) & 0xfn).toBe(0xbn);
		expect(run(cpu, "ltrAx")).toEqual({ vector: 13, errorCode: SELECTOR.tss });
	});
});

describe("interrupts", () => {
	it("STI holds interrupts back for one instruction", () => {
		const cpu = longModeCpu();
		const apic = new LocalApic(cpu);
		cpu.apic = apic;
		setGate(cpu, 0x30, AT.handler);
		apic.raise(0x30);
		run(cpu, "sti");
		expect(boundary(cpu)).toBe(false);
		expect(cpu.read64(L.RIP)).toBe(BigInt(AT.code + 1));
		cpu.write64(L.RIP, BigInt(AT.code + 2));
		expect(boundary(cpu)).toBe(false);
		expect(cpu.read64(L.RIP)).toBe(BigInt(AT.handler));
		expect(apic.inService(0x30)).toBe(true);
	});

	it("an instruction that jumps to itself leaves the shadow all the same", () => {
		const cpu = longModeCpu();
		run(cpu, "sti");
		cpu.f64[(cpu.base + L.INSTRUCTIONS) >> 3] = 5;
		settleShadow(cpu);
		expect(cpu.read32(L.INTERRUPTIBILITY)).toBe(0);
	});

	it("HLT waits for the deadline and wakes by what it raises", () => {
		const cpu = longModeCpu();
		const apic = new LocalApic(cpu);
		cpu.apic = apic;
		setGate(cpu, 0xec, AT.handler);
		cpu.deadline = 5000;
		cpu.onDeadline = () => {
			cpu.deadline = Number.POSITIVE_INFINITY;
			apic.raise(0xec);
		};
		cpu.write32(L.RFLAGS, 2 | FLAG.IF);
		expect(run(cpu, "hlt")).toBe(OUTCOME.jumped);
		expect([cpu.cycles, cpu.read64(L.RIP)]).toEqual([5000, BigInt(AT.handler)]);
		expect(peek64(cpu, Number(cpu.gpr(L.RSP)))).toBe(BigInt(AT.code + 1));
	});

	it("HLT that nothing can end stops a bare machine", () => {
		const cpu = longModeCpu();
		expect(run(cpu, "hlt")).toBe(OUTCOME.stop);
		expect(cpu.halted).toBe("hlt");
	});
});

describe("ports", () => {
	it("reach the handlers of a bare machine with their size, and may stop it", () => {
		const cpu = longModeCpu();
		const written: number[][] = [];
		setPortHandlers(cpu, {
			read: (_cpu, port, bytes) => port + bytes,
			write: (inner, port, bytes, value) => {
				written.push([port, bytes, value]);
				if (port === 0xf4) inner.halted = "shutdown";
			},
		});
		cpu.setGpr(L.RDX, 0x3f8n);
		cpu.setGpr(L.RAX, 0x1234_5641n);
		expect(run(cpu, "outDxAl")).toBe(OUTCOME.next);
		expect(run(cpu, "inEaxDx")).toBe(OUTCOME.next);
		expect(cpu.gpr(L.RAX)).toBe(0x3fcn);
		cpu.memory.u8.set([1, 2, 3], cpu.memory.ramBase + AT.data);
		cpu.setGpr(L.RSI, BigInt(AT.data));
		cpu.setGpr(L.RCX, 3n);
		expect(run(cpu, "repOutsb")).toBe(OUTCOME.next);
		expect([cpu.gpr(L.RCX), cpu.gpr(L.RSI)]).toEqual([0n, BigInt(AT.data + 3)]);
		// One whose end is far gives way when the slice is over.
		cpu.setGpr(L.RCX, 1n << 40n);
		cpu.setGpr(L.RSI, BigInt(AT.data));
		cpu.beginSlice(Number.POSITIVE_INFINITY, cpu.cycles + 100);
		expect(run(cpu, "repOutsb")).toBe(OUTCOME.again);
		expect(cpu.gpr(L.RSI)).toBeLessThan(BigInt(AT.data + 100));
		cpu.beginSlice(Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY);
		cpu.setGpr(L.RDX, 0xf4n);
		expect(run(cpu, "outDxAl")).toBe(OUTCOME.stop);
		expect(written.slice(0, 4)).toEqual([
			[0x3f8, 1, 0x41],
			[0x3f8, 1, 1],
			[0x3f8, 1, 2],
			[0x3f8, 1, 3],
		]);
	});

	it("are open to level 3 where the TSS's bitmap is clear", () => {
		const cpu = longModeCpu();
		setLevel(cpu, 3);
		cpu.write32(L.SEG + L.TR * L.SEG_BYTES + L.SEG_LIMIT, 0x68 + 0x100);
		poke64(cpu, AT.tss + 0x66, 0x68n);
		cpu.setGpr(L.RDX, 0x3f8n);
		expect(run(cpu, "outDxAl")).toBe(OUTCOME.next);
		cpu.memory.u8[cpu.memory.ramBase + AT.tss + 0x68 + (0x3f8 >> 3)] = 1;
		expect(run(cpu, "outDxAl")).toEqual(GP0);
	});
});
