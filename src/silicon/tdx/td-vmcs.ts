/** The VMCS that the TDX module runs a TD with, and the TD's state at reset (TDX Module Base Architecture, "TD VMCS"). */
import { CR4, XFEATURE } from "../cpu/control.ts";
import type { Features } from "../models/model.ts";
import { MSR } from "../cpu/msr.ts";
import { CPU_BASED, DEFAULT1, ENTRY_CONTROL, EXIT_CONTROL, PIN, SECONDARY } from "../vmx/controls.ts";
import { Vmcs } from "../vmx/vmcs.ts";
import { hasCet } from "../cpu/cet.ts";
import type { Td } from "./td.ts";

/** MSRs that a TD reads and writes without an exit; the module or VM entry switches them. */
const TD_OWNED_MSRS = [
	MSR.IA32_SPEC_CTRL,
	MSR.IA32_SYSENTER_CS,
	MSR.IA32_SYSENTER_ESP,
	MSR.IA32_SYSENTER_EIP,
	MSR.IA32_PAT,
	MSR.IA32_STAR,
	MSR.IA32_LSTAR,
	MSR.IA32_FMASK,
	MSR.IA32_FS_BASE,
	MSR.IA32_GS_BASE,
	MSR.IA32_KERNEL_GS_BASE,
	MSR.IA32_TSC_AUX,
];
/** Those that belong to a feature, by its XFAM bits. */
const XFAM_MSRS: readonly (readonly [feature: number, ...msrs: number[]])[] = [
	[XFEATURE.xtiledata, MSR.IA32_XFD, MSR.IA32_XFD_ERR],
	[
		XFEATURE.cetUser,
		MSR.IA32_U_CET,
		MSR.IA32_S_CET,
		MSR.IA32_PL0_SSP,
		MSR.IA32_PL1_SSP,
		MSR.IA32_PL2_SSP,
		MSR.IA32_PL3_SSP,
		MSR.IA32_INTERRUPT_SSP_TABLE,
	],
];
/** x2APIC registers that the processor virtualizes: TPR, PPR, ISR, TMR and IRR are read, TPR, EOI and SELF_IPI written. */
const X2APIC_READABLE = [0x808, 0x80a, ...Array.from({ length: 24 }, (_, at) => 0x810 + at)];
const X2APIC_WRITABLE = [0x808, 0x80b, 0x83f];
const TD_READABLE_MSRS = [MSR.IA32_TSC, MSR.IA32_EFER, ...X2APIC_READABLE];
const TD_WRITABLE_MSRS = [MSR.IA32_PRED_CMD, MSR.IA32_FLUSH_CMD, ...X2APIC_WRITABLE];

const RESET = {
	/** Where the first instruction lies, with paging off. */
	rip: 0xffff_fff0,
	/** PE and NE. */
	cr0: 0x21n,
	/** MCE and VMXE. */
	cr4: 0x2040n,
	/** The TD sees MCE alone. */
	cr4Shadow: 0x40n,
	/** SCE, LME and NXE: the TD has no other way than to long mode, and only SCE can change. */
	efer: 0x901n,
	pat: 0x0007040600070406n,
} as const;
/** CR0.NE and CR0.PE; CR0.CD and CR0.NW stay 0. */
const CR0_OWNED = (1n << 0n) | (1n << 5n) | (1n << 29n) | (1n << 30n);
/** CR4.MCE, VMXE and SMXE. */
const CR4_OWNED = (1n << 6n) | (1n << 13n) | (1n << 14n);

const ATTR = { code32: 0xc09b, data: 0xc093, tss: 0x8b, unusableLdt: 0x1_0082 } as const;

function fillMsrBitmap(td: Td): void {
	const { u8, ramBase } = td.memory;
	const at = ramBase + td.msrBitmapHpa;
	u8.fill(0xff, at, at + 4096);
	const clear = (index: number, write: boolean) => {
		const bit = ((write ? 2048 : 0) + (index >= 0xc000_0000 ? 1024 : 0)) * 8 + (index & 0x1fff);
		u8[at + (bit >> 3)]! &= ~(1 << (bit & 7));
	};
	const owned = XFAM_MSRS.flatMap(([feature, ...msrs]) => ((td.xfam & feature) !== 0 ? msrs : []));
	owned.push(...TD_OWNED_MSRS);
	for (const index of [...owned, ...TD_READABLE_MSRS]) clear(index, false);
	for (const index of [...owned, ...TD_WRITABLE_MSRS]) clear(index, true);
}

/**
 * Makes the VMCS of a new vCPU.
 * @param index of the vCPU
 * @param features of the processor
 * @param virtualApicHpa page of the virtual APIC, host physical: part of the TDVPS
 */
