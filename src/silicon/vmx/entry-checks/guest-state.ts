/**
 * Checks on the guest-state area (SDM Vol. 3C, 27.3.1). A failure is a failed VM entry: exit reason 33 with
 * bit 31 set.
 */
import { isCetControl } from "../../cpu/cet.ts";
import { CR0, CR4, EFER, supportedCr4 } from "../../cpu/control.ts";
import type { Cpu } from "../../cpu/cpu.ts";
import {
	arePats,
	arePerfGlobalCtrl,
	isCanonicalForRegister,
	isCanonicalHighForRegister,
	isDebugctl,
} from "../../cpu/msr.ts";
import { DEBUGCTL_BTF, DR6 } from "../../cpu/debug.ts";
import { FLAG } from "../../cpu/rflags.ts";
import { isPdpteReserved } from "../../paging/walk.ts";
import { CPU_BASED, ENTRY_CONTROL, INTR_INFO, INTR_TYPE, PIN, SECONDARY } from "../controls.ts";
import { O, type VmcsFieldName } from "../fields.ts";
import type { Vmcs } from "../vmcs.ts";

/** Word indices of the fields in a VMCS, whose upper halves follow: names would be looked up in a hash table at each entry. */
const W = {
	CPU_BASED_VM_EXEC_CONTROL: O.CPU_BASED_VM_EXEC_CONTROL >> 2,
	GUEST_ACTIVITY_STATE: O.GUEST_ACTIVITY_STATE >> 2,
	GUEST_CR0: O.GUEST_CR0 >> 2,
	GUEST_CR3: O.GUEST_CR3 >> 2,
	GUEST_CR4: O.GUEST_CR4 >> 2,
	GUEST_CS_SELECTOR: O.GUEST_CS_SELECTOR >> 2,
	GUEST_DR7: O.GUEST_DR7 >> 2,
	GUEST_IA32_DEBUGCTL: O.GUEST_IA32_DEBUGCTL >> 2,
	GUEST_IA32_EFER: O.GUEST_IA32_EFER >> 2,
	GUEST_IA32_PAT: O.GUEST_IA32_PAT >> 2,
	GUEST_IA32_PERF_GLOBAL_CTRL: O.GUEST_IA32_PERF_GLOBAL_CTRL >> 2,
	GUEST_INTERRUPTIBILITY_INFO: O.GUEST_INTERRUPTIBILITY_INFO >> 2,
	GUEST_PENDING_DBG_EXCEPTIONS: O.GUEST_PENDING_DBG_EXCEPTIONS >> 2,
	GUEST_RFLAGS: O.GUEST_RFLAGS >> 2,
	GUEST_SS_AR_BYTES: O.GUEST_SS_AR_BYTES >> 2,
	GUEST_SS_SELECTOR: O.GUEST_SS_SELECTOR >> 2,
	GUEST_SYSENTER_EIP: O.GUEST_SYSENTER_EIP >> 2,
	GUEST_SYSENTER_ESP: O.GUEST_SYSENTER_ESP >> 2,
	PIN_BASED_VM_EXEC_CONTROL: O.PIN_BASED_VM_EXEC_CONTROL >> 2,
	SECONDARY_VM_EXEC_CONTROL: O.SECONDARY_VM_EXEC_CONTROL >> 2,
	VMCS_LINK_POINTER: O.VMCS_LINK_POINTER >> 2,
	VM_ENTRY_CONTROLS: O.VM_ENTRY_CONTROLS >> 2,
	VM_ENTRY_INTR_INFO_FIELD: O.VM_ENTRY_INTR_INFO_FIELD >> 2,
} as const;

type Name<Table extends string> = Table extends `GUEST_${infer Segment}_LIMIT` ? Segment : never;

/** Where a segment or table register lies. */
function place(name: Name<VmcsFieldName>) {
	return { name, base: O[`GUEST_${name}_BASE`] >> 2, limit: O[`GUEST_${name}_LIMIT`] >> 2 };
}

function segment(name: Exclude<Name<VmcsFieldName>, "GDTR" | "IDTR">) {
	const selector = O[`GUEST_${name}_SELECTOR`] >> 2;
	return { ...place(name), selector, rights: O[`GUEST_${name}_AR_BYTES`] >> 2 };
}

