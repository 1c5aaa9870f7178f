/** kvm_x86_ops of VMX: a vCPU's VMCS, its registers, its events (arch/x86/kvm/vmx/vmx.c, v6.18). */
import { moveFromDr, moveToDr } from "../../host/access.ts";
import { DR6_RESERVED } from "../../host/hw-breakpoint.ts";
import * as L from "../../silicon/cpu/layout.ts";
import { hasCet } from "../../silicon/cpu/cet.ts";
import { type CpuidFeatureBit, featureBit } from "../../silicon/cpu/cpuid-features.ts";
import { VECTOR } from "../../silicon/cpu/fault.ts";
import { FLAG } from "../../silicon/cpu/rflags.ts";
import { kvmFlushTlb } from "../mmu/flush.ts";
import {
	CPU_BASED,
	DEFAULT1,
	ENTRY_CONTROL,
	EXIT_CONTROL,
	PIN,
	SECONDARY,
} from "../../silicon/vmx/controls.ts";
import { F, type VmcsFieldName } from "../../silicon/vmx/fields.ts";
import { type Vmcs, vmread, vmread32, vmwrite, vmwrite32, vmwriteNumber } from "../../silicon/vmx/vmcs.ts";
import { MSR } from "../../silicon/cpu/msr.ts";
import { DEBUGREG, INTERRUPT_SHADOW } from "../requests.ts";
import type { Vcpu } from "../vcpu.ts";
import type { Segment, VendorOps } from "../vendor-ops.ts";
import { MSR_KVM_INTERNAL_GUEST_SSP, recalcCetIntercepts } from "../emulate/cet.ts";
import { guestCpuCapHas } from "../emulate/cpuid.ts";
import { CR0_GUEST_BITS, CR4_GUEST_BITS, cacheControlRegisters } from "./control-registers.ts";
import { dumpVmcs } from "./dump.ts";
import {
	cancelInjection,
	injectException,
	injectIrq,
	injectNmi,
	isNmiMasked,
	setNmiMask,
	setWindow,
} from "./events.ts";
import { vmxHandleExit } from "./exit-handlers.ts";
import { exitReasonName } from "./exit-names.ts";
import { vmxSkipEmulatedInstruction } from "./fastpath.ts";
import {
	apicvActive,
	createApicv,
	deliverPostedInterrupt,
	loadEoiExitmap,
	refreshApicv,
	setEoiExit,
	syncPirToIrr,
} from "./posted-intr.ts";
import { VmxVcpu } from "./vmx-vcpu.ts";
import { makeVmxMsrBitmap } from "../x86/msr-bitmap.ts";

const CR0_PG = 0x8000_0000n;
const CR0_NE = 0x20n;
const CR4_VMXE = 1n << 13n;
const CR4_MCE = 1n << 6n;
const EFER_LME = 1n << 8n;
const EFER_LMA = 1n << 10n;
const EFER_SYSCALL = EFER_LMA | 1n;

const SEGMENT_NAMES = ["GDTR", "IDTR", "ES", "CS", "SS", "DS", "FS", "GS", "LDTR", "TR"] as const;
/** The fields of each segment register, in the order of layout.ts's numbers, of which GDTR is the first. */
const SEGMENT_FIELDS = SEGMENT_NAMES.map((name) => ({
	base: F[`GUEST_${name}_BASE` as VmcsFieldName],
	limit: F[`GUEST_${name}_LIMIT` as VmcsFieldName],
	attributes: name === "GDTR" || name === "IDTR" ? -1 : F[`GUEST_${name}_AR_BYTES` as VmcsFieldName],
	selector: name === "GDTR" || name === "IDTR" ? -1 : F[`GUEST_${name}_SELECTOR` as VmcsFieldName],
}));

