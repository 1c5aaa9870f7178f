import { describe, expect, it } from "vitest";
import { CR0, XFEATURE } from "../../../src/silicon/cpu/control.ts";
import { PENDING } from "../../../src/silicon/cpu/cpu.ts";
import type { HostVectors } from "../../../src/silicon/cpu/host-vectors.ts";
import * as L from "../../../src/silicon/cpu/layout.ts";
import { EXIT_CODE } from "../../../src/silicon/svm/exit-codes.ts";
import { clgi, stgi, vmload, vmsave } from "../../../src/silicon/svm/instructions.ts";
import type { Vmcb } from "../../../src/silicon/svm/vmcb.ts";
import { AT, peek64, poke64 } from "../machine-code.ts";
import {
	ASM,
	type Guest,
	HOST_AT,
	HOST_RIP,
	mapPage,
	program,
	programAt,
	svmExit,
	svmGuest,
} from "../guest-machine.ts";

const VALID = 0x80000000;
const rip = (guest: Guest<Vmcb>) => Number(guest.control.rip);
const handler = (vector: number) => AT.handler + vector * 16;

function running(code: readonly number[], change: (guest: Guest<Vmcb>) => void = () => {}): Guest<Vmcb> {
	const guest = svmGuest();
	program(guest.cpu, code);
	change(guest);
	return guest;
}

/** A host that notes what arrives. */
function listen(guest: Guest<Vmcb>): string[] {
	const seen: string[] = [];
	const vectors: HostVectors = {
		interrupt: (_cpu, vector) => {
			seen.push(`interrupt ${vector}`);
			guest.apic.eoi();
		},
		returnFromInterrupt: () => {},
		nmi: () => seen.push("nmi"),
		machineCheck: () => seen.push("mc"),
		exception: (_cpu, vector) => seen.push(`exception ${vector}`),
	};
	guest.cpu.vectors = vectors;
	return seen;
}

describe("consistency checks (APM Vol. 2, 15.5.1)", () => {
	const high = (offset: number) => (vmcb: Vmcb) => {
		vmcb.u32[(offset >> 2) + 1] = 1;
	};
	// biome-ignore format: a table
	const table: readonly (readonly [string, (vmcb: Vmcb) => void])[] = [
		["EFER.SVME clear", (v) => { v.efer &= ~0x1000n; }],
		["CR0.NW without CD", (v) => { v.cr0 |= BigInt(CR0.NW); }],
		["CR0 above 32 bits", high(L.CR0)],
		["CR3 above the physical width", (v) => { v.cr3 = 1n << 52n; }],
		["CR4 reserved", (v) => { v.cr4 |= 1n << 31n; }],
		["CR4 above 32 bits", high(L.CR4)],
		["DR7 above 32 bits", high(L.DR7)],
		["EFER reserved", (v) => { v.efer |= 2n; }],
		["LME and PG without PAE", (v) => { v.cr4 &= ~0x20n; }],
		["LME and PG without PE", (v) => { v.cr0 &= ~1n; }],
		["CS.L and CS.D", (v) => { v.setSegment(L.CS, { ...v.getSegment(L.CS), attributes: 0xe09b }); }],
		["the VMRUN intercept clear", (v) => { v.setIntercept(EXIT_CODE.vmrun, false); }],
		["ASID 0", (v) => { v.asid = 0; }],
		["MSRPM beyond physical addresses", (v) => { v.msrpm = 2 ** 52 - 4096; }],
		["IOPM beyond physical addresses", (v) => { v.iopm = 2 ** 52 - 4096; }],
		["nested CR3 beyond physical addresses", (v) => { v.nestedCr3 = 2 ** 52; }],
		["EVENTINJ of type 1", (v) => { v.eventInj = VALID + 0x103; }],
		["EVENTINJ of type 5", (v) => { v.eventInj = VALID + 0x503; }],
		["EVENTINJ of exception 2", (v) => { v.eventInj = VALID + 0x302; }],
		["EVENTINJ of exception 32", (v) => { v.eventInj = VALID + 0x320; }],
	];

	it.each(table)("VMEXIT_INVALID, GIF clear, the host untouched: %s", (_name, corrupt) => {
		const guest = running([]);
		corrupt(guest.control);
		const { cpu } = guest;
		const before = cpu.memory.u8.slice(cpu.base, cpu.base + L.CYCLES);
		expect(svmExit(guest)).toBe(EXIT_CODE.invalid);
		expect(cpu.gif).toBe(false);
		expect(cpu.memory.u8.slice(cpu.base, cpu.base + L.CYCLES)).toEqual(before);
	});

	it("the VMCB that they start from passes", () => {
		expect(svmExit(running([]))).toBe(EXIT_CODE.hlt);
	});

	it("a machine check that waited for a VMRUN that was refused is the host's", () => {
		const guest = running([], ({ cpu, control }) => {
			control.asid = 0;
			cpu.machineCheckDuringEntry = true;
			cpu.pending |= PENDING.machineCheck;
		});
		const seen = listen(guest);
		svmExit(guest);
		stgi(guest.cpu);
		guest.cpu.poll();
		expect(seen).toEqual(["mc"]);
	});
});