const [ES, CS, SS, DS] = [segment("ES"), segment("CS"), segment("SS"), segment("DS")];
const [FS, GS, LDTR, TR] = [segment("FS"), segment("GS"), segment("LDTR"), segment("TR")];
const SEGMENTS = [ES, CS, SS, DS, FS, GS, LDTR, TR];
const TABLES = [place("GDTR"), place("IDTR")];

/** Whether a secondary control is on. */
function hasSecondary(vmcs: Vmcs, control: number): boolean {
	const secondary = vmcs.u32[W.CPU_BASED_VM_EXEC_CONTROL]! & CPU_BASED.secondaryControls;
	return secondary !== 0 && (vmcs.u32[W.SECONDARY_VM_EXEC_CONTROL]! & control) !== 0;
}

const unrestricted = (vmcs: Vmcs) => hasSecondary(vmcs, SECONDARY.unrestrictedGuest);

/** Control registers, debug registers and MSRs (27.3.1.1). @returns the failed check, or null */
export function checkGuestControl(cpu: Cpu, vmcs: Vmcs): string | null {
	const cr0 = vmcs.u32[W.GUEST_CR0]!;
	const cr4 = vmcs.u32[W.GUEST_CR4]!;
	const entry = vmcs.u32[W.VM_ENTRY_CONTROLS]!;
	const ia32e = (entry & ENTRY_CONTROL.ia32eModeGuest) !== 0;
	const fixed = unrestricted(vmcs) ? CR0.NE : CR0.NE | CR0.PE | CR0.PG;
	if ((cr0 & fixed) !== (fixed | 0) || vmcs.u32[W.GUEST_CR0 + 1]! !== 0)
		return "27.3.1.1: guest CR0 against CR0_FIXED0/1";
	const paging = (cr0 & CR0.PG) !== 0;
	if (paging && (cr0 & CR0.PE) === 0) return "27.3.1.1: guest CR0.PG without PE";
	if ((cr4 & CR4.VMXE) === 0 || (cr4 & ~supportedCr4(cpu)) !== 0 || vmcs.u32[W.GUEST_CR4 + 1]! !== 0) {
		return "27.3.1.1: guest CR4 against CR4_FIXED0/1";
	}
	if ((cr4 & CR4.CET) !== 0 && (cr0 & CR0.WP) === 0) return "27.3.1.1: guest CR4.CET without CR0.WP";
	if (ia32e && (!paging || (cr4 & CR4.PAE) === 0)) return "27.3.1.1: IA-32e mode guest without paging or PAE";
	if (!ia32e && (cr4 & CR4.PCIDE) !== 0) return "27.3.1.1: guest CR4.PCIDE outside IA-32e mode";
	if (vmcs.u32[W.GUEST_CR3 + 1]! >>> (cpu.model.features.physicalAddressBits - 32) !== 0) {
		return "27.3.1.1: guest CR3 beyond physical addresses";
	}
	if ((entry & ENTRY_CONTROL.loadDebugControls) !== 0) {
		if (vmcs.u32[W.GUEST_DR7 + 1]! !== 0) return "27.3.1.1: guest DR7";
		if (!isDebugctl(vmcs.u64[W.GUEST_IA32_DEBUGCTL >> 1]!, cpu))
			return "27.3.1.1: reserved bits of guest DEBUGCTL";
	}
	if (!isCanonicalHighForRegister(vmcs.u32[W.GUEST_SYSENTER_ESP + 1]!, cpu))
		return "27.3.1.1: GUEST_SYSENTER_ESP not canonical";
	if (!isCanonicalHighForRegister(vmcs.u32[W.GUEST_SYSENTER_EIP + 1]!, cpu))
		return "27.3.1.1: GUEST_SYSENTER_EIP not canonical";
	if (
		(entry & ENTRY_CONTROL.loadPat) !== 0 &&
		!arePats(vmcs.u32[W.GUEST_IA32_PAT]!, vmcs.u32[W.GUEST_IA32_PAT + 1]!)
	)
		return "27.3.1.1: guest PAT";
	if (
		(entry & ENTRY_CONTROL.loadPerfGlobalCtrl) !== 0 &&
		!arePerfGlobalCtrl(vmcs.u32[W.GUEST_IA32_PERF_GLOBAL_CTRL]!, vmcs.u32[W.GUEST_IA32_PERF_GLOBAL_CTRL + 1]!)
	)
		return "27.3.1.1: reserved bits of guest PERF_GLOBAL_CTRL";
	if ((entry & ENTRY_CONTROL.loadEfer) !== 0) {
		const efer = vmcs.u32[W.GUEST_IA32_EFER]!;
		const defined = EFER.SCE | EFER.LME | EFER.LMA | EFER.NXE;
		if (vmcs.u32[W.GUEST_IA32_EFER + 1]! !== 0 || (efer & ~defined) !== 0)
			return "27.3.1.1: reserved bits of guest EFER";
		const lma = (efer & EFER.LMA) !== 0;
		if (lma !== ia32e) return "27.3.1.1: guest EFER.LMA against the IA-32e mode guest control";
		if (paging && lma !== ((efer & EFER.LME) !== 0))
			return "27.3.1.1: guest EFER.LMA against LME with paging";
	}
	return (entry & ENTRY_CONTROL.loadCetState) === 0 ? null : checkGuestCet(cpu, vmcs);
}

