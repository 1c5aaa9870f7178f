import { describe, expect, it } from "vitest";
import * as L from "../../../src/silicon/cpu/layout.ts";

const segment = (index: number) => L.SEG + index * L.SEG_BYTES;
const inside = (offset: number, bytes: number, from: number, to: number) =>
	offset >= from && offset + bytes <= to;

const BY_VMRUN_ALONE = [
	...[L.GDTR, L.IDTR, L.ES, L.CS, L.SS, L.DS].map((index) => [segment(index), L.SEG_BYTES] as const),
	...[L.RIP, L.RFLAGS, L.CR0, L.CR3, L.CR4, L.EFER, L.DR7, L.PAT].map((offset) => [offset, 8] as const),
	...[L.S_CET, L.SSP, L.INTERRUPT_SSP_TABLE].map((offset) => [offset, 8] as const),
];
/** APM Vol. 3, VMLOAD. The first seven have fields in the VMCS as well. */
const BY_VMLOAD = [
	...[L.FS, L.GS, L.LDTR, L.TR].map((index) => [segment(index), L.SEG_BYTES] as const),
	...[L.SYSENTER_CS, L.SYSENTER_ESP, L.SYSENTER_EIP].map((offset) => [offset, 8] as const),
	...[L.KERNEL_GS_BASE, L.STAR, L.LSTAR, L.CSTAR, L.SFMASK].map((offset) => [offset, 8] as const),
];

describe("the state block", () => {
	it("has what VMRUN moves in one run, and none of what VMLOAD moves in it", () => {
		for (const [offset, bytes] of BY_VMRUN_ALONE)
			expect(inside(offset, bytes, L.SWITCHED, L.VMLOADED)).toBe(true);
		for (const [offset] of BY_VMLOAD) expect(offset).toBeGreaterThanOrEqual(L.VMLOADED);
	});

	it("has what VMLOAD and VMSAVE move in one run, and nothing else in it", () => {
		for (const [offset, bytes] of BY_VMLOAD)
			expect(inside(offset, bytes, L.VMLOADED, L.VMLOADED_END)).toBe(true);
		const sum = BY_VMLOAD.reduce((total, [, bytes]) => total + bytes, 0);
		expect(sum).toBe(L.VMLOADED_END - L.VMLOADED);
	});

	it("has what VMX's entry and exit switch in one run, which ends before the MSRs that they leave alone", () => {
		for (const [offset, bytes] of [...BY_VMRUN_ALONE, ...BY_VMLOAD.slice(0, 7)])
			expect(inside(offset, bytes, L.SWITCHED, L.SWITCHED_END)).toBe(true);
		for (const offset of [L.KERNEL_GS_BASE, L.STAR, L.LSTAR, L.CSTAR, L.SFMASK])
			expect(offset).toBeGreaterThanOrEqual(L.SWITCHED_END);
	});

	it("has no two fields in one place", () => {
		const fields = [
			...BY_VMRUN_ALONE,
			...BY_VMLOAD,
			...[L.CC_OP, L.INTERRUPTIBILITY].map((offset) => [offset, 4] as const),
			...[L.CC_DST, L.CC_SRC, L.CC_SRC2, L.ACTIVITY, L.DEBUGCTL, L.PENDING_DBG].map(
				(offset) => [offset, 8] as const,
			),
			[L.PDPTE, 32] as const,
			...[L.TSC_AUX, L.CR2, L.CR8].map((offset) => [offset, 8] as const),
		].sort((a, b) => a[0] - b[0]);
		for (const [at, [offset]] of fields.slice(1).entries()) {
			expect(offset).toBeGreaterThanOrEqual(fields[at]![0] + fields[at]![1]);
		}
	});
});
