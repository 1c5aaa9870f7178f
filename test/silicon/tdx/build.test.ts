/** Building a TD (TDX Module ABI Specification: TDH.MNG.INIT, TDH.MEM.SEPT.ADD, TDH.MEM.PAGE.ADD, TDH.MR.FINALIZE). */
import { PENDING } from "../../../src/silicon/cpu/cpu.ts";
import { describe, expect, it } from "vitest";
import * as L from "../../../src/silicon/cpu/layout.ts";
import { TDX_STATUS } from "../../../src/silicon/tdx/module.ts";
import {
	hasSeptTable,
	SHARED_BIT,
	tdhMemPageAdd,
	tdhMemSeptAdd,
	tdhMngInit,
	tdhMrFinalize,
} from "../../../src/silicon/tdx/td.ts";
import { tdhVpEnter } from "../../../src/silicon/tdx/tdh-vp-enter.ts";
import { bareMachine } from "../guest-machine.ts";
import { mov, R, TD_AT, vmcall } from "./td-code.ts";
import { addTables, emptyTd, enterTd, FULL_XFAM, makeTd, TD_HPA } from "./td-machine.ts";

const GPA = TD_AT.program;
const page = new Uint8Array(4096).fill(0xcc);

describe("TDH.MNG.INIT", () => {
	it.each([
		["x87 alone, without SSE", 1],
		["AVX-512 without AVX", 0xe3],
		["half of AVX-512", 0x27],
		["CET for user mode without its other half", 0x807],
		["AMX tiles without their configuration", 0x40007],
		["PASID, which TDs never have", 0x407],
		["a component that the processor lacks", 0x1000_0003],
	])("refuses an XFAM with %s", (_what, xfam) => {
		const { cpu } = bareMachine("vmx");
		const parameters = { xfam, rootHpa: TD_HPA.root, msrBitmapHpa: TD_HPA.msrBitmap };
		expect(() => tdhMngInit(cpu, parameters)).toThrow(/XFAM/);
	});

	it("takes everything that a TD can have", () => {
		expect(emptyTd(FULL_XFAM).td.xfam).toBe(FULL_XFAM);
	});
});

describe("secure EPT", () => {
	it("is built from the root down: a table needs the one above it, a page all three", () => {
		const { cpu, td } = emptyTd();
		expect(tdhMemSeptAdd(cpu, td, GPA, 3, TD_HPA.tables)).toBe(TDX_STATUS.eptWalkFailed);
		expect(tdhMemPageAdd(cpu, td, GPA, TD_HPA.pages, page)).toBe(TDX_STATUS.eptWalkFailed);
		for (const level of [4, 3, 2]) {
			expect(hasSeptTable(td, GPA, level - 1)).toBe(false);
			expect(tdhMemSeptAdd(cpu, td, GPA, level, TD_HPA.tables + level * 4096)).toBe(0);
			expect(hasSeptTable(td, GPA, level - 1)).toBe(true);
		}
		expect(tdhMemPageAdd(cpu, td, GPA, TD_HPA.pages, page)).toBe(0);
	});

	it("takes no table twice, and a refused call leaves the page that was offered alone", () => {
		const made = emptyTd();
		addTables(made);
		const { cpu, td } = made;
		const at = cpu.memory.ramBase + TD_HPA.pages;
		cpu.memory.u8.fill(0xab, at, at + 4096);
		expect(tdhMemSeptAdd(cpu, td, GPA, 4, TD_HPA.pages)).toBe(TDX_STATUS.eptEntryStateIncorrect);
		expect(cpu.memory.u8[at]).toBe(0xab);
		// The second table of the hierarchy, once more in its own place: the entries in it survive.
		expect(tdhMemSeptAdd(cpu, td, GPA, 4, TD_HPA.tables)).toBe(TDX_STATUS.eptEntryStateIncorrect);
		expect(hasSeptTable(td, GPA, 1)).toBe(true);
	});

	it("takes no page twice", () => {
		const made = emptyTd();
		addTables(made);
		expect(tdhMemPageAdd(made.cpu, made.td, GPA, TD_HPA.pages, page)).toBe(0);
		expect(tdhMemPageAdd(made.cpu, made.td, GPA, TD_HPA.pages + 4096, page)).toBe(
			TDX_STATUS.eptEntryStateIncorrect,
		);
	});

	it.each([
		["with the shared bit", SHARED_BIT + 4096],
		["that is no page's", GPA + 8],
	])("refuses an address %s", (_what, gpa) => {
		const made = emptyTd();
		addTables(made);
		expect(tdhMemPageAdd(made.cpu, made.td, gpa, TD_HPA.pages, page)).toBe(TDX_STATUS.operandInvalid);
		expect(tdhMemSeptAdd(made.cpu, made.td, gpa, 4, TD_HPA.pages)).toBe(TDX_STATUS.operandInvalid);
	});

	it("a page has its source's content, and 0 behind the source's end", () => {
		const made = emptyTd();
		addTables(made);
		const { cpu, td } = made;
		const at = cpu.memory.ramBase + TD_HPA.pages;
		cpu.memory.u8.fill(0xab, at, at + 4096);
		tdhMemPageAdd(cpu, td, GPA, TD_HPA.pages, Uint8Array.of(9, 1, 2, 3), 1);
		expect([...cpu.memory.u8.subarray(at, at + 5)]).toEqual([1, 2, 3, 0, 0]);
		expect(cpu.memory.u8[at + 4095]).toBe(0);
	});
});

