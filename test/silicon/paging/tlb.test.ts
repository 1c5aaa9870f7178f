import { describe, expect, it } from "vitest";
import { CR4 } from "../../../src/silicon/cpu/control.ts";
import type { Cpu } from "../../../src/silicon/cpu/cpu.ts";
import * as L from "../../../src/silicon/cpu/layout.ts";
import { tlbOffset } from "../../../src/silicon/cpu/tlb-index.ts";
import { FLAG } from "../../../src/silicon/cpu/rflags.ts";
import {
	explicitAccess,
	fetchLinear,
	probeLinear,
	readLinear,
	writeLinear,
} from "../../../src/silicon/paging/access.ts";
import { PF } from "../../../src/silicon/paging/physical.ts";
import { contextChanged, flushPage, lookUpCodePage } from "../../../src/silicon/paging/tlb.ts";
import { bareMachine, programAt } from "../guest-machine.ts";
import { AT, hypervisor, longModeCpu, P, PS, poke64, RW, setLevel, step, US } from "../machine-code.ts";

/** Looks an address up as translated code does. @returns the Wasm offset, or undefined for a miss */
function lookUp(cpu: Cpu, table: number, linear: number): number | undefined {
	const entry = cpu.base + table + tlbOffset(linear);
	if (cpu.memory.view.getBigInt64(entry, true) !== BigInt(linear & ~0xfff)) return undefined;
	return (linear + cpu.memory.view.getInt32(entry + 8, true)) >>> 0;
}

const read = (cpu: Cpu, linear: number) => readLinear(cpu, BigInt(linear), 8, explicitAccess(cpu));
const write = (cpu: Cpu, linear: number) => writeLinear(cpu, BigInt(linear), 8, 1n, explicitAccess(cpu));

