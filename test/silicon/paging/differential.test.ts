/** Walks of random tables against a second walker, written here from the manual's text alone. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { CR0, CR4, EFER } from "../../../src/silicon/cpu/control.ts";
import type { Cpu } from "../../../src/silicon/cpu/cpu.ts";
import * as L from "../../../src/silicon/cpu/layout.ts";
import { FLAG } from "../../../src/silicon/cpu/rflags.ts";
import { emeraldRapids } from "../../../src/silicon/models/emerald-rapids.ts";
import { turin } from "../../../src/silicon/models/turin.ts";
import { EPT_MISCONFIGURATION } from "../../../src/silicon/paging/second-level.ts";
import { flushTlb } from "../../../src/silicon/paging/tlb.ts";
import { translate } from "../../../src/silicon/paging/walk.ts";
import { AT, hypervisor, longModeCpu, peek64, poke64, takeFault } from "../machine-code.ts";

const ROOT = 0x100000;
const DATA = 0x50;
const LINEAR = 0x9abcn;
/** Pages whose second-level rights are drawn: the four tables and the data page. */
const PML5 = 0x5000;
const DRAWN = [AT.pml4 >> 12, AT.pdpt >> 12, AT.directory >> 12, AT.table >> 12, DATA, PML5 >> 12];

type Kind = "none" | "ept" | "npt";
type Result = { hpa: number } | { pf: number } | { second: bigint; gpa: bigint };

interface Case {
	readonly kind: Kind;
	readonly write: boolean;
	readonly user: boolean;
	readonly fetch: boolean;
	readonly levels: 4 | 5;
	/** Flags of the entries of levels 5 to 1. */
	readonly entries: readonly {
		p: boolean;
		rw: boolean;
		us: boolean;
		nx: boolean;
		ad: boolean;
		reserved: boolean;
	}[];
	readonly large: 0 | 2 | 3;
	readonly key: number;
	readonly pkru: number;
	readonly wp: boolean;
	readonly smep: boolean;
	readonly smap: boolean;
	readonly ac: boolean;
	readonly pke: boolean;
	readonly pks: boolean;
	readonly pkrs: number;
	readonly nxe: boolean;
	/** Rights of DRAWN in the second level. */
	readonly rights: readonly number[];
	readonly track: boolean;
}

/** Mostly true, so that walks often go all the way. */
const likely = fc.integer({ min: 0, max: 11 }).map((n) => n !== 0);
const rarely = likely.map((yes) => !yes);
const flip = fc.boolean();
const cases: fc.Arbitrary<Case> = fc.record({
	kind: fc.constantFrom<Kind>("none", "ept", "npt"),
	write: flip,
	user: flip,
	fetch: flip,
	entries: fc.array(
		fc.record({ p: likely, rw: likely, us: likely, nx: rarely, ad: flip, reserved: rarely }),
		{ minLength: 5, maxLength: 5 },
	),
	levels: fc.constantFrom(4 as const, 5 as const),
	large: fc.constantFrom(0 as const, 0 as const, 2 as const, 3 as const),
	key: fc.nat(15),
	pkru: fc.integer(),
	wp: flip,
	smep: flip,
	smap: flip,
	ac: flip,
	pke: flip,
	pks: flip,
	pkrs: fc.integer(),
	nxe: likely,
	rights: fc.array(fc.constantFrom(7, 7, 7, 7, 5, 3, 1, 0, 4, 2), { minLength: 6, maxLength: 6 }),
	track: flip,
});

/** Byte address of each level's entry, by level. */
const entryAt = [0, AT.table + 9 * 8, AT.directory, AT.pdpt, AT.pml4, PML5];

function entryValue(c: Case, level: number): bigint {
	const e = c.entries[5 - level]!;
	const leaf = level === (c.large === 0 ? 1 : c.large);
	const next =
		level === 5
			? AT.pml4
			: level === 4
				? AT.pdpt
				: level === 3
					? AT.directory
					: level === 2
						? AT.table
						: DATA << 12;
	let value = leaf && level > 1 ? 0x80n : BigInt(next);
	if (e.reserved && level >= 4) value |= 0x80n;
	if (e.reserved && leaf && level > 1) value |= 0x2000n;
	value |=
		(e.p ? 1n : 0n) | (e.rw ? 2n : 0n) | (e.us ? 4n : 0n) | (e.nx ? 1n << 63n : 0n) | (e.ad ? 0x60n : 0n);
	return leaf ? value | (BigInt(c.key) << 59n) : value;
}

