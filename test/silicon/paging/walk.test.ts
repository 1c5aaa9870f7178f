import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { CR0, CR4, EFER } from "../../../src/silicon/cpu/control.ts";
import type { Cpu } from "../../../src/silicon/cpu/cpu.ts";
import * as L from "../../../src/silicon/cpu/layout.ts";
import { FLAG } from "../../../src/silicon/cpu/rflags.ts";
import { PF } from "../../../src/silicon/paging/physical.ts";
import { IMPLICIT, loadPdptes, translate } from "../../../src/silicon/paging/walk.ts";
import { readLinear, writeLinear } from "../../../src/silicon/paging/access.ts";
import {
	AT,
	buildTables,
	freshCpu,
	longModeCpu,
	NX,
	P,
	peek64,
	poke64,
	PS,
	RW,
	step,
	takeFault,
	US,
} from "../machine-code.ts";

const VECTOR_PF = 14;

function entry(cpu: Cpu, page: number, value: bigint): void {
	poke64(cpu, AT.table + page * 8, value);
}

/** What SDM 5.6 says about a 4 KiB user or supervisor page, written as plainly as the manual does. */
function expectedFault(
	access: number,
	page: { rw: boolean; us: boolean; nx: boolean; key: number },
	mode: { wp: boolean; smep: boolean; smap: boolean; ac: boolean; pke: boolean; pkru: number },
): number | null {
	const user = (access & PF.user) !== 0;
	const write = (access & PF.write) !== 0;
	const fetch = (access & PF.fetch) !== 0;
	const implicit = (access & IMPLICIT) !== 0;
	let denied = false;
	if (user) {
		denied = !page.us || (write && !page.rw) || (fetch && page.nx);
	} else if (page.us) {
		if (fetch) denied = mode.smep || page.nx;
		else if (mode.smap && (implicit || !mode.ac)) denied = true;
		else denied = write && !page.rw && mode.wp;
	} else {
		denied = (fetch && page.nx) || (write && !page.rw && mode.wp);
	}
	let keyed = false;
	if (mode.pke && page.us && !fetch) {
		const disable = (mode.pkru >>> (2 * page.key)) & 3;
		keyed = (disable & 1) !== 0 || ((disable & 2) !== 0 && write && (user || mode.wp));
	}
	if (!denied && !keyed) return null;
	return PF.present | (access & (PF.write | PF.user | PF.fetch)) | (keyed ? PF.key : 0);
}