describe("instruction intercepts (APM Vol. 2, 15.9)", () => {
	it.each([
		["cpuid", ASM.cpuid],
		["invd", ASM.invd],
		["wbinvd", ASM.wbinvd],
		["rdtsc", ASM.rdtsc],
		["rdtscp", ASM.rdtscp],
		["pause", ASM.pause],
		["monitor", ASM.monitor],
		["mwait", ASM.mwait],
		["xsetbv", ASM.xsetbv],
		["invlpg", ASM.invlpgRax],
		["swint", ASM.int80],
		["vmmcall", ASM.vmmcall],
		["clgi", ASM.clgi],
	] as const)("%s exits exactly if its bit is set, at the instruction, with the next RIP", (name, code) => {
		for (const on of [true, false]) {
			const guest = running(code, ({ cpu, control }) => {
				cpu.setGpr(L.RCX, 0n);
				control.rax = 1n;
				cpu.setGpr(L.RDX, 0n);
				control.setIntercept(EXIT_CODE[name], on);
			});
			const exit = svmExit(guest);
			// What nobody intercepts either takes effect or, without a hypervisor's help, is #UD: HLT follows both.
			expect(exit).toBe(on ? EXIT_CODE[name] : EXIT_CODE.hlt);
			if (!on) continue;
			expect(rip(guest)).toBe(AT.code);
			expect(guest.control.nextRip).toBe(BigInt(AT.code + code.length));
			expect(guest.cpu.read64(L.RIP)).toBe(HOST_RIP);
		}
	});

	it("CR and DR accesses by register and direction, with the GPR as decode assist (15.33.1)", () => {
		for (const [code, exit] of [
			[ASM.movCr0Rax, 0x10],
			[ASM.movRaxCr0, 0x00],
			[ASM.movCr3Rax, 0x13],
			[ASM.movRaxCr4, 0x04],
			[ASM.movCr8Rax, 0x18],
			[ASM.movDr7Rax, 0x37],
			[ASM.movRaxDr6, 0x26],
			[ASM.clts, 0x10],
		] as const) {
			const guest = running(code, ({ control }) => control.setIntercept(exit, true));
			expect(svmExit(guest)).toBe(exit);
		}
	});

	it("the selective CR0 intercept lets TS and MP pass (15.9)", () => {
		for (const [change, exits] of [
			[CR0.TS, false],
			[CR0.MP, false],
			[CR0.AM, true],
		] as const) {
			const guest = running(ASM.movCr0Rax, ({ control }) => {
				control.rax = control.cr0 ^ BigInt(change);
				control.intercept("cr0SelectiveWrite");
			});
			expect(svmExit(guest)).toBe(exits ? EXIT_CODE.cr0SelectiveWrite : EXIT_CODE.hlt);
		}
	});
});