/** vmx_vcpu_create(), init_vmcs(): controls as v6.18 sets them with EPT, VPID and unrestricted guests. */
function vcpuCreate(v: Vcpu): void {
	const vmx = new VmxVcpu();
	v.vmx = vmx;
	const { vmcs } = vmx;
	vmcs.set(
		"PIN_BASED_VM_EXEC_CONTROL",
		DEFAULT1.pin | PIN.externalInterruptExiting | PIN.nmiExiting | PIN.virtualNmis | PIN.preemptionTimer,
	);
	vmcs.set(
		"CPU_BASED_VM_EXEC_CONTROL",
		((DEFAULT1.cpu & ~(CPU_BASED.cr3LoadExiting | CPU_BASED.cr3StoreExiting)) |
			CPU_BASED.hltExiting |
			CPU_BASED.useTscOffsetting |
			CPU_BASED.cr8LoadExiting |
			CPU_BASED.cr8StoreExiting |
			CPU_BASED.rdpmcExiting |
			CPU_BASED.mwaitExiting |
			CPU_BASED.monitorExiting |
			CPU_BASED.movDrExiting |
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
			ENABLES.reduce((bits, [bit]) => bits | bit, 0),
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
	// NON-KVM: v6.18 does not offer PKS; its posted series loads IA32_PKRS with the entry and the exit.
	if (v.cpu.model.features.pks) {
		addControl(vmcs, "VM_ENTRY_CONTROLS", ENTRY_CONTROL.loadPkrs);
		addControl(vmcs, "VM_EXIT_CONTROLS", EXIT_CONTROL.loadPkrs);
	}
	// The host has no shadow stacks in kernel mode: HOST_S_CET and the like are 0.
	if (hasCet(v.cpu.model.features)) {
		addControl(vmcs, "VM_ENTRY_CONTROLS", ENTRY_CONTROL.loadCetState);
		addControl(vmcs, "VM_EXIT_CONTROLS", EXIT_CONTROL.loadCetState);
	}
	// #UD, #MC, #DB, #AC: what KVM always wants to see.
	vmcs.set("EXCEPTION_BITMAP", (1 << 6) | (1 << 18) | (1 << 1) | (1 << 17));
	vmcs.set("EPT_POINTER", BigInt(v.vm.mmu.rootHpa) | 0x1en);
	vmcs.set("MSR_BITMAP", BigInt(makeVmxMsrBitmap(v).hpa));
	vmcs.set("VIRTUAL_PROCESSOR_ID", v.id + 1);
	vmcs.set("CR0_GUEST_HOST_MASK", BigInt.asUintN(64, ~CR0_GUEST_BITS));
	vmcs.set("CR4_GUEST_HOST_MASK", BigInt.asUintN(64, ~CR4_GUEST_BITS));
	if (v.kernel.kvm.enableApicv && v.vm.irqchip) vmx.apicv = createApicv(v);
	vmcs.set("TSC_OFFSET", BigInt.asUintN(64, BigInt(Math.trunc(v.tscOffset))));
	vmcs.set("GUEST_IA32_PAT", 0x0007040600070406n);
	setHostState(v);
}

function addControl(vmcs: Vmcs, name: VmcsFieldName, bit: number): void {
	vmcs.set(name, vmcs.get(name) | BigInt(bit));
}

/** Secondary controls that enable instructions, and the features with which KVM sets them (vmx_adjust_secondary_exec_control()). */
const ENABLES: readonly (readonly [bit: number, ...features: CpuidFeatureBit[]])[] = [
	[SECONDARY.rdtscp, featureBit("rdtscp"), featureBit("rdpid")],
	[SECONDARY.invpcid, featureBit("invpcid")],
	[SECONDARY.xsaves, featureBit("xsaves")],
];

/** vmx_vcpu_after_set_cpuid(). */
function afterSetCpuid(v: Vcpu): void {
	const { vmcs } = v.vmx!;
	let controls = Number(vmcs.get("SECONDARY_VM_EXEC_CONTROL"));
	for (const [bit, ...features] of ENABLES) {
		const enabled =
			bit === SECONDARY.xsaves ? v.guestCanUseXsaves : features.some((feature) => guestCpuCapHas(v, feature));
		controls = enabled ? controls | bit : controls & ~bit;
	}
	vmcs.set("SECONDARY_VM_EXEC_CONTROL", controls >>> 0);
	recalcCetIntercepts(v);
}

/** vmx_set_constant_host_state(). */
function setHostState(v: Vcpu): void {
	const { vmcs } = v.vmx!;
	vmcs.set("HOST_CR0", 0x8005_0033n);
	vmcs.set("HOST_CR3", v.cpu.read64(L.CR3));
	vmcs.set("HOST_CR4", v.cpu.read64(L.CR4));
	v.vmx!.hostCr3 = v.cpu.readNumber(L.CR3);
	v.vmx!.hostCr4 = v.cpu.readNumber(L.CR4);
	vmcs.set("HOST_CS_SELECTOR", 0x10);
	for (const segment of ["ES", "SS", "DS"] as const) vmcs.set(`HOST_${segment}_SELECTOR`, 0x18);
	vmcs.set("HOST_TR_SELECTOR", 0x40);
	vmcs.set("HOST_IA32_EFER", 0xd01n);
	vmcs.set("HOST_IA32_PAT", 0x0407050600070106n);
	// Kernel addresses are canonical; nothing is fetched from them, since host code is not translated.
	for (const field of [
		"HOST_RIP",
		"HOST_RSP",
		"HOST_GDTR_BASE",
		"HOST_IDTR_BASE",
		"HOST_TR_BASE",
		"HOST_GS_BASE",
	] as const) {
		vmcs.set(field, 0xffff_8880_0000_1000n);
	}
}

function setCr0(v: Vcpu, cr0: bigint): void {
	const { vmcs } = v.vmx!;
	v.cr0 = cr0;
	vmwrite(v.cpu, vmcs, F.CR0_READ_SHADOW, cr0);
	vmwrite(v.cpu, vmcs, F.GUEST_CR0, cr0 | CR0_NE);
	updateLongMode(v);
}

/** EFER.LMA and "IA-32e mode guest" follow CR0.PG and EFER.LME (vmx_set_efer, enter_lmode). */
function updateLongMode(v: Vcpu): void {
	const { vmcs } = v.vmx!;
	const long = (v.efer & EFER_LME) !== 0n && (v.cr0 & CR0_PG) !== 0n;
	v.efer = long ? v.efer | EFER_LMA : v.efer & ~EFER_LMA;
	const controls = vmread32(v.cpu, vmcs, F.VM_ENTRY_CONTROLS);
	vmwrite32(
		v.cpu,
		vmcs,
		F.VM_ENTRY_CONTROLS,
		long ? controls | ENTRY_CONTROL.ia32eModeGuest : controls & ~ENTRY_CONTROL.ia32eModeGuest,
	);
	vmwrite(v.cpu, vmcs, F.GUEST_IA32_EFER, v.efer);
}

function getSegment(v: Vcpu, segment: number): Segment {
	const { vmcs } = v.vmx!;
	const fields = SEGMENT_FIELDS[segment - L.GDTR]!;
	return {
		base: vmread(v.cpu, vmcs, fields.base),
		limit: vmread32(v.cpu, vmcs, fields.limit),
		attributes: fields.attributes < 0 ? 0 : vmread32(v.cpu, vmcs, fields.attributes),
		selector: fields.selector < 0 ? 0 : vmread32(v.cpu, vmcs, fields.selector),
	};
}

function setSegment(v: Vcpu, segment: number, value: Segment): void {
	const { vmcs } = v.vmx!;
	const fields = SEGMENT_FIELDS[segment - L.GDTR]!;
	vmwrite(v.cpu, vmcs, fields.base, value.base);
	vmwrite32(v.cpu, vmcs, fields.limit, value.limit);
	if (fields.attributes >= 0) vmwrite32(v.cpu, vmcs, fields.attributes, value.attributes);
	if (fields.selector >= 0) vmwrite32(v.cpu, vmcs, fields.selector, value.selector);
}

/** MSRs that lie in the VMCS. */
const VMCS_MSRS: ReadonlyMap<number, number> = new Map([
	[0x174, F.GUEST_SYSENTER_CS],
	[0x175, F.GUEST_SYSENTER_ESP],
	[0x176, F.GUEST_SYSENTER_EIP],
	[0x277, F.GUEST_IA32_PAT],
	[MSR.IA32_PKRS, F.GUEST_IA32_PKRS],
	[MSR.IA32_S_CET, F.GUEST_S_CET],
	[MSR.IA32_INTERRUPT_SSP_TABLE, F.GUEST_INTR_SSP_TABLE],
	[MSR_KVM_INTERNAL_GUEST_SSP, F.GUEST_SSP],
	[0xc000_0100, F.GUEST_FS_BASE],
	[0xc000_0101, F.GUEST_GS_BASE],
]);

/** User-return MSRs: field of the state block (vmx_find_uret_msr()). */
const USER_RETURN_MSRS: ReadonlyMap<number, number> = new Map([
	[MSR.IA32_STAR, L.STAR],
	[MSR.IA32_LSTAR, L.LSTAR],
	[MSR.IA32_FMASK, L.SFMASK],
	[MSR.IA32_TSC_AUX, L.TSC_AUX],
]);

/** BUS_LOCK_DETECT is all that a guest without a PMU may set; BTF and LBR are dropped (vmx_get_supported_debugctl()). */
const DEBUGCTL = { busLockDetect: 4n, dropped: 3n } as const;
/** KVM_HOST_OWNED_DEBUGCTL_BITS: FREEZE_IN_SMM. */
const HOST_OWNED_DEBUGCTL = 1 << 14;

function getMsr(v: Vcpu, index: number): bigint | undefined {
	if (index === MSR.IA32_PKRS && !v.cpu.model.features.pks) return undefined;
	const field = VMCS_MSRS.get(index);
	if (field !== undefined) return vmread(v.cpu, v.vmx!.vmcs, field);
	const vmx = v.vmx!;
	const resident = USER_RETURN_MSRS.get(index);
	if (resident !== undefined) return vmx.userReturnMsrs.find((msr) => msr.field === resident)!.value;
	switch (index) {
		case MSR.IA32_DEBUGCTL:
			return vmread(v.cpu, vmx.vmcs, F.GUEST_IA32_DEBUGCTL) & ~BigInt(HOST_OWNED_DEBUGCTL);
		case MSR.IA32_KERNEL_GS_BASE:
			return vmx.guestStateLoaded ? v.cpu.read64(L.KERNEL_GS_BASE) : vmx.guestKernelGsBase;
		case MSR.IA32_SPEC_CTRL:
			return BigInt(vmx.specCtrl);
		case MSR.IA32_CSTAR:
			return v.msrs.get(index) ?? 0n;
		default:
			return undefined;
	}
}

function setMsr(v: Vcpu, index: number, value: bigint): boolean {
	if (index === MSR.IA32_PKRS && (!v.cpu.model.features.pks || value >> 32n !== 0n)) return false;
	const field = VMCS_MSRS.get(index);
	if (field !== undefined) {
		vmwrite(v.cpu, v.vmx!.vmcs, field, value);
		return true;
	}
	const resident = USER_RETURN_MSRS.get(index);
	if (resident !== undefined) return setUserReturnMsr(v, resident, value);
	const vmx = v.vmx!;
	switch (index) {
		case MSR.IA32_DEBUGCTL: {
			const kept = value & ~DEBUGCTL.dropped;
			if ((kept & ~DEBUGCTL.busLockDetect) !== 0n) return false;
			writeGuestDebugctl(v, Number(kept));
			return true;
		}
		case MSR.IA32_KERNEL_GS_BASE:
			if (vmx.guestStateLoaded) v.cpu.write64(L.KERNEL_GS_BASE, value);
			else vmx.guestKernelGsBase = value;
			return true;
		case MSR.IA32_SPEC_CTRL:
			vmx.specCtrl = Number(value);
			return true;
		case MSR.IA32_CSTAR:
			v.msrs.set(index, value);
			return true;
		default:
			return false;
	}
}

/** vmx_set_guest_uret_msr(): the processor's register follows at once. */
function setUserReturnMsr(v: Vcpu, field: number, value: bigint): boolean {
	// The processor refuses what it would be loaded with: wrmsrq_safe() of kvm_set_user_return_msr().
	if (field === L.SFMASK && value >> 32n !== 0n) return false;
	const msr = v.vmx!.userReturnMsrs.find((candidate) => candidate.field === field)!;
	msr.value = value;
	if (loadsUserReturnMsr(v, field) && v.vmx!.guestUretMsrsLoaded) v.kernel.userReturn.set([msr]);
	return true;
}

/** vmx_setup_uret_msrs(): SYSCALL's registers only while the guest can execute it. */
function loadsUserReturnMsr(v: Vcpu, field: number): boolean {
	return field === L.TSC_AUX || (v.efer & EFER_SYSCALL) === EFER_SYSCALL;
}

/** vmx_guest_debugctl_write(): the host's own bits stay in the field. */
export function writeGuestDebugctl(v: Vcpu, value: number): void {
	vmwriteNumber(v.cpu, v.vmx!.vmcs, F.GUEST_IA32_DEBUGCTL, value | (v.hostDebugctl & HOST_OWNED_DEBUGCTL));
}

/** vmx_reload_guest_debugctl(). */
export function reloadGuestDebugctl(v: Vcpu): void {
	writeGuestDebugctl(v, vmread32(v.cpu, v.vmx!.vmcs, F.GUEST_IA32_DEBUGCTL) & ~HOST_OWNED_DEBUGCTL);
}

/** The guest's user-return MSRs that are to be in the processor while it may run. */
export function loadGuestUserReturnMsrs(v: Vcpu): void {
	const vmx = v.vmx!;
	vmx.guestUretMsrsLoaded = true;
	v.kernel.userReturn.set(vmx.userReturnMsrs.filter(({ field }) => loadsUserReturnMsr(v, field)));
}

/** vmx_sync_dirty_debug_regs(). */
function syncDirtyDebugRegs(v: Vcpu): void {
	const { cpu } = v;
	const { vmcs } = v.vmx!;
	for (let n = 0; n < 4; n++) v.db[n] = moveFromDr(cpu, L.DR0 + 8 * n);
	v.dr6 = Number(moveFromDr(cpu, L.DR6));
	v.dr7 = vmread32(cpu, vmcs, F.GUEST_DR7);
	v.switchDbRegs &= ~DEBUGREG.WONT_EXIT;
	const controls = vmread32(cpu, vmcs, F.CPU_BASED_VM_EXEC_CONTROL);
	vmwrite32(cpu, vmcs, F.CPU_BASED_VM_EXEC_CONTROL, (controls | CPU_BASED.movDrExiting) >>> 0);
	// The host's #DB handler expects a DR6 that reports nothing.
	moveToDr(cpu, L.DR6, DR6_RESERVED);
}

function interceptException(v: Vcpu, vector: number, exits: boolean): void {
	const { vmcs } = v.vmx!;
	const bitmap = vmread32(v.cpu, vmcs, F.EXCEPTION_BITMAP);
	const bit = 1 << vector;
	vmwrite32(v.cpu, vmcs, F.EXCEPTION_BITMAP, exits ? bitmap | bit : bitmap & ~bit);
}

const PDPTR_FIELDS = [F.GUEST_PDPTR0, F.GUEST_PDPTR1, F.GUEST_PDPTR2, F.GUEST_PDPTR3] as const;

/** kvm_x86_ops for VMX guests. */
export const vmxOps: VendorOps = {
	vcpuCreate,
	afterSetCpuid,
	flushTlb: kvmFlushTlb,
	handleExit: vmxHandleExit,
	getRip: (v) => vmread(v.cpu, v.vmx!.vmcs, F.GUEST_RIP),
	setRip: (v, rip) => vmwrite(v.cpu, v.vmx!.vmcs, F.GUEST_RIP, rip),
	getRflags: (v) => vmread32(v.cpu, v.vmx!.vmcs, F.GUEST_RFLAGS),
	setRflags: (v, rflags) => vmwrite(v.cpu, v.vmx!.vmcs, F.GUEST_RFLAGS, BigInt(rflags | 2)),
	getRsp: (v) => vmread(v.cpu, v.vmx!.vmcs, F.GUEST_RSP),
	setRsp: (v, rsp) => vmwrite(v.cpu, v.vmx!.vmcs, F.GUEST_RSP, rsp),
	getCpl: (v) => (vmread32(v.cpu, v.vmx!.vmcs, F.GUEST_SS_AR_BYTES) >> 5) & 3,
	getSegment,
	setSegment,
	cacheControlRegisters,
	setCr0,
	setCr3: (v, cr3) => {
		v.cr3 = cr3;
		vmwrite(v.cpu, v.vmx!.vmcs, F.GUEST_CR3, cr3);
	},
	setCr4: (v, cr4) => {
		v.cr4 = cr4;
		vmwrite(v.cpu, v.vmx!.vmcs, F.CR4_READ_SHADOW, cr4);
		vmwrite(v.cpu, v.vmx!.vmcs, F.GUEST_CR4, cr4 | CR4_VMXE | CR4_MCE);
	},
	setEfer: (v, efer) => {
		v.efer = efer;
		updateLongMode(v);
		// vmx_setup_uret_msrs(): others are loaded now.
		v.vmx!.guestUretMsrsLoaded = false;
	},
	setPdptrs: (v, pdptrs) => {
		const { vmcs } = v.vmx!;
		for (const [at, field] of PDPTR_FIELDS.entries()) vmwrite(v.cpu, vmcs, field, pdptrs[at]!);
	},
	setDr7: (v, dr7) => vmwriteNumber(v.cpu, v.vmx!.vmcs, F.GUEST_DR7, dr7),
	syncDirtyDebugRegs,
	interceptNm: (v) => interceptException(v, VECTOR.NM, true),
	interceptBp: (v, exits) => interceptException(v, VECTOR.BP, exits),
	hostOwnedDebugctl: HOST_OWNED_DEBUGCTL,
	getMsr,
	setMsr,
	skipEmulatedInstruction: vmxSkipEmulatedInstruction,
	apicvActive,
	refreshApicv,
	deliverInterrupt: deliverPostedInterrupt,
	syncPirToIrr: (v) => {
		if (v.vmx!.apicv !== null) syncPirToIrr(v);
	},
	setEoiExit,
	loadEoiExitmap,
	interruptAllowed: (v) =>
		(vmread32(v.cpu, v.vmx!.vmcs, F.GUEST_RFLAGS) & FLAG.IF) !== 0 &&
		(vmread32(v.cpu, v.vmx!.vmcs, F.GUEST_INTERRUPTIBILITY_INFO) & 3) === 0,
	nmiMasked: isNmiMasked,
	setNmiMask,
	getInterruptShadow: (v) => {
		const info = vmread32(v.cpu, v.vmx!.vmcs, F.GUEST_INTERRUPTIBILITY_INFO);
		return ((info & 1) !== 0 ? INTERRUPT_SHADOW.STI : 0) | ((info & 2) !== 0 ? INTERRUPT_SHADOW.MOV_SS : 0);
	},
	setInterruptShadow: (v, shadow) => {
		const info = vmread32(v.cpu, v.vmx!.vmcs, F.GUEST_INTERRUPTIBILITY_INFO) & ~3;
		// Both at once is no state that VM entry takes: MOV SS goes first, as vmx_set_interrupt_shadow() has it.
		const bits = (shadow & INTERRUPT_SHADOW.MOV_SS) !== 0 ? 2 : (shadow & INTERRUPT_SHADOW.STI) !== 0 ? 1 : 0;
		vmwrite32(v.cpu, v.vmx!.vmcs, F.GUEST_INTERRUPTIBILITY_INFO, info | bits);
	},
	vnmiPending: () => false,
	setVnmiPending: () => false,
	nmiAllowed: (v) => (vmread32(v.cpu, v.vmx!.vmcs, F.GUEST_INTERRUPTIBILITY_INFO) & 0xb) === 0,
	injectIrq,
	injectNmi,
	injectException,
	cancelInjection,
	enableIrqWindow: (v) => setWindow(v, "interrupt", true),
	enableNmiWindow: (v) => setWindow(v, "nmi", true),
	writeTscOffset: (v) => vmwrite(v.cpu, v.vmx!.vmcs, F.TSC_OFFSET, BigInt.asUintN(64, BigInt(v.tscOffset))),
	setHvTimer: (v, deadline) => {
		v.vmx!.hvDeadlineTsc = deadline;
		return true;
	},
	cancelHvTimer: (v) => {
		v.vmx!.hvDeadlineTsc = -1;
	},
	exitReasonName,
	dump: dumpVmcs,
};