/** What VM entry loads of CET. Unlike the host's, IA32_S_CET need not be canonical. @returns the failed check, or null */
function checkGuestCet(cpu: Cpu, vmcs: Vmcs): string | null {
	if (!isCetControl(vmcs.get("GUEST_S_CET"), cpu.model.features))
		return "27.3.1.1: reserved bits of guest S_CET";
	const ssp = vmcs.get("GUEST_SSP");
	if ((ssp & 3n) !== 0n || !isCanonicalForRegister(ssp, cpu)) return "27.3.1.1: guest SSP";
	if (!isCanonicalForRegister(vmcs.get("GUEST_INTR_SSP_TABLE"), cpu))
		return "27.3.1.1: guest interrupt SSP table not canonical";
	return null;
}

const UNUSABLE = 1 << 16;

const dpl = (rights: number) => (rights >>> 5) & 3;

/** RPL and DPL of CS and SS against each other. @param free unrestricted guest @returns the failed check, or null */
function checkPrivilege(vmcs: Vmcs, cs: number, ss: number, free: boolean): string | null {
	const rpl = vmcs.u32[W.GUEST_SS_SELECTOR]! & 3;
	if (!free && (vmcs.u32[W.GUEST_CS_SELECTOR]! & 3) !== rpl) return "27.3.1.2: RPL of guest CS against SS";
	const type = cs & 0xf;
	if (type === 3 && dpl(cs) !== 0) return "27.3.1.2: DPL of guest CS that is a data segment";
	if ((type === 9 || type === 11) && dpl(cs) !== dpl(ss)) return "27.3.1.2: DPL of guest CS against SS";
	if ((type === 13 || type === 15) && dpl(cs) > dpl(ss))
		return "27.3.1.2: DPL of conforming guest CS above SS";
	if (!free && dpl(ss) !== rpl) return "27.3.1.2: DPL of guest SS against its RPL";
	const real = (vmcs.u32[W.GUEST_CR0]! & CR0.PE) === 0;
	return (real || type === 3) && dpl(ss) !== 0 ? "27.3.1.2: DPL of guest SS" : null;
}