describe("permission maps (APM Vol. 2, 15.10, 15.11)", () => {
	const mark = (guest: Guest<Vmcb>, map: number, bit: number) => {
		const { u8, ramBase } = guest.cpu.memory;
		u8[ramBase + map + (bit >> 3)]! |= 1 << (bit & 7);
	};

	it("IOPM: an access exits if one of its ports is marked; EXITINFO1 says what it is, EXITINFO2 where it ends", () => {
		for (const [first, marked] of [
			[0x3f8, 0x3fb],
			[0x3f8, 0x3fc],
			[0xfffe, 0x10001],
		] as const) {
			const guest = running(ASM.outDxEax, (one) => {
				one.cpu.setGpr(L.RDX, BigInt(first));
				one.control.intercept("ioio");
				one.control.iopm = HOST_AT.ioA;
				mark(one, HOST_AT.ioA, marked);
			});
			const exits = marked < first + 4;
			expect(svmExit(guest)).toBe(exits ? EXIT_CODE.ioio : EXIT_CODE.hlt);
			if (!exits) continue;
			expect(guest.control.exitInfo1Low).toBe(((first << 16) | 0x240) >>> 0);
			expect(guest.control.exitInfo2Address).toBe(BigInt(AT.code + 1));
		}
		for (const [code, bits] of [
			[ASM.inEaxDx, 0x241],
			[ASM.repOutsb, 0x21c],
			[ASM.insd, 0x245],
		] as const) {
			const guest = running(code, ({ cpu, control }) => {
				cpu.setGpr(L.RDX, 0x60n);
				cpu.setGpr(L.RCX, 2n);
				for (const index of [L.RSI, L.RDI]) cpu.setGpr(index, BigInt(AT.data));
				control.intercept("ioio");
			});
			expect(svmExit(guest)).toBe(EXIT_CODE.ioio);
			expect(guest.control.exitInfo1Low).toBe(0x600000 | bits);
		}
	});

	it("MSRPM: two bits an MSR in three ranges; what lies outside exits", () => {
		for (const [msr, slot] of [
			[0x10, 0x10],
			[0xc0000082, 0x2082],
			[0xc0010015, 0x4015],
		] as const) {
			for (const write of [0, 1]) {
				for (const access of [0, 1]) {
					const guest = running(access === 1 ? ASM.wrmsr : ASM.rdmsr, (one) => {
						one.cpu.setGpr(L.RCX, BigInt(msr));
						one.cpu.setGpr(L.RDX, 0n);
						one.control.rax = 0x1000010n;
						one.control.intercept("msr");
						one.control.msrpm = HOST_AT.msr;
						mark(one, HOST_AT.msr, slot * 2 + write);
					});
					expect(svmExit(guest)).toBe(access === write ? EXIT_CODE.msr : EXIT_CODE.hlt);
					if (access === write) expect(guest.control.exitInfo1Low).toBe(write);
				}
			}
		}
		const outside = running(ASM.rdmsr, ({ cpu, control }) => {
			cpu.setGpr(L.RCX, 0x4000_0000n);
			control.intercept("msr");
			control.msrpm = HOST_AT.msr;
		});
		expect(svmExit(outside)).toBe(EXIT_CODE.msr);
	});
});

describe("exceptions and nested page faults", () => {
	it("an intercepted #PF gives the whole address in EXITINFO2, and leaves CR2 alone (15.12.15)", () => {
		const address = 0xffff_8123_4567_89a1n;
		const guest = running(ASM.movRaxMemRbx, ({ cpu, control }) => {
			cpu.setGpr(L.RBX, address);
			control.interceptException(14, true);
		});
		expect(svmExit(guest)).toBe(EXIT_CODE.exceptionBase + 14);
		expect(guest.control.exitInfo2Address).toBe(address);
		expect(guest.control.exitInfo1Low).toBe(0);
		expect(guest.control.cr2).toBe(0n);
	});

	it("one that occurs while another event is delivered puts that into EXITINTINFO (15.7.2)", () => {
		const guest = running(ASM.int80, ({ cpu, control }) => {
			poke64(cpu, AT.idt + 0x80 * 16, 0n);
			control.interceptException(13, true);
		});
		expect(svmExit(guest)).toBe(EXIT_CODE.exceptionBase + 13);
		expect(guest.control.exitIntInfo).toBe(VALID + 0x480);
		expect(guest.control.exitInfo1Low).toBe(0x80 * 8 + 2);
	});

	it.each([
		["right behind the STI that set IF", true, true],
		["with an instruction between", false, false],
	])(
		"an exit during injection after a VMRUN %s: the STI's shadow in the guest's state is %s",
		(_what, right, bleeds) => {
			const guest = running([], ({ cpu, control }) => {
				poke64(cpu, AT.idt + 0x80 * 16, 0n);
				control.interceptException(13, true);
				control.eventInj = VALID + 0x80;
			});
			const { cpu } = guest;
			listen(guest);
			cpu.interruptFlag = false;
			clgi(cpu);
			cpu.sti();
			if (!right) vmsave(cpu, guest.control);
			expect(svmExit(guest)).toBe(EXIT_CODE.exceptionBase + 13);
			expect([guest.control.interruptShadow, guest.control.shadowOfHost]).toEqual([bleeds, bleeds]);
		},
	);

	it("an SMI that exits waits for STGI", () => {
		const guest = running(ASM.int80);
		const { cpu, control } = guest;
		listen(guest);
		control.intercept("smi");
		clgi(cpu);
		cpu.pending |= PENDING.smi;
		expect(svmExit(guest)).toBe(EXIT_CODE.smi);
		expect(cpu.smis).toBe(0);
		stgi(cpu);
		cpu.poll();
		expect(cpu.smis).toBe(1);
	});

	it("a nested page fault tells the final translation from table walks, and reads from writes (15.25.6)", () => {
		const cases = [
			[ASM.movRaxMemRbx, AT.data, 0n, 4, 1],
			[ASM.movMemRbxRax, AT.data, BigInt(AT.data) | 5n, 7, 1],
			[ASM.movRaxMemRbx, AT.table, BigInt(AT.table) | 5n, 7, 2],
		] as const;
		for (const [code, page, entry, low, high] of cases) {
			const guest = running(code, ({ cpu }) => {
				cpu.setGpr(L.RBX, BigInt(AT.data + 0x10));
				mapPage(cpu, page >> 12, entry);
			});
			expect(svmExit(guest)).toBe(EXIT_CODE.npf);
			expect([guest.control.exitInfo1Low, guest.control.exitInfo1High]).toEqual([low, high]);
			if (page === AT.data) expect(guest.control.exitInfo2).toBe(AT.data + 0x10);
		}
	});

	it("a triple fault is SHUTDOWN", () => {
		const guest = running(ASM.ud2, ({ control }) =>
			control.setSegment(L.IDTR, { base: 0n, limit: 0, attributes: 0, selector: 0 }),
		);
		expect(svmExit(guest)).toBe(EXIT_CODE.shutdown);
	});
});