export function makeTdVmcs(td: Td, index: number, features: Features, virtualApicHpa: number): Vmcs {
	const vmcs = new Vmcs();
	fillMsrBitmap(td);
	vmcs.set(
		"PIN_BASED_VM_EXEC_CONTROL",
		DEFAULT1.pin | PIN.externalInterruptExiting | PIN.nmiExiting | PIN.virtualNmis,
	);
	vmcs.set(
		"CPU_BASED_VM_EXEC_CONTROL",
		((DEFAULT1.cpu & ~(CPU_BASED.cr3LoadExiting | CPU_BASED.cr3StoreExiting)) |
			CPU_BASED.hltExiting |
			CPU_BASED.tprShadow |
			CPU_BASED.useTscOffsetting |
			CPU_BASED.rdpmcExiting |
			CPU_BASED.mwaitExiting |
			CPU_BASED.monitorExiting |
			CPU_BASED.unconditionalIoExiting |
			CPU_BASED.useMsrBitmaps |
			CPU_BASED.secondaryControls) >>>
			0,
	);
	vmcs.set(
		"SECONDARY_VM_EXEC_CONTROL",
		SECONDARY.ept |
			SECONDARY.vpid |
			SECONDARY.unrestrictedGuest |
			SECONDARY.wbinvdExiting |
			SECONDARY.rdtscp |
			SECONDARY.invpcid |
			SECONDARY.xsaves |
			SECONDARY.virtualizeX2apicMode |
			SECONDARY.apicRegisterVirtualization |
			SECONDARY.virtualInterruptDelivery,
	);
	vmcs.set(
		"VM_EXIT_CONTROLS",
		DEFAULT1.exit |
			EXIT_CONTROL.hostAddressSpaceSize |
			EXIT_CONTROL.acknowledgeInterrupt |
			EXIT_CONTROL.loadEfer |
			EXIT_CONTROL.saveEfer |
			EXIT_CONTROL.loadPat |
			EXIT_CONTROL.savePat,
	);
	vmcs.set("VM_ENTRY_CONTROLS", DEFAULT1.entry | ENTRY_CONTROL.loadEfer | ENTRY_CONTROL.loadPat);
	// #MC ends the TD's run; every other exception is its own.
	vmcs.set("EXCEPTION_BITMAP", 1 << 18);
	vmcs.set("EPT_POINTER", BigInt(td.secureEptRoot) | 0x1en);
	vmcs.set("MSR_BITMAP", BigInt(td.msrBitmapHpa));
	vmcs.set("VIRTUAL_APIC_PAGE_ADDR", BigInt(virtualApicHpa));
	vmcs.set("VIRTUAL_PROCESSOR_ID", index + 1);
	vmcs.set("CR0_GUEST_HOST_MASK", CR0_OWNED);
	vmcs.set("CR0_READ_SHADOW", RESET.cr0);
	vmcs.set("CR4_GUEST_HOST_MASK", CR4_OWNED);
	vmcs.set("CR4_READ_SHADOW", RESET.cr4Shadow);
	// Without the features in XFAM, CR4.CET is not the TD's to set.
	if ((td.xfam & XFEATURE.cetUser) === 0) vmcs.set("CR4_GUEST_HOST_MASK", CR4_OWNED | BigInt(CR4.CET));
	if (hasCet(features)) {
		vmcs.set("VM_EXIT_CONTROLS", Number(vmcs.get("VM_EXIT_CONTROLS")) | EXIT_CONTROL.loadCetState);
		vmcs.set("VM_ENTRY_CONTROLS", Number(vmcs.get("VM_ENTRY_CONTROLS")) | ENTRY_CONTROL.loadCetState);
	}
	setResetState(vmcs);
	setSeamState(vmcs);
	return vmcs;
}

/** Flat 32-bit protected mode at the reset vector (TDX Module Base Architecture, "Initial State of TD GPRs and CRs"). */
function setResetState(vmcs: Vmcs): void {
	vmcs.set("GUEST_CR0", RESET.cr0);
	vmcs.set("GUEST_CR4", RESET.cr4);
	vmcs.set("GUEST_IA32_EFER", RESET.efer);
	vmcs.set("GUEST_IA32_PAT", RESET.pat);
	vmcs.set("GUEST_DR7", 0x400);
	vmcs.set("GUEST_RIP", RESET.rip);
	vmcs.set("GUEST_RFLAGS", 2);
	vmcs.set("GUEST_CS_LIMIT", 0xffffffff);
	vmcs.set("GUEST_CS_AR_BYTES", ATTR.code32);
	for (const segment of ["ES", "SS", "DS", "FS", "GS"] as const) {
		vmcs.set(`GUEST_${segment}_LIMIT`, 0xffffffff);
		vmcs.set(`GUEST_${segment}_AR_BYTES`, ATTR.data);
	}
	vmcs.set("GUEST_LDTR_LIMIT", 0xffff);
	vmcs.set("GUEST_LDTR_AR_BYTES", ATTR.unusableLdt);
	vmcs.set("GUEST_TR_LIMIT", 0xffff);
	vmcs.set("GUEST_TR_AR_BYTES", ATTR.tss);
	vmcs.set("GUEST_GDTR_LIMIT", 0xffff);
}

/** The module's own state in SEAM root mode, which is not modelled: what passes the checks on host state. */
function setSeamState(vmcs: Vmcs): void {
	vmcs.set("HOST_CR0", 0x8005_0033n);
	vmcs.set("HOST_CR4", 0x37_26e0n);
	vmcs.set("HOST_CS_SELECTOR", 8);
	for (const segment of ["ES", "SS", "DS"] as const) vmcs.set(`HOST_${segment}_SELECTOR`, 0x10);
	vmcs.set("HOST_TR_SELECTOR", 0x18);
	vmcs.set("HOST_IA32_EFER", 0xd01n);
	vmcs.set("HOST_IA32_PAT", RESET.pat);
}