describe("TDH.MR.FINALIZE", () => {
	it("comes before the first entry; an entry before it changes nothing", () => {
		const made = emptyTd();
		const { cpu, vcpu, regs } = made;
		regs.fill(7n);
		expect(tdhVpEnter(cpu, vcpu, regs)).toBe(TDX_STATUS.opStateIncorrect);
		expect(cpu.pkru).toBe(0x5555_5554);
		expect([...regs]).toEqual(Array(16).fill(7n));
	});

	it("an entry that was refused leaves a machine check to the host", () => {
		const { cpu, vcpu, regs } = emptyTd();
		cpu.machineCheckDuringEntry = true;
		tdhVpEnter(cpu, vcpu, regs);
		expect(cpu.machineCheckDuringEntry).toBe(false);
		expect(cpu.pending & PENDING.machineCheck).toBe(PENDING.machineCheck);
	});

	it("is done once, and ends the adding of pages", () => {
		const made = emptyTd();
		addTables(made);
		const { cpu, td } = made;
		expect(tdhMrFinalize(cpu, td)).toBe(0);
		expect(tdhMrFinalize(cpu, td)).toBe(TDX_STATUS.opStateIncorrect);
		expect(tdhMemPageAdd(cpu, td, GPA, TD_HPA.pages, page)).toBe(TDX_STATUS.opStateIncorrect);
	});
});

describe("a new TD vCPU (Base Architecture, initial state of a TD vCPU)", () => {
	it("starts at FFFFFFF0H in flat 32-bit protected mode without paging, with EFER.LME, SCE and NXE", () => {
		const made = makeTd({ program: [] });
		let seen: unknown = null;
		made.cpu.observer = {
			onOp: () => {},
			onGuestEntry: (cpu) => {
				const segment = (index: number) => L.SEG + index * L.SEG_BYTES;
				seen = {
					rip: cpu.read64(L.RIP),
					cr0: cpu.read64(L.CR0),
					cr4: cpu.read64(L.CR4),
					efer: cpu.read64(L.EFER),
					rflags: cpu.read64(L.RFLAGS),
					cs: [L.SEG_ATTR, L.SEG_LIMIT, L.SEG_BASE].map((field) => cpu.read32(segment(L.CS) + field)),
					ss: [L.SEG_ATTR, L.SEG_LIMIT, L.SEG_BASE].map((field) => cpu.read32(segment(L.SS) + field)),
					idtLimit: cpu.read32(segment(L.IDTR) + L.SEG_LIMIT),
					xcr0: cpu.xcr0,
					xss: cpu.xss,
					pkru: cpu.pkru,
				};
				cpu.observer = null;
			},
		};
		enterTd(made);
		expect(seen).toEqual({
			rip: 0xffff_fff0n,
			cr0: 0x21n,
			cr4: 0x2040n,
			efer: 0x901n,
			rflags: 2n,
			cs: [0xc09b, 0xffffffff, 0],
			ss: [0xc093, 0xffffffff, 0],
			idtLimit: 0,
			xcr0: 1,
			xss: 0,
			pkru: 0,
		});
	});

	it("sees CR4.MCE set and VMXE clear", () => {
		// MOV RBX, CR4
		const made = makeTd({ program: [0x0f, 0x20, 0xe3, ...vmcall(1 << R.rbx)] });
		expect(enterTd(made)).toBe(77);
		expect(made.regs[R.rbx]! & 0x2040n).toBe(0x40n);
	});

	it("runs 64-bit code behind its own way there", () => {
		const made = makeTd({ program: [...mov(R.r8, 0x1234_5678_9abcn), ...vmcall(1 << 8)] });
		expect(enterTd(made)).toBe(77);
		expect(made.regs[8]).toBe(0x1234_5678_9abcn);
	});
});