/** Segment and descriptor-table registers (27.3.1.2-27.3.1.3), outside virtual-8086 mode. @returns the failed check, or null */
export function checkGuestSegments(cpu: Cpu, vmcs: Vmcs): string | null {
	const ia32e = (vmcs.u32[W.VM_ENTRY_CONTROLS]! & ENTRY_CONTROL.ia32eModeGuest) !== 0;
	const free = unrestricted(vmcs);
	const { u32 } = vmcs;
	if ((u32[TR.selector]! & 4) !== 0) return "27.3.1.2: TI of the guest TR selector";
	const ss = u32[SS.rights]!;
	const cs = u32[CS.rights]!;
	for (const { name, base } of [TR, FS, GS]) {
		if (!isCanonicalHighForRegister(u32[base + 1]!, cpu)) return `27.3.1.2: guest ${name} base not canonical`;
	}
	for (const { name, base, rights } of [CS, SS, DS, ES]) {
		if ((u32[rights]! & UNUSABLE) === 0 && u32[base + 1] !== 0)
			return `27.3.1.2: guest ${name} base above 32 bits`;
	}
	const type = cs & 0xf;
	if (
		(cs & UNUSABLE) !== 0 ||
		!(type === 9 || type === 11 || type === 13 || type === 15 || (type === 3 && free))
	) {
		return "27.3.1.2: type of guest CS";
	}
	if ((cs & 0x90) !== 0x90) return "27.3.1.2: S or P of guest CS";
	if (ia32e && (cs & 0x2000) !== 0 && (cs & 0x4000) !== 0) return "27.3.1.2: L and D of guest CS both set";
	const privilege = checkPrivilege(vmcs, cs, ss, free);
	if (privilege !== null) return privilege;
	if ((ss & UNUSABLE) === 0) {
		if ((ss & 0xf) !== 3 && (ss & 0xf) !== 7) return "27.3.1.2: type of guest SS";
		if ((ss & 0x90) !== 0x90) return "27.3.1.2: S or P of guest SS";
	}
	for (const { name, rights, selector } of [DS, ES, FS, GS]) {
		const value = u32[rights]!;
		if ((value & UNUSABLE) !== 0) continue;
		if ((value & 1) === 0 || (value & 0xa) === 8) return `27.3.1.2: type of guest ${name}`;
		if ((value & 0x90) !== 0x90) return `27.3.1.2: S or P of guest ${name}`;
		const rpl = u32[selector]! & 3;
		if (!free && (value & 0xf) <= 11 && dpl(value) < rpl)
			return `27.3.1.2: DPL of guest ${name} below its RPL`;
	}
	for (const segment of SEGMENTS) {
		const { name } = segment;
		const value = u32[segment.rights]!;
		if ((value & UNUSABLE) !== 0) continue;
		if ((value & 0xfffe_0f00) !== 0) return `27.3.1.2: reserved bits of guest ${name} rights`;
		const limit = u32[segment.limit]!;
		const granular = (value & 0x8000) !== 0;
		if (granular ? (limit & 0xfff) !== 0xfff : limit >>> 20 !== 0)
			return `27.3.1.2: G against the limit of guest ${name}`;
	}
	const tr = u32[TR.rights]!;
	const trType = tr & 0xf;
	if ((tr & UNUSABLE) !== 0 || !(trType === 11 || (trType === 3 && !ia32e)) || (tr & 0x90) !== 0x80) {
		return "27.3.1.2: type, S or P of guest TR";
	}
	const ldtr = u32[LDTR.rights]!;
	if ((ldtr & UNUSABLE) === 0 && (u32[LDTR.selector]! & 4) !== 0)
		return "27.3.1.2: TI of the guest LDTR selector";
	if ((ldtr & UNUSABLE) === 0 && !isCanonicalHighForRegister(u32[LDTR.base + 1]!, cpu))
		return "27.3.1.2: guest LDTR base not canonical";
	if ((ldtr & UNUSABLE) === 0 && ((ldtr & 0xf) !== 2 || (ldtr & 0x90) !== 0x80))
		return "27.3.1.2: type, S or P of guest LDTR";
	for (const { name, base, limit } of TABLES) {
		if (!isCanonicalHighForRegister(u32[base + 1]!, cpu)) return `27.3.1.3: guest ${name} base not canonical`;
		if (u32[limit]! > 0xffff) return `27.3.1.3: guest ${name} limit above 16 bits`;
	}
	return null;
}

/**
 * RIP and RFLAGS (27.3.1.4). Checked at most entries, so without BigInt and without looking fields up by name.
 * @returns the failed check, or null
 */
export function checkGuestRip(cpu: Cpu, vmcs: Vmcs): string | null {
	const { u32 } = vmcs;
	const top = u32[(O.GUEST_RIP >> 2) + 1]! | 0;
	const long = (u32[O.VM_ENTRY_CONTROLS >> 2]! & ENTRY_CONTROL.ia32eModeGuest) !== 0;
	if (long && (u32[O.GUEST_CS_AR_BYTES >> 2]! & 0x2000) !== 0) {
		const sign = top >> (cpu.model.features.la57 ? 24 : 15);
		if (sign !== 0 && sign !== -1) return "27.3.1.4: guest RIP not canonical";
	} else if (top !== 0) return "27.3.1.4: upper half of guest RIP outside 64-bit mode";
	const flags = u32[O.GUEST_RFLAGS >> 2]!;
	if ((flags & 2) === 0 || (flags & 0xffc0_8028) !== 0 || u32[(O.GUEST_RFLAGS >> 2) + 1]! !== 0) {
		return "27.3.1.4: reserved bits of guest RFLAGS";
	}
	if ((flags & FLAG.VM) !== 0 && (long || (u32[O.GUEST_CR0 >> 2]! & CR0.PE) === 0))
		return "27.3.1.4: guest RFLAGS.VM";
	const info = u32[O.VM_ENTRY_INTR_INFO_FIELD >> 2]!;
	if (
		(info & INTR_INFO.valid) !== 0 &&
		((info >>> 8) & 7) === INTR_TYPE.external &&
		(flags & FLAG.IF) === 0
	) {
		return "27.3.1.4: external interrupt injected with guest RFLAGS.IF 0";
	}
	return null;
}