describe("event injection (APM Vol. 2, 15.20)", () => {
	it.each([
		["interrupt", 0x040, 0x40, null],
		["NMI", 0x202, 2, null],
		["exception", 0x30e, 14, 6],
		["software interrupt", 0x480, 0x80, null],
	] as const)(
		"%s: delivered once, before any instruction, whatever is intercepted",
		(_name, event, vector, code) => {
			const guest = running(ASM.cpuid, ({ control }) => {
				control.eventInj = VALID + event + (code === null ? 0 : 0x800);
				control.eventInjErr = code ?? 0;
				control.interceptException(vector & 31, true);
				control.setIntercept(EXIT_CODE.swint, true);
			});
			expect(svmExit(guest)).toBe(EXIT_CODE.hlt);
			expect(rip(guest)).toBe(handler(vector));
			expect(peek64(guest.cpu, Number(guest.control.rsp))).toBe(BigInt(code ?? AT.code));
			expect(guest.control.eventInj).toBe(0);
		},
	);
});

describe("the global interrupt flag (APM Vol. 2, 15.17)", () => {
	it("holds #MC, NMI and interrupts back until STGI, which lets them in by priority", () => {
		const guest = running([]);
		const { cpu, apic } = guest;
		const seen = listen(guest);
		cpu.interruptFlag = true;
		clgi(cpu);
		apic.raise(0x44);
		cpu.pending |= PENDING.nmi | PENDING.machineCheck;
		cpu.poll();
		clgi(cpu);
		expect(seen).toEqual([]);
		stgi(cpu);
		cpu.poll();
		expect(seen).toEqual(["mc", "nmi", "interrupt 68"]);
	});

	it("#VMEXIT clears it; an interrupt that was intercepted is not acknowledged and is taken behind STGI if the host's IF is set", () => {
		for (const hostIf of [true, false]) {
			const guest = running(ASM.cpuid, ({ apic }) => apic.raise(0x44));
			const { cpu, apic } = guest;
			const seen = listen(guest);
			cpu.gif = false;
			cpu.interruptFlag = true;
			expect(svmExit(guest)).toBe(EXIT_CODE.intr);
			expect(rip(guest)).toBe(AT.code);
			expect([cpu.gif, apic.requested(0x44), apic.inService(0x44), seen.length]).toEqual([
				false,
				true,
				false,
				0,
			]);
			cpu.interruptFlag = hostIf;
			stgi(cpu);
			cpu.poll();
			expect(seen).toEqual(hostIf ? ["interrupt 68"] : []);
		}
	});

	it("an IRET that faults leaves V_NMI_MASK set; one that completes clears it (APM Vol. 2, 15.21.10)", () => {
		for (const completes of [false, true]) {
			const guest = running(ASM.iretq, ({ cpu, control }) => {
				control.vNmiEnable = true;
				control.vNmiMask = true;
				if (!completes) return;
				for (const [n, value] of [AT.data, 8, 2, AT.stack, 16].entries())
					poke64(cpu, AT.stack + n * 8, BigInt(value));
				programAt(cpu, AT.data, ASM.hlt);
			});
			expect(svmExit(guest)).toBe(EXIT_CODE.hlt);
			expect(rip(guest)).toBe(completes ? AT.data : handler(13));
			expect(guest.control.vNmiMask).toBe(!completes);
		}
	});

	it("an intercepted NMI stays pending and arrives behind STGI; an intercepted #MC is used up by its exit", () => {
		const nmi = running(ASM.cpuid, ({ cpu }) => {
			cpu.gif = false;
			cpu.pending |= PENDING.nmi;
		});
		const seen = listen(nmi);
		expect(svmExit(nmi)).toBe(EXIT_CODE.nmi);
		expect(seen).toEqual([]);
		stgi(nmi.cpu);
		nmi.cpu.poll();
		expect(seen).toEqual(["nmi"]);

		const mc = running(ASM.cpuid, ({ cpu, control }) => {
			cpu.gif = false;
			cpu.pending |= PENDING.machineCheck;
			control.interceptException(18, true);
		});
		expect(svmExit(mc)).toBe(EXIT_CODE.exceptionBase + 18);
		expect(mc.cpu.pending & PENDING.machineCheck).toBe(0);
		expect(mc.cpu.read32(L.MCG_STATUS)).toBe(4);
	});
});

