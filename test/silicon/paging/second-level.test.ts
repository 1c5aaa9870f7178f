import { describe, expect, it } from "vitest";
import { CR0, CR4 } from "../../../src/silicon/cpu/control.ts";
import type { Cpu } from "../../../src/silicon/cpu/cpu.ts";
import * as L from "../../../src/silicon/cpu/layout.ts";
import { setSegment } from "../../../src/silicon/cpu/segments.ts";
import { PF } from "../../../src/silicon/paging/physical.ts";
import { EPT_MISCONFIGURATION, EPT_VIOLATION } from "../../../src/silicon/paging/second-level.ts";
import { loadPdptes, translate } from "../../../src/silicon/paging/walk.ts";
import { OUTCOME } from "../../../src/silicon/translate/services.ts";
import { turin } from "../../../src/silicon/models/turin.ts";
import { emeraldRapids } from "../../../src/silicon/models/emerald-rapids.ts";
import { AT, hypervisor, longModeCpu, peek64, poke64, step, takeFault } from "../machine-code.ts";

const ROOT = 0x100000;

/** A guest in long mode whose physical memory is `kind`-mapped one to one, in 4 KiB pages. */
function guestCpu(kind: "ept" | "npt"): Cpu {
	const cpu = longModeCpu(kind === "ept" ? emeraldRapids : turin);
	const all = 7n;
	for (let level = 0; level < 3; level++)
		poke64(cpu, ROOT + level * 4096, BigInt(ROOT + (level + 1) * 4096) | all);
	for (let page = 0; page < 256; page++) poke64(cpu, leaf(page), BigInt(page * 4096) | all);
	cpu.guest = hypervisor({ secondLevel: { kind, root: ROOT } });
	return cpu;
}

const leaf = (page: number) => ROOT + 3 * 4096 + page * 8;
const qualification = (cpu: Cpu) => cpu.read64(L.FAULT_QUALIFICATION);

describe("EPT", () => {
	it("translates the page and the guest's own tables", () => {
		const cpu = guestCpu("ept");
		poke64(cpu, leaf(9), 0xb0000n | 7n);
		expect(translate(cpu, 0x9123, 0, PF.write)).toBe(0xb0123);
	});

	it("qualifies a violation by access, rights and kind (SDM table 28-7)", () => {
		const final = EPT_VIOLATION.linearValid | EPT_VIOLATION.finalTranslation;
		const cases: readonly (readonly [bigint, number, number])[] = [
			[0n, 0, EPT_VIOLATION.read | final],
			[1n, PF.write, EPT_VIOLATION.write | EPT_VIOLATION.readable | final],
			[3n, PF.fetch, EPT_VIOLATION.fetch | EPT_VIOLATION.readable | EPT_VIOLATION.writable | final],
			[4n, 0, EPT_VIOLATION.read | EPT_VIOLATION.executable | final],
		];
		for (const [rights, access, wanted] of cases) {
			const cpu = guestCpu("ept");
			poke64(cpu, leaf(9), 0x9000n | rights);
			expect(translate(cpu, 0x9123, 0, access)).toBe(-1);
			expect(takeFault(cpu)).toBe("second level");
			expect(qualification(cpu)).toBe(BigInt(wanted));
			expect(cpu.read64(L.FAULT_GPA)).toBe(0x9123n);
			expect(cpu.read64(L.FAULT_LINEAR)).toBe(0x9123n);
		}
	});

	it("says so when the violation hit the guest's page tables, on reads and on accessed-bit updates", () => {
		const missing = guestCpu("ept");
		poke64(missing, leaf(AT.pdpt >> 12), 0n);
		translate(missing, 0x9123, 0, PF.write);
		expect(qualification(missing)).toBe(BigInt(EPT_VIOLATION.read | EPT_VIOLATION.linearValid));
		expect(missing.read64(L.FAULT_GPA)).toBe(BigInt(AT.pdpt));

		const readOnly = guestCpu("ept");
		poke64(readOnly, leaf(AT.pdpt >> 12), BigInt(AT.pdpt) | 5n);
		translate(readOnly, 0x9123, 0, 0);
		expect(qualification(readOnly) & 0x107n).toBe(BigInt(EPT_VIOLATION.write));
	});

	it("tells a misconfiguration (writable, not readable) from a violation", () => {
		const cpu = guestCpu("ept");
		poke64(cpu, leaf(9), 0x9000n | 6n);
		translate(cpu, 0x9000, 0, 0);
		expect(qualification(cpu)).toBe(EPT_MISCONFIGURATION);
	});

	it("maps 2 MiB pages", () => {
		const cpu = guestCpu("ept");
		poke64(cpu, ROOT + 2 * 4096, 0x200000n | 7n | 0x80n);
		// The guest's own tables moved along: they are read from the second 2 MiB now.
		for (const at of [AT.pml4, AT.pdpt, AT.directory, AT.table + 9 * 8])
			poke64(cpu, 0x200000 + at, peek64(cpu, at));
		expect(translate(cpu, 0x9123, 0, 0)).toBe(0x209123);
	});

	it("a guest's own page fault stays an exception", () => {
		const cpu = guestCpu("ept");
		poke64(cpu, AT.table + 9 * 8, 0n);
		translate(cpu, 0x9000, 0, 0);
		expect(takeFault(cpu)).toEqual({ vector: 14, errorCode: 0 });
	});
});

