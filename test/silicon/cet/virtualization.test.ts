/** CET in guests: state that VM entry and VMRUN switch, events, and the second level (SDM Vol. 3C, 27 and 28; APM Vol. 2, 15). */
import { describe, expect, it } from "vitest";
import { CET, CP } from "../../../src/silicon/cpu/cet.ts";
import { CR0, CR4 } from "../../../src/silicon/cpu/control.ts";
import type { Cpu } from "../../../src/silicon/cpu/cpu.ts";
import { VECTOR } from "../../../src/silicon/cpu/fault.ts";
import * as L from "../../../src/silicon/cpu/layout.ts";
import { EXIT_CODE } from "../../../src/silicon/svm/exit-codes.ts";
import { ENTRY_CONTROL, EXIT_CONTROL, EXIT_REASON } from "../../../src/silicon/vmx/controls.ts";
import { adjust, field, mapPage, program, svmExit, svmGuest, vmxExit, vmxGuest } from "../guest-machine.ts";
import { AT, peek64 } from "../machine-code.ts";
import { call, CODE, mapShadow, poke, SHADOW } from "./cet-machine.ts";

const TOP = SHADOW.kernel + 0xff8;
const STATE = [L.S_CET, L.SSP, L.INTERRUPT_SSP_TABLE] as const;
const stateOf = (cpu: Cpu) => STATE.map((at) => cpu.read64(at));
const GUEST = [BigInt(CET.SH_STK_EN), BigInt(TOP), 0x5000n] as const;

function vmx() {
	const guest = vmxGuest();
	const { cpu, control } = guest;
	mapShadow(cpu, SHADOW.kernel, 0n);
	adjust(control, "GUEST_CR4", CR4.CET);
	adjust(control, "VM_ENTRY_CONTROLS", ENTRY_CONTROL.loadCetState);
	adjust(control, "VM_EXIT_CONTROLS", EXIT_CONTROL.loadCetState);
	for (const [at, name] of (["GUEST_S_CET", "GUEST_SSP", "GUEST_INTR_SSP_TABLE"] as const).entries())
		control.set(name, GUEST[at]!);
	return guest;
}

function svm() {
	const guest = svmGuest();
	const { cpu, control } = guest;
	mapShadow(cpu, SHADOW.kernel, 0n);
	control.cr4 |= BigInt(CR4.CET);
	for (const [at, offset] of STATE.entries()) control.writeState(offset, GUEST[at]!);
	return guest;
}

