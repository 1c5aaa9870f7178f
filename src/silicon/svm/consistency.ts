/** What VMRUN checks of a VMCB (APM Vol. 2, 15.5.1 and 15.20). A failure is #VMEXIT with VMEXIT_INVALID. */
import { hasCet } from "../cpu/cet.ts";
import { CR0, CR4, EFER } from "../cpu/control.ts";
import type { Cpu } from "../cpu/cpu.ts";
import * as L from "../cpu/layout.ts";
import { EXIT_CODE } from "./exit-codes.ts";
import type { Vmcb } from "./vmcb.ts";

const EFER_DEFINED = EFER.SCE | EFER.LME | EFER.LMA | EFER.NXE | EFER.SVME | EFER.FFXSR;
const CR4_DEFINED = 0x00ff_1fff;
const EVENT_VALID = 1 << 31;
const MSRPM_BYTES = 8192;
const IOPM_BYTES = 12288;

/** @returns the check that failed, by APM section; null if all hold */
export function checkVmcb(cpu: Cpu, vmcb: Vmcb): string | null {
	const { u32 } = vmcb;
	const low = (offset: number) => u32[offset >> 2]!;
	const high = (offset: number) => u32[(offset >> 2) + 1]!;
	const efer = low(L.EFER);
	const cr0 = low(L.CR0);
	const cr4 = low(L.CR4);
	if ((efer & EFER.SVME) === 0) return "15.5.1: EFER.SVME is 0";
	if ((cr0 & CR0.CD) === 0 && (cr0 & CR0.NW) !== 0) return "15.5.1: CR0.NW without CD";
	if (high(L.CR0) !== 0) return "15.5.1: upper half of CR0";
	if (high(L.CR3) >>> (cpu.model.features.physicalAddressBits - 32) !== 0) return "15.5.1: MBZ bits of CR3";
	if (high(L.CR4) !== 0 || (cr4 & ~CR4_DEFINED) !== 0) return "15.5.1: MBZ bits of CR4";
	if ((cr4 & CR4.CET) !== 0 && !hasCet(cpu.model.features)) return "15.5.1: MBZ bits of CR4";
	if ((cr4 & CR4.CET) !== 0 && (cr0 & CR0.WP) === 0) return "15.5.1: CR4.CET without CR0.WP";
	if (high(L.DR7) !== 0) return "15.5.1: upper half of DR7";
	if (high(L.EFER) !== 0 || (efer & ~EFER_DEFINED) !== 0) return "15.5.1: MBZ bits of EFER";
	if ((efer & EFER.LME) !== 0 && (cr0 & CR0.PG) !== 0) {
		if ((cr4 & CR4.PAE) === 0) return "15.5.1: EFER.LME and CR0.PG without CR4.PAE";
		if ((cr0 & CR0.PE) === 0) return "15.5.1: EFER.LME and CR0.PG without CR0.PE";
		const cs = low(L.SEG + L.CS * L.SEG_BYTES + L.SEG_ATTR);
		if ((cs & 0x6000) === 0x6000) return "15.5.1: CS.L and CS.D both set in long mode";
	}
	if (!vmcb.intercepted(EXIT_CODE.vmrun)) return "15.5.1: the VMRUN intercept is clear";
	if (vmcb.asid === 0) return "15.5.1: ASID 0";
	const limit = cpu.physicalEnd;
	if (vmcb.msrpm + MSRPM_BYTES > limit || vmcb.iopm + IOPM_BYTES > limit)
		return "15.5.1: permissions map beyond physical addresses";
	if (vmcb.nestedCr3 >= limit) return "15.25.3: nested CR3 beyond physical addresses";
	return (vmcb.eventInj & EVENT_VALID) === 0 ? null : checkEvent(vmcb);
}

function checkEvent(vmcb: Vmcb): string | null {
	const type = (vmcb.eventInj >>> 8) & 7;
	const vector = vmcb.eventInj & 0xff;
	if (type === 1 || type > 4) return "15.20: reserved type of EVENTINJ";
	if (type === 3 && (vector > 31 || vector === 2))
		return "15.20: EVENTINJ of an exception with the vector of none";
	return null;
}