describe("4-level paging", () => {
	it("a walk that was made before is made again where anything that it depends on has changed", () => {
		const cpu = longModeCpu();
		const linear = AT.data;
		const page = AT.data >>> 12;
		const walk = (access: number) => {
			const hpa = translate(cpu, linear + 8, 0, access);
			if (hpa < 0) takeFault(cpu);
			return hpa;
		};
		const ways = [0, PF.write, PF.user, PF.fetch];
		const all = () => ways.map(walk);
		const there = AT.data + 8;
		expect([all(), all()]).toEqual([ways.map(() => there), ways.map(() => there)]);
		const away = ways.map(() => -1);
		for (const table of [AT.pml4, AT.pdpt, AT.directory]) {
			const old = peek64(cpu, table);
			poke64(cpu, table, old & ~P);
			expect(all()).toEqual(away);
			poke64(cpu, table, (old & ~RW) | NX);
			cpu.write32(L.EFER, cpu.read32(L.EFER) | EFER.NXE);
			cpu.write32(L.CR0, cpu.read32(L.CR0) | CR0.WP);
			expect(all()).toEqual([there, -1, there, -1]);
			poke64(cpu, table, old & ~US);
			expect(all()).toEqual([there, there, -1, there]);
			poke64(cpu, table, old);
			expect(all()).toEqual([there, there, there, there]);
		}
		entry(cpu, page, BigInt(AT.code) | P | RW | US);
		expect(walk(PF.write)).toBe(AT.code + 8);
		expect(peek64(cpu, AT.table + page * 8) & 0x60n).toBe(0x60n);
		entry(cpu, page, BigInt(AT.code) | P | US);
		cpu.write32(L.CR0, cpu.read32(L.CR0) & ~CR0.WP);
		expect(walk(PF.write)).toBe(AT.code + 8);
		cpu.write32(L.CR0, cpu.read32(L.CR0) | CR0.WP);
		expect(walk(PF.write)).toBe(-1);
		// Key 3 is refused by PKRU alone.
		entry(cpu, page, BigInt(AT.code) | P | RW | US | (3n << 59n));
		cpu.write32(L.CR4, cpu.read32(L.CR4) | CR4.PKE);
		expect(walk(PF.user)).toBe(AT.code + 8);
		cpu.write32(L.PKRU, 1 << 6);
		expect(walk(PF.user)).toBe(-1);
	});

	it("grants and refuses every access as SDM 5.6 says, with the exact error code", () => {
		const cpu = longModeCpu();
		const bool = fc.boolean();
		const access = fc.constantFrom(
			0,
			PF.write,
			PF.fetch,
			PF.user,
			PF.user | PF.write,
			PF.user | PF.fetch,
			IMPLICIT,
			IMPLICIT | PF.write,
		);
		const page = fc.record({ rw: bool, us: bool, nx: bool, key: fc.nat(15) });
		const mode = fc.record({ wp: bool, smep: bool, smap: bool, ac: bool, pke: bool, pkru: fc.integer() });
		fc.assert(
			fc.property(access, page, mode, (kind, rights, how) => {
				const value =
					0x9000n |
					P |
					(rights.rw ? RW : 0n) |
					(rights.us ? US : 0n) |
					(rights.nx ? NX : 0n) |
					(BigInt(rights.key) << 59n);
				entry(cpu, 9, value);
				cpu.write32(L.CR0, how.wp ? cpu.read32(L.CR0) | CR0.WP : cpu.read32(L.CR0) & ~CR0.WP);
				cpu.write32(
					L.CR4,
					CR4.PAE | (how.smep ? CR4.SMEP : 0) | (how.smap ? CR4.SMAP : 0) | (how.pke ? CR4.PKE : 0),
				);
				cpu.write32(L.RFLAGS, how.ac ? 2 | FLAG.AC : 2);
				cpu.write32(L.PKRU, how.pkru);
				const hpa = translate(cpu, 0x9123, 0, kind);
				const wanted = expectedFault(kind, rights, how);
				if (wanted === null) {
					expect(hpa).toBe(0x9123);
				} else {
					expect(takeFault(cpu)).toEqual({ vector: VECTOR_PF, errorCode: wanted });
					expect(cpu.read64(L.FAULT_LINEAR)).toBe(0x9123n);
				}
			}),
			{ seed: 1, numRuns: 2000 },
		);
	});

	it("takes the AND of R/W and U/S and the OR of NX over all levels", () => {
		for (const at of [AT.pml4, AT.pdpt, AT.directory, AT.table + 9 * 8]) {
			const cpu = longModeCpu();
			const whole = peek64(cpu, at);
			poke64(cpu, at, whole & ~US);
			expect(translate(cpu, 0x9000, 0, PF.user)).toBe(-1);
			takeFault(cpu);
			poke64(cpu, at, whole & ~RW);
			expect(translate(cpu, 0x9000, 0, PF.write)).toBe(-1);
			takeFault(cpu);
			poke64(cpu, at, whole | NX);
			expect(translate(cpu, 0x9000, 0, PF.fetch)).toBe(-1);
			expect(takeFault(cpu)).toEqual({ vector: VECTOR_PF, errorCode: PF.present | PF.fetch });
			expect(translate(cpu, 0x9000, 0, 0)).toBe(0x9000);
		}
	});

	it("maps 2 MiB and 1 GiB pages", () => {
		const cpu = longModeCpu();
		poke64(cpu, AT.directory + 8, 0x200000n | P | RW | PS);
		expect(translate(cpu, 0x2abcde, 0, 0)).toBe(0x2abcde);
		poke64(cpu, AT.pdpt + 8, P | RW | PS);
		expect(translate(cpu, 0x40123456, 0, 0)).toBe(0x123456);
	});

	it("sets accessed bits on every level, dirty on the leaf of a write only", () => {
		const cpu = longModeCpu();
		translate(cpu, 0x9000, 0, 0);
		for (const at of [AT.pml4, AT.pdpt, AT.directory]) expect(peek64(cpu, at) & 0x60n).toBe(0x20n);
		expect(peek64(cpu, AT.table + 9 * 8) & 0x60n).toBe(0x20n);
		translate(cpu, 0x9000, 0, PF.write);
		expect(peek64(cpu, AT.table + 9 * 8) & 0x60n).toBe(0x60n);
		expect(peek64(cpu, AT.directory) & 0x60n).toBe(0x20n);
	});

	it("faults with RSVD for address bits above the width, and for NX without EFER.NXE", () => {
		const cpu = longModeCpu();
		entry(cpu, 9, 0x9000n | P | (1n << 51n));
		if (cpu.model.features.physicalAddressBits < 52) {
			expect(translate(cpu, 0x9000, 0, PF.user)).toBe(-1);
			expect(takeFault(cpu)).toEqual({ vector: VECTOR_PF, errorCode: PF.present | PF.reserved | PF.user });
		}
		entry(cpu, 9, 0x9000n | P | NX);
		cpu.write32(L.EFER, cpu.read32(L.EFER) & ~EFER.NXE);
		translate(cpu, 0x9000, 0, 0);
		expect(takeFault(cpu)).toEqual({ vector: VECTOR_PF, errorCode: PF.present | PF.reserved });
	});

	it("reports a page that is not present without P", () => {
		const cpu = longModeCpu();
		entry(cpu, 9, 0n);
		translate(cpu, 0x9000, 0, PF.user | PF.write);
		expect(takeFault(cpu)).toEqual({ vector: VECTOR_PF, errorCode: PF.user | PF.write });
	});
});