function build(cpu: Cpu, c: Case): void {
	for (let level = 1; level <= 5; level++) poke64(cpu, entryAt[level]!, entryValue(c, level));
	for (let level = 0; level < 3; level++)
		poke64(cpu, ROOT + level * 4096, BigInt(ROOT + (level + 1) * 4096) | 7n);
	for (let page = 0; page < 512; page++) poke64(cpu, ROOT + 3 * 4096 + page * 8, BigInt(page << 12) | 7n);
	for (const [n, page] of DRAWN.entries())
		poke64(cpu, ROOT + 3 * 4096 + page * 8, BigInt(page << 12) | BigInt(c.rights[n]!));
	cpu.write32(L.CR0, (cpu.read32(L.CR0) & ~CR0.WP) | (c.wp ? CR0.WP : 0));
	cpu.write32(L.CR4, CR4.PAE | (c.smep ? CR4.SMEP : 0) | (c.smap ? CR4.SMAP : 0) | (c.pke ? CR4.PKE : 0));
	if (c.pks) cpu.write32(L.CR4, cpu.read32(L.CR4) | CR4.PKS);
	if (c.levels === 5) cpu.write32(L.CR4, cpu.read32(L.CR4) | CR4.LA57);
	cpu.write64(L.CR3, BigInt(c.levels === 5 ? PML5 : AT.pml4));
	cpu.write32(L.PKRS, c.pkrs);
	flushTlb(cpu);
	cpu.write32(L.EFER, EFER.LME | EFER.LMA | (c.nxe ? EFER.NXE : 0));
	cpu.write32(L.RFLAGS, c.ac ? 2 | FLAG.AC : 2);
	cpu.write32(L.PKRU, c.pkru);
	const root = c.kind === "ept" && c.track ? ROOT + 0x40 : ROOT;
	cpu.guest = c.kind === "none" ? null : hypervisor({ secondLevel: { kind: c.kind, root } });
}

/** The second level for one access: SDM 29.3.2-29.3.3, APM Vol. 2, 15.25. null: passes. */
function secondLevel(
	c: Case,
	gpa: number,
	access: { write: boolean; fetch: boolean },
	walk: boolean,
): Result | null {
	if (c.kind === "none") return null;
	const drawn = DRAWN.indexOf(gpa >> 12);
	const rights = drawn < 0 ? 7 : c.rights[drawn]!;
	if (c.kind === "ept") {
		if ((rights & 3) === 2) return { second: EPT_MISCONFIGURATION, gpa: BigInt(gpa) };
		let need = access.write ? 2 : access.fetch ? 4 : 1;
		if (walk && c.track) need |= 3;
		if ((rights & need) === need) return null;
		return { second: BigInt(need | (rights << 3) | 0x80 | (walk ? 0 : 0x100)), gpa: BigInt(gpa) };
	}
	// Nested tables: P, R/W, U/S; every access is a user's, and a table walk is a write.
	const write = walk || access.write;
	const present = (rights & 1) !== 0;
	if (present && (rights & 4) !== 0 && (!write || (rights & 2) !== 0)) return null;
	const fetch = !walk && access.fetch;
	const code = 4 | (present ? 1 : 0) | (write ? 2 : 0) | (fetch ? 16 : 0);
	return { second: BigInt(code) | (walk ? 1n << 33n : 1n << 32n), gpa: BigInt(gpa) };
}