describe("interrupts in the guest (APM Vol. 2, 15.13, 15.21)", () => {
	it("under V_INTR_MASKING the host's IF masks physical ones, without it the guest's does", () => {
		for (const masking of [true, false]) {
			for (const hostIf of [true, false]) {
				for (const guestIf of [true, false]) {
					const guest = running(ASM.vmmcall, ({ cpu, apic, control }) => {
						control.intercept("vmmcall");
						control.vIntrMasking = masking;
						control.rflags = guestIf ? 0x202n : 2n;
						cpu.interruptFlag = hostIf;
						cpu.gif = false;
						apic.raise(0x44);
					});
					const taken = masking ? hostIf : guestIf;
					expect(svmExit(guest)).toBe(taken ? EXIT_CODE.intr : EXIT_CODE.vmmcall);
					expect(guest.cpu.interruptFlag).toBe(hostIf);
				}
			}
		}
	});

	it("V_INTR goes through the guest's IDT when IF and V_TPR allow, and its intercept opens an interrupt window", () => {
		const virtual = (flags: bigint, priority: number, tpr: number, ignore = false) =>
			running(ASM.vmmcall, ({ control }) => {
				control.intercept("vmmcall");
				Object.assign(control, {
					vIrq: true,
					vIntrVector: 0x50,
					vIntrPriority: priority,
					vTpr: tpr,
					vIgnoreTpr: ignore,
					rflags: flags,
				});
			});
		for (const [flags, priority, tpr, ignore, taken] of [
			[0x202n, 5, 4, false, true],
			[0x202n, 5, 5, false, false],
			[0x202n, 0, 15, true, true],
			[2n, 5, 0, false, false],
		] as const) {
			const guest = virtual(flags, priority, tpr, ignore);
			expect(svmExit(guest)).toBe(taken ? EXIT_CODE.hlt : EXIT_CODE.vmmcall);
			if (taken) expect(rip(guest)).toBe(handler(0x50));
			expect(guest.control.vIrq).toBe(!taken);
		}
		const window = running([...ASM.sti, ...ASM.nop, ...ASM.vmmcall], ({ control }) =>
			control.openInterruptWindow(),
		);
		expect(svmExit(window)).toBe(EXIT_CODE.vintr);
		expect(rip(window)).toBe(AT.code + 2);
		expect(window.control.vIrq).toBe(true);
	});

	it("a shadow in the VMCB covers one instruction; one that is left behind is saved", () => {
		const guest = running([...ASM.nop, ...ASM.cpuid], ({ cpu, apic, control }) => {
			control.interruptShadow = true;
			cpu.interruptFlag = true;
			cpu.gif = false;
			apic.raise(0x44);
		});
		expect(svmExit(guest)).toBe(EXIT_CODE.intr);
		expect(rip(guest)).toBe(AT.code + 1);
		const sti = running([...ASM.sti, ...ASM.hlt]);
		svmExit(sti);
		expect(sti.control.interruptShadow).toBe(true);
	});

	it("CR8 is V_TPR under V_INTR_MASKING, and above 15 is #GP(0)", () => {
		const guest = running([...ASM.movCr8Rax, ...ASM.movRaxCr8], ({ control }) => {
			control.rax = 7n;
		});
		svmExit(guest);
		expect([guest.control.vTpr, guest.control.rax, guest.cpu.read64(L.CR8)]).toEqual([7, 7n, 0n]);
		const bad = running(ASM.movCr8Rax, ({ control }) => {
			control.rax = 16n;
		});
		svmExit(bad);
		expect(rip(bad)).toBe(handler(13));
	});
});

