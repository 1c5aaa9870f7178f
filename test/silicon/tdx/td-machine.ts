/** A processor with a TD, under no VMM but the test. */
import type { LocalApic } from "../../../src/silicon/apic/local-apic.ts";
import type { Cpu } from "../../../src/silicon/cpu/cpu.ts";
import * as L from "../../../src/silicon/cpu/layout.ts";
import {
	type Td,
	type TdVcpu,
	tdhMemPageAdd,
	tdhMemSeptAdd,
	tdhMngInit,
	tdhMrFinalize,
} from "../../../src/silicon/tdx/td.ts";
import { tdhVpEnter, tdhVpInit } from "../../../src/silicon/tdx/tdh-vp-enter.ts";
import { bareMachine } from "../guest-machine.ts";
import { TD_AT, type TdCode, tdMemory } from "./td-code.ts";

/** Host physical addresses, above what guest-machine.ts uses. */
export const TD_HPA = {
	root: 0x200000,
	msrBitmap: 0x201000,
	tables: 0x202000,
	sharedRoot: 0x208000,
	virtualApic: 0x209000,
	posted: 0x20a000,
	pages: 0x210000,
} as const;

/** x87, SSE, AVX, AVX-512, PKRU, CET, AMX: all that a TD can have on this processor. */
export const FULL_XFAM = 0x61ae7;
/** Without CET and AMX, as KVM's TDs here have it. */
export const SMALL_XFAM = 0x2e7;

export interface TestTd {
	readonly cpu: Cpu;
	readonly apic: LocalApic;
	readonly td: Td;
	readonly vcpu: TdVcpu;
	/** The VMM's GPRs. */
	readonly regs: BigUint64Array;
}

/** A TD without memory. The VMM has all features on, and a value of its own in PKRU. */
export function emptyTd(xfam = SMALL_XFAM): TestTd {
	const { cpu, apic } = bareMachine("vmx");
	cpu.interruptFlag = false;
	cpu.nmiBlocked = false;
	cpu.pending = 0;
	cpu.writeNumber(L.XCR0, cpu.model.features.xcr0);
	cpu.writeNumber(L.XSS, cpu.model.features.xss);
	cpu.write32(L.PKRU, 0x5555_5554);
	const td = tdhMngInit(cpu, { xfam, rootHpa: TD_HPA.root, msrBitmapHpa: TD_HPA.msrBitmap });
	return { cpu, apic, td, vcpu: tdhVpInit(cpu, td, TD_HPA.virtualApic), regs: new BigUint64Array(16) };
}

/** Adds the tables that a page at the top of the first 4 GiB needs. */
export function addTables({ cpu, td }: TestTd): void {
	for (const [n, level] of [4, 3, 2].entries())
		tdhMemSeptAdd(cpu, td, TD_AT.start32, level, TD_HPA.tables + n * 4096);
}

/** A TD with code, ready to be entered. */
export function makeTd(code: TdCode, xfam = SMALL_XFAM): TestTd {
	const made = emptyTd(xfam);
	addTables(made);
	const bytes = tdMemory(code);
	for (let offset = 0; offset < bytes.length; offset += 4096)
		tdhMemPageAdd(made.cpu, made.td, TD_AT.first + offset, TD_HPA.pages + offset, bytes, offset);
	tdhMrFinalize(made.cpu, made.td);
	return made;
}

/** TDH.VP.ENTER. @returns the exit reason */
export function enterTd({ cpu, vcpu, regs }: TestTd): number {
	const status = tdhVpEnter(cpu, vcpu, regs);
	if (status !== 0 && status !== 0x4000_0001 && status !== 0x6000_0005)
		throw new Error(`TDH.VP.ENTER: status ${status.toString(16)}`);
	return vcpu.exitReason;
}