describe("32-bit paging", () => {
	it("walks two levels, and maps 4 MiB pages with CR4.PSE", () => {
		const cpu = freshCpu();
		cpu.write64(L.CR0, 0x80010011n);
		cpu.write64(L.CR3, 0x1000n);
		cpu.write32(L.CR4, CR4.PSE);
		const { view, ramBase } = cpu.memory;
		view.setUint32(ramBase + 0x1000, 0x2007, true);
		view.setUint32(ramBase + 0x1004, 0x87, true);
		view.setUint32(ramBase + 0x2000 + 5 * 4, 0x9007, true);
		expect(translate(cpu, 0x5abc, 0, PF.user | PF.write)).toBe(0x9abc);
		expect(translate(cpu, 0x400123, 0, 0)).toBe(0x123);
		expect(view.getUint32(ramBase + 0x2000 + 5 * 4, true) & 0x60).toBe(0x60);
	});

	it("a #GP for a reserved bit leaves all four PDPTEs as they were (SDM 5.4.1)", () => {
		const cpu = freshCpu();
		cpu.write64(L.CR3, 0x1000n);
		for (let n = 0; n < 4; n++) poke64(cpu, 0x1000 + n * 8, n === 3 ? 0x5003n : 0x5001n);
		expect(loadPdptes(cpu)).toEqual({ vector: 13, errorCode: 0 });
		expect([0, 1, 2, 3].map((n) => cpu.read64(L.PDPTE + n * 8))).toEqual([0n, 0n, 0n, 0n]);
		poke64(cpu, 0x1018, 0x5001n);
		expect(loadPdptes(cpu)).toBeNull();
		expect(cpu.read64(L.PDPTE + 24)).toBe(0x5001n);
	});

	it("a MOV to CR0 or CR4 that finds such PDPTEs is #GP(0) and leaves the register; done again, it loads them", () => {
		for (const [register, opcode, added] of [
			[L.CR0, 0xc0, 1n << 31n],
			[L.CR4, 0xe0, BigInt(CR4.PGE)],
		] as const) {
			const cpu = freshCpu();
			cpu.write64(L.CR0, register === L.CR0 ? 0x11n : 0x80000011n);
			cpu.write32(L.CR4, CR4.PAE);
			cpu.write64(L.CR3, 0x1000n);
			const old = cpu.read64(register);
			const wanted = old | added;
			cpu.setGpr(L.RAX, wanted);
			poke64(cpu, 0x1000, 0x5003n);
			step(cpu, [0x0f, 0x22, opcode], 32);
			expect(takeFault(cpu)).toEqual({ vector: 13, errorCode: 0 });
			expect(cpu.read64(register)).toBe(old);
			poke64(cpu, 0x1000, 0x5001n);
			step(cpu, [0x0f, 0x22, opcode], 32);
			expect(takeFault(cpu)).toBeNull();
			expect([cpu.read64(register), cpu.read64(L.PDPTE)]).toEqual([wanted, 0x5001n]);
		}
	});

	it("without paging linear addresses are physical", () => {
		const cpu = freshCpu();
		expect(translate(cpu, 0x12345, 0, PF.write)).toBe(0x12345);
	});
});

describe("linear accesses", () => {
	it("join two pages that lie apart in memory", () => {
		const cpu = longModeCpu();
		entry(cpu, 9, 0x60000n | P | RW);
		entry(cpu, 10, 0x70000n | P | RW);
		fc.assert(
			fc.property(fc.bigInt(0n, (1n << 64n) - 1n), fc.integer({ min: 0, max: 7 }), (value, before) => {
				const linear = 0xa000n - BigInt(before);
				writeLinear(cpu, linear, 8, value, 0);
				expect(readLinear(cpu, linear, 8, 0)).toBe(value);
				if (before > 0)
					expect(Number(value & 0xffn)).toBe(cpu.memory.u8[cpu.memory.ramBase + 0x61000 - before]);
			}),
			{ seed: 2, numRuns: 200 },
		);
	});

	it("write nothing when the second page refuses", () => {
		const cpu = longModeCpu();
		entry(cpu, 10, 0xa000n | P);
		writeLinear(cpu, 0x9ffcn, 8, -1n, 0);
		expect(takeFault(cpu)).toEqual({ vector: VECTOR_PF, errorCode: PF.present | PF.write });
		expect(cpu.read64(L.FAULT_LINEAR)).toBe(0xa000n);
		expect(peek64(cpu, 0x9ff8)).toBe(0n);
	});

	it("raise #GP(0) for non-canonical addresses", () => {
		const cpu = longModeCpu();
		readLinear(cpu, 0x8000_0000_0000n, 8, 0);
		expect(takeFault(cpu)).toEqual({ vector: 13, errorCode: 0 });
	});

	it("read all ones behind the end of RAM", () => {
		const cpu = longModeCpu();
		buildTables(cpu);
		entry(cpu, 9, 0x7000_0000n | P | RW);
		expect(readLinear(cpu, 0x9000n, 4, 0)).toBe(0xffffffffn);
		expect(takeFault(cpu)).toBeNull();
	});
});