describe("what VMRUN and #VMEXIT switch (APM Vol. 2, 15.5, 15.6)", () => {
	it("RAX, RSP, RIP and CR2 are the VMCB's inside; the host's come back, CR2 not", () => {
		const guest = running(ASM.cpuid, ({ cpu, control }) => {
			control.intercept("cpuid");
			control.rax = 5n;
			control.cr2 = 0x1234n;
			cpu.setGpr(L.RAX, 99n);
			cpu.setGpr(L.RBX, 77n);
		});
		svmExit(guest);
		const { cpu } = guest;
		expect([cpu.gpr(L.RAX), cpu.gpr(L.RBX), cpu.gpr(L.RSP)]).toEqual([99n, 77n, 0xffff800000002000n]);
		expect([guest.control.rax, guest.control.rsp]).toEqual([5n, BigInt(AT.stack)]);
		expect(cpu.read64(L.CR2)).toBe(0x1234n);
		expect(cpu.read32(L.DR7)).toBe(0x400);
	});

	it("XCR0, XSS and PKRU are the processor's: the guest sees the host's and leaves its own behind", () => {
		const guest = running([...ASM.xgetbv, ...ASM.cpuid], ({ cpu, control }) => {
			control.intercept("cpuid");
			cpu.setGpr(L.RCX, 0n);
			cpu.writeNumber(L.XCR0, 7);
			cpu.writeNumber(L.XSS, XFEATURE.cetUser);
			cpu.write32(L.PKRU, 0x5554);
		});
		svmExit(guest);
		expect(guest.control.rax).toBe(7n);
		expect([guest.cpu.xcr0, guest.cpu.xss, guest.cpu.pkru]).toEqual([7, XFEATURE.cetUser, 0x5554]);
	});

	it("VMLOAD and VMSAVE move FS, GS, LDTR, TR, KERNEL_GS_BASE and the SYSCALL and SYSENTER MSRs, and VMRUN does not", () => {
		const guest = running([]);
		const { cpu, control } = guest;
		const words = (L.VMLOADED_END - L.VMLOADED) >> 3;
		const offsets = Array.from({ length: words }, (_, n) => L.VMLOADED + 8 * n);
		for (const name of [
			L.KERNEL_GS_BASE,
			L.STAR,
			L.LSTAR,
			L.CSTAR,
			L.SFMASK,
			L.SYSENTER_CS,
			L.SYSENTER_ESP,
			L.SYSENTER_EIP,
			L.SEG + L.FS * L.SEG_BYTES,
			L.SEG + L.TR * L.SEG_BYTES,
		]) {
			expect(offsets).toContain(name);
		}
		const host = offsets.map((offset) => cpu.read64(offset));
		vmsave(cpu, control);
		for (const offset of offsets) cpu.write64(offset, cpu.read64(offset) + 0n);
		cpu.write64(L.LSTAR, 0x42n);
		expect(control.readState(L.LSTAR)).toBe(host[offsets.indexOf(L.LSTAR)]);
		svmExit(guest);
		expect(cpu.read64(L.LSTAR)).toBe(0x42n);
		vmload(cpu, control);
		expect(offsets.map((offset) => cpu.read64(offset))).toEqual(host);
	});

	it("a guest whose HLT an interrupt ended without an intercept goes on behind it", () => {
		const guest = running([...ASM.sti, ...ASM.hlt, ...ASM.vmmcall], ({ cpu, apic, control }) => {
			control.setIntercept(EXIT_CODE.hlt, false);
			control.intercept("vmmcall");
			cpu.interruptFlag = true;
			cpu.gif = false;
			cpu.deadline = 50_000;
			cpu.onDeadline = (one) => {
				one.deadline = Number.POSITIVE_INFINITY;
				apic.raise(0x44);
			};
		});
		expect(svmExit(guest)).toBe(EXIT_CODE.intr);
		expect(rip(guest)).toBe(AT.code + 2);
		guest.apic.acknowledge();
		guest.apic.update();
		expect(svmExit(guest)).toBe(EXIT_CODE.vmmcall);
	});
});