describe("VM entry and VM exit", () => {
	it("load the guest's S_CET, SSP and SSP table, save them, and load the host's", () => {
		const guest = vmx();
		const { cpu, control } = guest;
		control.set("HOST_SSP", 0x7000n);
		program(cpu, call(AT.code, AT.code + 0x100));
		poke(cpu, AT.code + 0x100, CODE.rdsspqRax, CODE.hlt);
		expect(vmxExit(guest).reason).toBe(EXIT_REASON.hlt);
		expect(Number(cpu.gpr(L.RAX))).toBe(TOP - 8);
		expect(control.get("GUEST_SSP")).toBe(BigInt(TOP - 8));
		expect(stateOf(cpu)).toEqual([0n, 0x7000n, 0n]);
	});

	it("leave the processor's alone without the controls; the exit saves the guest's all the same", () => {
		const guest = vmx();
		const { cpu, control } = guest;
		adjust(control, "VM_ENTRY_CONTROLS", 0, ENTRY_CONTROL.loadCetState);
		adjust(control, "VM_EXIT_CONTROLS", 0, EXIT_CONTROL.loadCetState);
		for (const [at, offset] of STATE.entries()) cpu.write64(offset, GUEST[at]!);
		control.set("GUEST_SSP", 0n);
		program(cpu, CODE.rdsspqRax);
		vmxExit(guest);
		expect(Number(cpu.gpr(L.RAX))).toBe(TOP);
		expect(control.get("GUEST_SSP")).toBe(BigInt(TOP));
		expect(stateOf(cpu)).toEqual(GUEST);
	});

	it("an injected event leaves its frame on the guest's shadow stack", () => {
		const guest = vmx();
		const { cpu, control } = guest;
		control.set("VM_ENTRY_INTR_INFO_FIELD", 0x8000_0b15);
		control.set("VM_ENTRY_EXCEPTION_ERROR_CODE", 1);
		vmxExit(guest);
		expect(field(control, "GUEST_SSP")).toBe(TOP - 24);
		expect([0, 8, 16].map((at) => Number(peek64(cpu, TOP - 24 + at)))).toEqual([TOP, AT.code, 8]);
	});

	it("#CP exits by the exception bitmap, with its error code", () => {
		const guest = vmx();
		const { cpu, control } = guest;
		control.set("EXCEPTION_BITMAP", 1 << VECTOR.CP);
		program(cpu, call(AT.code, AT.code + 0x100));
		poke(cpu, AT.code + 0x100, [0x48, 0xff, 0x04, 0x24], CODE.ret);
		expect(vmxExit(guest).reason).toBe(EXIT_REASON.exceptionOrNmi);
		expect(field(control, "VM_EXIT_INTR_INFO") & 0xff).toBe(VECTOR.CP);
		expect(field(control, "VM_EXIT_INTR_ERROR_CODE")).toBe(CP.nearRet);
	});

	it("a push to a shadow stack that EPT makes read-only is an EPT violation by a write, and goes on when it is mended", () => {
		const guest = vmx();
		const { cpu, control } = guest;
		mapPage(cpu, SHADOW.kernel >> 12, BigInt(SHADOW.kernel) | 0x35n);
		program(cpu, call(AT.code, AT.code + 0x100));
		poke(cpu, AT.code + 0x100, CODE.hlt);
		const exit = vmxExit(guest);
		expect(exit.reason).toBe(EXIT_REASON.eptViolation);
		expect(exit.qualification & 0x1bfn).toBe(0x1aan);
		expect(field(control, "GUEST_SSP")).toBe(TOP);
		expect(field(control, "GUEST_RSP")).toBe(AT.stack);
		mapPage(cpu, SHADOW.kernel >> 12, BigInt(SHADOW.kernel) | 0x37n);
		expect(vmxExit(guest).reason).toBe(EXIT_REASON.hlt);
		expect(field(control, "GUEST_SSP")).toBe(TOP - 8);
	});
});

describe("VMRUN and #VMEXIT", () => {
	it("switch S_CET, SSP and the SSP table with the rest of the save area", () => {
		const guest = svm();
		const { cpu, control } = guest;
		cpu.write64(L.SSP, 0x7000n);
		program(cpu, call(AT.code, AT.code + 0x100));
		poke(cpu, AT.code + 0x100, CODE.rdsspqRax, CODE.hlt);
		expect(svmExit(guest)).toBe(EXIT_CODE.hlt);
		expect(control.readState(L.SSP)).toBe(BigInt(TOP - 8));
		expect(stateOf(cpu)).toEqual([0n, 0x7000n, 0n]);
	});

	it("refuse CR4.CET without CR0.WP", () => {
		const guest = svm();
		guest.control.cr0 &= ~BigInt(CR0.WP);
		expect(svmExit(guest)).toBe(EXIT_CODE.invalid);
		expect(guest.control.failedCheck).toContain("CR0.WP");
	});

	it("a push that nested tables refuse says in its error code that it was a shadow stack's", () => {
		const guest = svm();
		const { cpu, control } = guest;
		mapPage(cpu, SHADOW.kernel >> 12, BigInt(SHADOW.kernel) | 0x35n);
		program(cpu, call(AT.code, AT.code + 0x100));
		expect(svmExit(guest)).toBe(EXIT_CODE.npf);
		expect(control.exitInfo1Low).toBe(0x47);
		expect(control.exitInfo2).toBe(TOP - 8);
	});
});