/** Non-register state (27.3.1.5). @returns the failed check, or null */
export function checkGuestNonRegister(vmcs: Vmcs): string | null {
	const activity = vmcs.u32[W.GUEST_ACTIVITY_STATE]!;
	const blocking = vmcs.u32[W.GUEST_INTERRUPTIBILITY_INFO]!;
	const info = vmcs.u32[W.VM_ENTRY_INTR_INFO_FIELD]!;
	const flags = vmcs.u32[W.GUEST_RFLAGS]!;
	if (activity > 3) return "27.3.1.5: activity state";
	if (activity === 1 && ((vmcs.u32[W.GUEST_SS_AR_BYTES]! >>> 5) & 3) !== 0)
		return "27.3.1.5: HLT state with CPL above 0";
	if (activity !== 0 && (blocking & 3) !== 0) return "27.3.1.5: not active, with blocking by STI or MOV SS";
	if ((blocking & ~0x1f) !== 0) return "27.3.1.5: reserved bits of the interruptibility state";
	if ((blocking & 3) === 3) return "27.3.1.5: blocking by both STI and MOV SS";
	if ((blocking & 1) !== 0 && (flags & FLAG.IF) === 0) return "27.3.1.5: blocking by STI with RFLAGS.IF 0";
	if ((info & INTR_INFO.valid) !== 0) {
		const type = (info >>> 8) & 7;
		if (type === INTR_TYPE.external && (blocking & 3) !== 0)
			return "27.3.1.5: interrupt injected under blocking by STI or MOV SS";
		if (type === INTR_TYPE.nmi && (blocking & 2) !== 0)
			return "27.3.1.5: NMI injected under blocking by MOV SS";
		const virtualNmis = (vmcs.u32[W.PIN_BASED_VM_EXEC_CONTROL]! & PIN.virtualNmis) !== 0;
		if (type === INTR_TYPE.nmi && virtualNmis && (blocking & 8) !== 0)
			return "27.3.1.5: NMI injected under virtual-NMI blocking";
	}
	const pending = vmcs.u32[W.GUEST_PENDING_DBG_EXCEPTIONS]!;
	if ((pending & ~0x500f) !== 0 || vmcs.u32[W.GUEST_PENDING_DBG_EXCEPTIONS + 1]! !== 0)
		return "27.3.1.5: reserved bits of the pending debug exceptions";
	if ((blocking & 3) !== 0 || activity === 1) {
		const stepped = (flags & FLAG.TF) !== 0 && (vmcs.u32[W.GUEST_IA32_DEBUGCTL]! & DEBUGCTL_BTF) === 0;
		if (stepped !== ((pending & DR6.BS) !== 0))
			return "27.3.1.5: BS of the pending debug exceptions against RFLAGS.TF";
	}
	if ((vmcs.u32[W.VMCS_LINK_POINTER]! & vmcs.u32[W.VMCS_LINK_POINTER + 1]!) !== -1)
		return "27.3.1.5: VMCS link pointer (no shadow VMCS here)";
	return null;
}

/** The PDPTEs of a guest with EPT and PAE paging (27.3.1.6). @returns the failed check, or null */
export function checkGuestPdptes(cpu: Cpu, vmcs: Vmcs): string | null {
	const pae = (vmcs.u32[W.GUEST_CR0]! & CR0.PG) !== 0 && (vmcs.u32[W.GUEST_CR4]! & CR4.PAE) !== 0;
	const ia32e = (vmcs.u32[W.VM_ENTRY_CONTROLS]! & ENTRY_CONTROL.ia32eModeGuest) !== 0;
	if (!pae || ia32e || !hasSecondary(vmcs, SECONDARY.ept)) return null;
	for (let at = 0; at < 8; at += 2) {
		const word = (O.GUEST_PDPTR0 >> 2) + at;
		if (isPdpteReserved(cpu, vmcs.u32[word]!, vmcs.u32[word + 1]!))
			return "27.3.1.6: reserved bits of a PDPTE";
	}
	return null;
}