describe("the software TLB", () => {
	it("gives the Wasm offset of what was read or written", () => {
		const cpu = longModeCpu();
		read(cpu, 0x9008);
		expect(lookUp(cpu, L.TLB_READ, 0x9010)).toBe(cpu.memory.ramBase + 0x9010);
		expect(lookUp(cpu, L.TLB_WRITE, 0x9010)).toBeUndefined();
		write(cpu, 0x9008);
		expect(lookUp(cpu, L.TLB_WRITE, 0x9010)).toBe(cpu.memory.ramBase + 0x9010);
	});

	it("keeps level 3 and the levels below apart, and what each has over the other's turn", () => {
		const cpu = longModeCpu();
		read(cpu, 0x9000);
		setLevel(cpu, 3);
		expect(lookUp(cpu, L.TLB_READ, 0x9000)).toBeDefined();
		expect(lookUp(cpu, L.USER_BANK + L.TLB_READ, 0x9000)).toBeUndefined();
		read(cpu, 0xa000);
		setLevel(cpu, 0);
		expect(lookUp(cpu, L.TLB_READ, 0xa000)).toBeUndefined();
		expect(lookUp(cpu, L.USER_BANK + L.TLB_READ, 0xa000)).toBeDefined();
		flushPage(cpu, 0xa000n);
		expect(lookUp(cpu, L.USER_BANK + L.TLB_READ, 0xa000), "INVLPG is for all levels").toBeUndefined();
	});

	it("survives an exit and re-entry of the same guest, not a change of what it was filled for", () => {
		const changes: readonly ((cpu: Cpu) => void)[] = [
			(cpu) => cpu.write64(L.CR3, 0x2000n),
			(cpu) => cpu.write32(L.CR4, cpu.read32(L.CR4) | CR4.SMEP),
			(cpu) => cpu.write32(L.CR0, cpu.read32(L.CR0) & ~(1 << 16)),
			(cpu) => cpu.write32(L.EFER, cpu.read32(L.EFER) & ~(1 << 11)),
			(cpu) => {
				cpu.guest = hypervisor({ secondLevel: { kind: "ept", root: 0x5000 } });
			},
		];
		for (const change of changes) {
			const cpu = longModeCpu();
			read(cpu, 0x9000);
			contextChanged(cpu);
			expect(lookUp(cpu, L.TLB_READ, 0x9000)).toBeDefined();
			change(cpu);
			contextChanged(cpu);
			expect(lookUp(cpu, L.TLB_READ, 0x9000)).toBeUndefined();
		}
	});

	it("depends on PKRU only while CR4.PKE is set", () => {
		const cpu = longModeCpu();
		read(cpu, 0x9000);
		cpu.write32(L.PKRU, 4);
		contextChanged(cpu);
		expect(lookUp(cpu, L.TLB_READ, 0x9000)).toBeDefined();
		cpu.write32(L.CR4, cpu.read32(L.CR4) | CR4.PKE);
		contextChanged(cpu);
		read(cpu, 0x9000);
		cpu.write32(L.PKRU, 8);
		contextChanged(cpu);
		expect(lookUp(cpu, L.TLB_READ, 0x9000)).toBeUndefined();
	});

	it("never holds a user page for the supervisor under SMAP, since RFLAGS.AC decides each access", () => {
		const cpu = longModeCpu();
		cpu.write32(L.CR4, cpu.read32(L.CR4) | CR4.SMAP);
		cpu.write32(L.RFLAGS, 2 | FLAG.AC);
		contextChanged(cpu);
		read(cpu, 0x9000);
		expect(cpu.read32(L.FAULT)).toBe(0);
		expect(lookUp(cpu, L.TLB_READ, 0x9000)).toBeUndefined();
	});

	it("never holds a page with translated code for writing, and tells of each write to it first", () => {
		const cpu = longModeCpu();
		write(cpu, 0x9000);
		expect(lookUp(cpu, L.TLB_WRITE, 0x9000)).toBeDefined();
		expect(fetchLinear(cpu, 0x9004n)).toBe(cpu.memory.ramBase + 0x9004);
		expect(lookUp(cpu, L.TLB_WRITE, 0x9000)).toBeUndefined();
		cpu.memory.codePages[9] = 1;
		const told: number[] = [];
		cpu.memory.onCodeWrite = (page) => told.push(page);
		writeLinear(cpu, 0x9000n, 8, 2n, 0);
		writeLinear(cpu, 0x9000n, 8, 3n, 0);
		writeLinear(cpu, 0x9000n, 8, 3n, 0);
		expect(told, "the same bytes once more are the same code").toEqual([9, 9]);
		expect(lookUp(cpu, L.TLB_WRITE, 0x9000)).toBeUndefined();
	});

	it("keeps a page with translated code for stores that look at it first, until its code is gone", () => {
		const cpu = longModeCpu();
		const offset = cpu.memory.ramBase + 0x9010;
		expect(fetchLinear(cpu, 0x9004n)).toBe(cpu.memory.ramBase + 0x9004);
		cpu.memory.codePages[9] = 1;
		cpu.memory.onCodeWrite = () => {};
		write(cpu, 0x9000);
		expect(lookUpCodePage(cpu, 0, 0x9010, 0)).toBe(offset);
		expect(lookUpCodePage(cpu, L.USER_BANK, 0x9010, 0), "each level has its own").toBe(-1);
		flushPage(cpu, 0x9000n);
		expect(lookUpCodePage(cpu, 0, 0x9010, 0), "INVLPG drops it").toBe(-1);
		write(cpu, 0x9000);
		expect(lookUpCodePage(cpu, 0, 0x9010, 0)).toBe(offset);
		cpu.memory.codePages[9] = 0;
		expect(lookUpCodePage(cpu, 0, 0x9010, 0)).toBe(-1);
		write(cpu, 0x9000);
		expect(lookUp(cpu, L.TLB_WRITE, 0x9010), "a page like others again").toBe(offset);
	});

	it("forgets a page with translated code with its address space, also where a flush keeps what is still true", () => {
		for (const remapped of [false, true]) {
			const cpu = longModeCpu();
			fetchLinear(cpu, 0x9000n);
			cpu.memory.codePages[9] = 1;
			cpu.memory.onCodeWrite = () => {};
			write(cpu, 0x9000);
			if (remapped) poke64(cpu, AT.table + 9 * 8, 0xa000n | P | RW | US);
			cpu.write32(L.CR4, cpu.read32(L.CR4) ^ CR4.PGE);
			contextChanged(cpu);
			write(cpu, 0x9000);
			expect(lookUpCodePage(cpu, 0, 0x9000, 0)).toBe(remapped ? -1 : cpu.memory.ramBase + 0x9000);
			expect(cpu.memory.view.getBigUint64(cpu.memory.ramBase + (remapped ? 0xa000 : 0x9000), true)).toBe(1n);
		}
	});

	it("drops one page on INVLPG", () => {
		const cpu = longModeCpu();
		read(cpu, 0x9000);
		read(cpu, 0xa000);
		flushPage(cpu, 0x9abcn);
		expect(lookUp(cpu, L.TLB_READ, 0x9000)).toBeUndefined();
		expect(lookUp(cpu, L.TLB_READ, 0xa000)).toBeDefined();
	});

	it("drops all of a large page on INVLPG of any address in it (SDM Vol. 3A, 5.10.4.1)", () => {
		const cpu = longModeCpu();
		poke64(cpu, AT.directory + 8, 0x200000n | P | RW | US | PS);
		for (const linear of [0x9000, 0x200000, 0x203000]) read(cpu, linear);
		flushPage(cpu, 0x3ff000n);
		expect(lookUp(cpu, L.TLB_READ, 0x200000)).toBeUndefined();
		expect(lookUp(cpu, L.TLB_READ, 0x203000)).toBeUndefined();
		read(cpu, 0x9000);
		read(cpu, 0xa000);
		flushPage(cpu, 0x9000n);
		expect(lookUp(cpu, L.TLB_READ, 0xa000), "4 KiB pages again one by one").toBeDefined();
	});

	it("notes an entry once however often it is dropped and entered again, and finds it at every later flush", () => {
		const cpu = longModeCpu();
		poke64(cpu, AT.directory + 8, 0x200000n | P | RW | US | PS);
		const listed = () => cpu.tlbFilled.reduce((sum, { length }) => sum + length, 0);
		read(cpu, 0x9000);
		read(cpu, 0x201000);
		const before = listed();
		for (let round = 0; round < 5000; round++) {
			flushPage(cpu, 0x9000n);
			flushPage(cpu, 0x200000n);
			read(cpu, 0x9000);
			read(cpu, 0x201000);
		}
		expect(listed()).toBe(before);
		cpu.write64(L.CR3, 0x2000n);
		contextChanged(cpu);
		expect([0x9000, 0x201000].map((at) => lookUp(cpu, L.TLB_READ, at))).toEqual([undefined, undefined]);
		expect(listed()).toBe(0);
	});

	it("keeps behind a change of CR4.PGE what a walk finds again, and nothing else", () => {
		const cpu = longModeCpu();
		const toggle = () => {
			cpu.write32(L.CR4, cpu.read32(L.CR4) ^ CR4.PGE);
			contextChanged(cpu);
		};
		for (const page of [0x9000, 0xa000, 0xb000]) read(cpu, page);
		poke64(cpu, AT.table + 10 * 8, 0xc000n | P | RW | US);
		poke64(cpu, AT.table + 11 * 8, 0n);
		toggle();
		const seen = () => [0x9000, 0xa000, 0xb000].map((at) => lookUp(cpu, L.TLB_READ, at));
		expect(seen()).toEqual([cpu.memory.ramBase + 0x9000, undefined, undefined]);
		read(cpu, 0xa000);
		toggle();
		expect(seen()[1]).toBe(cpu.memory.ramBase + 0xc000);
		cpu.write64(L.CR3, 0x2000n);
		contextChanged(cpu);
		expect(seen()).toEqual([undefined, undefined, undefined]);
	});

	it.each([
		["", 0],
		[", its entry gone for that of another page of code", 0x800_0000],
	])("runs the code of the new page behind a change of CR4.PGE%s", (_, other) => {
		const { cpu } = bareMachine("vmx");
		const page = 0x60;
		const place = (frame: number, value: number) => programAt(cpu, frame << 12, [0xb8, value, 0, 0, 0]);
		place(page, 1);
		place(0x61, 2);
		place(page ^ 0x20, 3);
		poke64(cpu, AT.directory + 64 * 8, BigInt(AT.table) | P | RW | US);
		const run = (at: number) => {
			cpu.write64(L.RIP, BigInt(at));
			cpu.halted = "no";
			cpu.execute(cpu);
			return cpu.gpr(L.RAX);
		};
		const at = page << 12;
		const conflicting = other + ((page ^ 0x20) << 12);
		if (other !== 0) expect(tlbOffset(conflicting)).toBe(tlbOffset(at));
		for (let round = 0; round < 3; round++) expect(run(at)).toBe(1n);
		if (other !== 0) expect(run(conflicting)).toBe(3n);
		poke64(cpu, AT.table + page * 8, 0x61000n | P | RW | US);
		cpu.write32(L.CR4, cpu.read32(L.CR4) ^ CR4.PGE);
		contextChanged(cpu);
		expect(run(at)).toBe(2n);
	});

	it("enters an access with the rights of another level, such as an interrupt's frame from level 3, for that level", () => {
		const cpu = longModeCpu();
		poke64(cpu, AT.table + 9 * 8, 0x9000n | P | RW);
		setLevel(cpu, 3);
		expect(probeLinear(cpu, 0x9000n, 40, PF.write)).toBe(true);
		expect(lookUp(cpu, L.USER_BANK + L.TLB_WRITE, 0x9000)).toBeUndefined();
		expect(lookUp(cpu, L.TLB_WRITE, 0x9000)).toBeDefined();
	});

	it("is emptied as a whole when more was entered than is remembered", () => {
		const cpu = longModeCpu();
		const pages = Array.from({ length: 40 * 512 }, (_, page) => (1 << 21) + (page << 12));
		for (let entry = 1; entry <= 40; entry++) poke64(cpu, AT.directory + 8 * entry, 0n | P | RW | US | PS);
		for (const linear of pages) read(cpu, linear);
		const found = () => pages.filter((linear) => lookUp(cpu, L.TLB_READ, linear) !== undefined).length;
		expect(found()).toBe(pages.length);
		cpu.write64(L.CR3, 0x2000n);
		contextChanged(cpu);
		expect(found()).toBe(0);
	});

	it("holds nothing while a breakpoint is on: every access has to be looked at", () => {
		const cpu = longModeCpu();
		read(cpu, 0x9000);
		cpu.write32(L.DR7, 0x401);
		contextChanged(cpu);
		read(cpu, 0x9000);
		expect(lookUp(cpu, L.TLB_READ, 0x9000)).toBeUndefined();
	});

	it("uses an old entry or the new one after a change without flush, never a mix, and the new one behind INVLPG or MOV to CR3", () => {
		for (const flush of [
			(cpu: Cpu) => step(cpu, [0x0f, 0x01, 0x38]),
			(cpu: Cpu) => step(cpu, [0x0f, 0x22, 0xdb]),
		]) {
			const cpu = longModeCpu();
			poke64(cpu, 0x60000, 0x11n);
			poke64(cpu, 0x61000, 0x22n);
			poke64(cpu, AT.table + 9 * 8, 0x60000n | P | RW | US);
			expect(readLinear(cpu, 0x9000n, 8, 0)).toBe(0x11n);
			write(cpu, 0x9008);
			poke64(cpu, AT.table + 9 * 8, 0x61000n | P | US);
			for (const table of [L.TLB_READ, L.TLB_WRITE]) {
				expect([undefined, cpu.memory.ramBase + 0x60000]).toContain(lookUp(cpu, table, 0x9000));
			}
			cpu.setGpr(L.RAX, 0x9000n);
			cpu.setGpr(L.RBX, BigInt(AT.pml4));
			flush(cpu);
			expect(lookUp(cpu, L.TLB_READ, 0x9000)).toBeUndefined();
			expect(readLinear(cpu, 0x9000n, 8, 0)).toBe(0x22n);
			writeLinear(cpu, 0x9000n, 8, 0n, 0);
			expect(cpu.read32(L.FAULT_ERROR_CODE)).toBe(3);
		}
	});
});