function reference(c: Case): Result {
	const fetch = c.fetch && !c.write;
	const pf = (bits: number): Result => ({
		pf: bits | (c.write ? 2 : 0) | (c.user ? 4 : 0) | (fetch && (c.nxe || c.smep) ? 16 : 0),
	});
	const leaf = c.large === 0 ? 1 : c.large;
	for (let level: number = c.levels; level >= leaf; level--) {
		const failed = secondLevel(c, entryAt[level]!, { write: false, fetch: false }, true);
		if (failed !== null) return failed;
		const e = c.entries[5 - level]!;
		if (!e.p) return pf(0);
		const reserved = (e.nx && !c.nxe) || (e.reserved && (level >= 4 || (level === leaf && level > 1)));
		if (reserved) return pf(9);
	}
	const used = c.entries.slice(5 - c.levels, 6 - leaf);
	const userPage = used.every((e) => e.us);
	const writable = used.every((e) => e.rw);
	const executable = used.every((e) => !e.nx);
	// SDM Vol. 3A, 5.6.1.
	let allowed: boolean;
	if (!c.user) {
		if (fetch) allowed = executable && !(userPage && c.smep);
		else allowed = !(userPage && c.smap && !c.ac) && (!c.write || writable || !c.wp);
	} else if (!userPage) allowed = false;
	else allowed = fetch ? executable : !c.write || writable;
	// SDM Vol. 3A, 5.6.2.
	const keys = userPage ? c.pkru : c.pkrs;
	const [ad, wd] = [(keys >>> (2 * c.key)) & 1, (keys >>> (2 * c.key + 1)) & 1];
	const applies = !fetch && (userPage ? c.pke : c.pks && !c.user);
	const keyed = applies && (ad === 1 || (wd === 1 && c.write && (c.user || c.wp)));
	if (!allowed || keyed) return pf(1 | (keyed ? 32 : 0));
	const gpa = leaf === 1 ? (DATA << 12) | 0xabc : Number(LINEAR);
	const failed = secondLevel(c, gpa, { write: c.write, fetch }, false);
	if (failed !== null) return failed;
	for (let level: number = c.levels; level >= leaf; level--) {
		if (c.entries[5 - level]!.ad) continue;
		const refused = secondLevel(c, entryAt[level]!, { write: true, fetch: false }, true);
		if (refused !== null) return refused;
	}
	return { hpa: gpa };
}

function actual(cpu: Cpu, c: Case): Result {
	const access = (c.write ? 2 : 0) | (c.user ? 4 : 0) | (c.fetch && !c.write ? 16 : 0);
	const hpa = translate(cpu, Number(LINEAR), 0, access);
	if (hpa >= 0) return { hpa };
	const fault = takeFault(cpu);
	if (fault === "second level")
		return { second: cpu.read64(L.FAULT_QUALIFICATION), gpa: cpu.read64(L.FAULT_GPA) };
	expect(fault).toMatchObject({ vector: 14 });
	expect(cpu.read64(L.FAULT_LINEAR)).toBe(LINEAR);
	return { pf: (fault as { errorCode: number }).errorCode };
}

describe("4-level and 5-level walks, with protection keys, alone and under EPT and nested paging", () => {
	it("agree with the reference on result, error code, exit qualification and accessed and dirty bits", () => {
		const intel = longModeCpu(emeraldRapids);
		const amd = longModeCpu(turin);
		const seen = { hpa: 0, pf: 0, second: 0 };
		fc.assert(
			fc.property(cases, (c) => {
				const cpu = c.kind === "npt" ? amd : intel;
				build(cpu, c);
				const wanted = reference(c);
				expect(actual(cpu, c)).toEqual(wanted);
				seen[Object.keys(wanted)[0] as keyof typeof seen]++;
				const leaf = c.large === 0 ? 1 : c.large;
				for (let level: number = c.levels; level >= 1; level--) {
					const before = entryValue(c, level);
					const after = peek64(cpu, entryAt[level]!);
					if ("hpa" in wanted && level >= leaf) {
						expect(after).toBe(before | 0x20n | (c.write && level === leaf ? 0x40n : 0n));
					} else {
						// Of a walk that failed at most accessed bits are left, above where it failed.
						expect(after & ~0x20n).toBe(before & ~0x20n);
						if (level < leaf || !("second" in wanted)) expect(after).toBe(before);
					}
				}
			}),
			{ seed: 5, numRuns: 4000 },
		);
		expect(Math.min(seen.hpa, seen.pf, seen.second)).toBeGreaterThan(300);
	});
});