describe("nested paging", () => {
	it("gives the error code of APM 15.25.6", () => {
		const final = 1n << 32n;
		const cases: readonly (readonly [bigint, number, bigint])[] = [
			[0n, 0, 4n | final],
			[0n, PF.write, 6n | final],
			[5n, PF.write, 7n | final],
			[7n | (1n << 63n), PF.fetch, 0x15n | final],
			[3n, 0, 5n | final],
		];
		for (const [rights, access, wanted] of cases) {
			const cpu = guestCpu("npt");
			poke64(cpu, leaf(9), 0x9000n | rights);
			translate(cpu, 0x9123, 0, access);
			expect(takeFault(cpu)).toBe("second level");
			expect(qualification(cpu)).toBe(wanted);
			expect(cpu.read64(L.FAULT_GPA)).toBe(0x9123n);
		}
	});

	it("treats walks of the guest's tables as writes and marks them", () => {
		const cpu = guestCpu("npt");
		poke64(cpu, leaf(AT.pdpt >> 12), BigInt(AT.pdpt) | 5n);
		translate(cpu, 0x9123, 0, 0);
		expect(qualification(cpu)).toBe(7n | (1n << 33n));
	});

	it("sets accessed and dirty bits in the nested tables", () => {
		const cpu = guestCpu("npt");
		translate(cpu, 0x9000, 0, PF.write);
		expect(peek64(cpu, leaf(9)) & 0x60n).toBe(0x60n);
		expect(peek64(cpu, ROOT) & 0x60n).toBe(0x20n);
	});
});

describe("the PDPTEs of PAE paging", () => {
	const PDPT = 0x60;
	/** A guest with PAE paging, whose PDPTEs lie at 60H: the first leads to the tables of long mode. */
	function paeGuest(kind: "ept" | "npt"): Cpu {
		const cpu = guestCpu(kind);
		cpu.write32(L.EFER, 0);
		cpu.write32(L.CR4, CR4.PAE);
		cpu.write64(L.CR3, BigInt(PDPT));
		for (let at = 0; at < 4; at++) poke64(cpu, PDPT + at * 8, at === 0 ? BigInt(AT.directory) | 1n : 0n);
		return cpu;
	}

	it("are registers, loaded by MOV to CR3, with EPT; with nested paging each walk reads them (APM Vol. 2, 15.25.10)", () => {
		for (const kind of ["ept", "npt"] as const) {
			const cpu = paeGuest(kind);
			expect(loadPdptes(cpu)).toBeNull();
			expect(translate(cpu, 0x9123, 0, 0)).toBe(0x9123);
			poke64(cpu, PDPT, 0n);
			expect(translate(cpu, 0xa123, 0, 0)).toBe(kind === "ept" ? 0xa123 : -1);
			if (kind === "npt") expect(takeFault(cpu)).toEqual({ vector: 14, errorCode: 0 });
		}
	});

	it("are loaded again by a change of CR0.CD and the like, not of CR0.TS (SDM Vol. 3A, 5.4.1)", () => {
		const MOV_CR0_EAX = [0x0f, 0x22, 0xc0];
		for (const [bit, loads] of [
			[CR0.TS, false],
			[CR0.CD, true],
		] as const) {
			const cpu = paeGuest("ept");
			setSegment(cpu, L.CS, 8, 0n, 0xffffffff, 0xc09b);
			expect(loadPdptes(cpu)).toBeNull();
			poke64(cpu, PDPT, BigInt(AT.directory) | 3n);
			cpu.setGpr(L.RAX, cpu.read64(L.CR0) | BigInt(bit));
			expect(step(cpu, MOV_CR0_EAX, 32)).toBe(loads ? OUTCOME.fault : OUTCOME.jumped);
		}
	});

	it("with reserved bits are #GP where they are loaded, a page fault where they are read", () => {
		for (const bits of [2n, 1n << 8n, 1n << 62n]) {
			const ept = paeGuest("ept");
			poke64(ept, PDPT + 24, bits | 1n);
			expect(loadPdptes(ept)).toEqual({ vector: 13, errorCode: 0 });
			const npt = paeGuest("npt");
			poke64(npt, PDPT, BigInt(AT.directory) | bits | 1n);
			expect(translate(npt, 0x9123, 0, 0)).toBe(-1);
			expect(takeFault(npt)).toEqual({ vector: 14, errorCode: 9 });
		}
	});
});
