/** load_pdptrs() (arch/x86/kvm/x86.c, v6.18). */
import { expect, it } from "vitest";
import { kvmSetCr0, kvmSetCr3, kvmSetCr4 } from "../../../src/kvm/emulate/control.ts";
import type { Vcpu } from "../../../src/kvm/vcpu.ts";
import { CR0, CR4 } from "../../../src/silicon/cpu/control.ts";
import { makeFakeVm } from "../support/fake-vm.ts";

const PDPT = 0x2000;
const UNPAGED = BigInt(CR0.PE);
const PAGED = UNPAGED | (1n << 31n);

/** A vCPU in protected mode without paging, what the vendor is given, and its four entries in memory. */
function guest(): { v: Vcpu; given: (readonly bigint[])[]; entry: (at: number, value: bigint) => void } {
	const { vm, vcpu: v } = makeFakeVm();
	const given: (readonly bigint[])[] = [];
	vm.ops.setPdptrs = (_v, entries) => given.push(entries);
	v.efer = 0n;
	v.cr0 = UNPAGED;
	v.cr3 = BigInt(PDPT);
	v.cr4 = 0n;
	const { memory } = vm;
	const entry = (at: number, value: bigint) => {
		memory.view.setBigUint64(memory.ramBase + vm.gpaToHpa(PDPT) + at * 8, value, true);
	};
	for (let at = 0; at < 4; at++) entry(at, BigInt(0x3000 + at * 0x1000) | 1n);
	return { v, given, entry };
}
const ENTRIES = [0x3001n, 0x4001n, 0x5001n, 0x6001n];

it("the PDPTEs are loaded when PAE paging begins, by CR0 or by CR4, and with CR3", () => {
	const { v, given } = guest();
	expect(kvmSetCr4(v, BigInt(CR4.PAE))).toBe(true);
	expect(given).toEqual([]);
	expect(kvmSetCr0(v, PAGED)).toBe(true);
	expect(given).toEqual([ENTRIES]);
	expect(kvmSetCr3(v, BigInt(PDPT))).toBe(true);
	expect(given).toHaveLength(2);
	expect(kvmSetCr4(v, BigInt(CR4.PAE | CR4.PGE))).toBe(true);
	expect(given).toHaveLength(3);
	// Neither CR0.TS nor CR4.TSD has to do with them.
	expect([kvmSetCr0(v, PAGED | BigInt(CR0.TS)), kvmSetCr4(v, BigInt(CR4.PAE | CR4.PGE | CR4.TSD))]).toEqual([
		true,
		true,
	]);
	expect(given).toHaveLength(3);
});

it("a present entry with reserved bits, or one outside of memory, is #GP(0), and nothing changes", () => {
	const { v, given, entry } = guest();
	kvmSetCr4(v, BigInt(CR4.PAE));
	entry(2, 0x5003n);
	expect([kvmSetCr0(v, PAGED), v.cr0]).toEqual([false, UNPAGED]);
	entry(2, 0x5002n);
	expect(kvmSetCr0(v, PAGED)).toBe(true);
	expect([kvmSetCr3(v, 0xffff_f000n), v.cr3]).toEqual([false, BigInt(PDPT)]);
	expect(given).toHaveLength(1);
});

it("32-bit paging and long mode have none", () => {
	const { v, given } = guest();
	expect(kvmSetCr0(v, PAGED)).toBe(true);
	v.efer = 0x500n;
	expect([kvmSetCr4(v, BigInt(CR4.PAE)), kvmSetCr3(v, BigInt(PDPT))]).toEqual([true, true]);
	expect(given).toEqual([]);
});
