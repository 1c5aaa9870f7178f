import { expect, test } from "vitest";
import {
	dropJumpsTo,
	fillJumpEntry,
	flushJumpCache,
	jumpEntry,
} from "../../../src/silicon/cpu/jump-cache.ts";
import * as L from "../../../src/silicon/cpu/layout.ts";
import { freshCpu } from "../machine-code.ts";

const HIGH = 0xffff8000;

/** A processor whose caches have entries for some RIPs of one high half, and which of them are there still. */
function cacheOf(rips: readonly number[], bank = 0) {
	const cpu = freshCpu();
	flushJumpCache(cpu);
	for (const rip of rips) fillJumpEntry(cpu, bank, jumpEntry(cpu, bank, rip), rip, HIGH, 7);
	const left = () =>
		rips.filter((rip) => {
			const entry = jumpEntry(cpu, bank, rip);
			return cpu.u32[entry] === rip && cpu.u32[entry + 1] === HIGH;
		});
	return { cpu, left };
}

test.each([0, L.USER_BANK])(
	"INVLPG drops the code of its page, and instructions that run into it (bank %i)",
	(bank) => {
		const rips = [0x4fe0, 0x4ff1, 0x4ff2, 0x4fff, 0x5000, 0x5ffe, 0x6001];
		const { cpu, left } = cacheOf(rips, bank);
		dropJumpsTo(cpu, 0x5678, HIGH, 12);
		expect(left()).toEqual([0x4fe0, 0x4ff1, 0x6001]);
	},
);

test("code at the same low half of another address stays", () => {
	const { cpu, left } = cacheOf([0x5000]);
	dropJumpsTo(cpu, 0x5000, HIGH + 1, 12);
	expect(left()).toEqual([0x5000]);
});

test("an instruction may run into a page from below 4 GiB", () => {
	const { cpu, left } = cacheOf([0xfffffff8, 0xfffff000]);
	dropJumpsTo(cpu, 0, HIGH + 1, 12);
	expect(left()).toEqual([0xfffff000]);
});

test("a large page takes its code along, and no other", () => {
	const { cpu, left } = cacheOf([0x3fffff00, 0x40000000, 0x7ffff000, 0x80000000]);
	dropJumpsTo(cpu, 0x40012345, HIGH, 30);
	expect(left()).toEqual([0x3fffff00, 0x80000000]);
});

test("what was dropped and is filled again is emptied with the rest", () => {
	const { cpu, left } = cacheOf([0, 0x5000]);
	for (let round = 0; round < 3; round++) {
		dropJumpsTo(cpu, 0x5000, HIGH, 12);
		dropJumpsTo(cpu, 0, HIGH, 12);
		expect(left()).toEqual([]);
		for (const rip of [0, 0x5000]) fillJumpEntry(cpu, 0, jumpEntry(cpu, 0, rip), rip, HIGH, 7);
		expect(left()).toEqual([0, 0x5000]);
	}
	flushJumpCache(cpu);
	expect(left()).toEqual([]);
});

test("two places that take turns in one entry leave the others to INVLPG as they are", () => {
	const { cpu, left } = cacheOf([0x7000]);
	const [one, other] = [0x5000, 0x100_5000];
	expect(jumpEntry(cpu, 0, one)).toBe(jumpEntry(cpu, 0, other));
	for (let turn = 0; turn < 5000; turn++) {
		const rip = turn % 2 === 0 ? one : other;
		fillJumpEntry(cpu, 0, jumpEntry(cpu, 0, rip), rip, HIGH, 7);
	}
	dropJumpsTo(cpu, other, HIGH, 12);
	expect(left()).toEqual([0x7000]);
	expect(cpu.jumpFilled[0].length).toBe(1);
});
