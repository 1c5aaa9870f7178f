/** RDMSR and WRMSR for guests (arch/x86/kvm/x86.c: kvm_get_msr_common(), kvm_set_msr_common()). */
import { EFER } from "../../silicon/cpu/control.ts";
import * as L from "../../silicon/cpu/layout.ts";
import { isCanonicalForRegister, MSR } from "../../silicon/cpu/msr.ts";
import { KVM_REQ } from "../requests.ts";
import { x2apicRead, x2apicWrite } from "../irqchip/lapic-access.ts";
import type { Vcpu } from "../vcpu.ts";
import type { GuestRegister } from "../ledger.ts";
import { guestWrote, makeRequest } from "../vcpu.ts";
import { PVCLOCK_MSR, setPvclockMsr } from "../x86/pvclock.ts";
import { guestTsc, writeTsc, writeTscAdjust } from "./tsc.ts";
import { setMsrIntercept } from "../x86/msr-bitmap.ts";
import { getCetMsr, isCetMsr, setCetMsr } from "./cet.ts";
import { guestSupportedXss } from "./control.ts";
import { kvmFindCpuidEntry } from "./cpuid.ts";
import { GuestFault } from "./guest-fault.ts";
import { kvmCompleteInsnGp, queueGuestFault } from "./inject.ts";

const LOW_32 = 0xffff_ffffn;
/** Banks that IA32_MCG_CAP reports: KVM_MAX_MCE_BANKS is 32, user space takes 10. */
const MC_BANKS = 10;
const MCG_CAP = BigInt(MC_BANKS) | (1n << 24n);

/** The memory types of IA32_PAT and the MTRRs (SDM Vol. 3A, table 13-2): UC WC WT WP WB, and UC- in PAT alone. */
function isMemoryType(type: bigint, pat: boolean): boolean {
	return type === 0n || type === 1n || (type >= 4n && type <= 6n) || (pat && type === 7n);
}
function memoryTypesValid(value: bigint, pat: boolean): boolean {
	for (let shift = 0n; shift < 64n; shift += 8n)
		if (!isMemoryType((value >> shift) & 0xffn, pat)) return false;
	return true;
}

/** An MSR that KVM keeps for the guest and that does nothing. */
interface StoredMsr {
	readonly initial: bigint;
	/** null: read-only. */
	readonly valid: ((value: bigint) => boolean) | null;
}

const anyValue = () => true;
/** All ones or all zeros; Linux clears bits 0 and 10 of a bank on old processors. */
const isMciCtl = (value: bigint) => value === 0n || (value | 0x401n) === 0xffff_ffff_ffff_ffffn;
const zeroOnly = (value: bigint) => value === 0n;

/** MSRs by index that are only stored. */
function storedMsrs(): Map<number, StoredMsr> {
	const stored = new Map<number, StoredMsr>();
	const add = (index: number, initial = 0n, valid: StoredMsr["valid"] = anyValue) =>
		stored.set(index, { initial, valid });
	add(MSR.IA32_PAT, 0x0007_0406_0007_0406n, (value) => memoryTypesValid(value, true));
	// The paravirtual MSRs: the clock's have their effects besides; asynchronous page faults and steal time have none.
	for (const index of [...Object.values(PVCLOCK_MSR), 0x4b56_4d02, 0x4b56_4d03, 0x4b56_4d04]) add(index);
	add(MSR.IA32_MTRRCAP, 0x508n, null);
	for (let index = 0x200; index <= 0x20f; index++) add(index);
	for (const index of [0x250, 0x258, 0x259]) add(index, 0n, (value) => memoryTypesValid(value, false));
	for (let index = 0x268; index <= 0x26f; index++) add(index, 0n, (value) => memoryTypesValid(value, false));
	add(MSR.IA32_MTRR_DEF_TYPE, 0n, (value) => (value & ~0xcffn) === 0n && isMemoryType(value & 0xffn, false));
	add(MSR.IA32_MISC_ENABLE, 1n);
	add(MSR.IA32_MCG_CAP, MCG_CAP, null);
	add(MSR.IA32_MCG_STATUS);
	add(0x17b, 0n, (value) => value === 0n || value === 0xffff_ffff_ffff_ffffn);
	for (let index = 0x400; index < 0x400 + 4 * MC_BANKS; index++) {
		// A guest may only clear MCi_STATUS.
		const kind = index & 3;
		add(index, 0n, kind === 0 ? isMciCtl : kind === 1 ? zeroOnly : anyValue);
	}
	add(MSR.IA32_BIOS_SIGN_ID, 0x1_0000_0000n);
	add(MSR.IA32_FEATURE_CONTROL, 1n, null);
	add(MSR.MSR_PLATFORM_INFO, 1n << 31n, null);
	add(0x140);
	add(MSR.HWCR, 1n << 24n, (value) => (value & ~0x0100_0458n) === 0n);
	add(MSR.SYSCFG);
	// AMD's performance counters, when the guest has no PMU: kvm_get_msr_common() reads and writes do not fault.
	for (let index = 0xc001_0000; index <= 0xc001_0007; index++) add(index);
	for (const index of [0xc001_001a, 0xc001_001d, 0xc001_001f, 0xc001_1029]) add(index);
	return stored;
}
const STORED = storedMsrs();

function isX2apicMsr(index: number): boolean {
	return index >= 0x800 && index <= 0x8ff;
}

/** Bits of CPUID that say whether a guest has the MSRs of branch prediction. */
const CPUID_7_EDX = { specCtrl: 1 << 26, stibp: 1 << 27, flushL1d: 1 << 28, ssbd: 1 << 31 } as const;
const CPUID_80000008_EBX = { ibpb: 1 << 12, ibrs: 1 << 14, stibp: 1 << 15, ssbd: 1 << 24 } as const;

const edx7 = (v: Vcpu) => kvmFindCpuidEntry(v, 7, 0)?.edx ?? 0;
const ebx80000008 = (v: Vcpu) => kvmFindCpuidEntry(v, 0x8000_0008, 0)?.ebx ?? 0;

/** guest_has_spec_ctrl_msr(). */
function hasSpecCtrl(v: Vcpu): boolean {
	const intel = CPUID_7_EDX.specCtrl | CPUID_7_EDX.stibp | CPUID_7_EDX.ssbd;
	const amd = CPUID_80000008_EBX.ibrs | CPUID_80000008_EBX.stibp | CPUID_80000008_EBX.ssbd;
	return (edx7(v) & intel) !== 0 || (ebx80000008(v) & amd) !== 0;
}

/** guest_has_pred_cmd_msr(). */
function hasPredCmd(v: Vcpu): boolean {
	return (edx7(v) & CPUID_7_EDX.specCtrl) !== 0 || (ebx80000008(v) & CPUID_80000008_EBX.ibpb) !== 0;
}

/** kvm_get_msr(). @returns the value, or undefined for #GP(0) */
export function kvmGetMsr(v: Vcpu, index: number): bigint | undefined {
	if (isX2apicMsr(index)) return v.apic === null ? undefined : x2apicRead(v.apic, index);
	if (isCetMsr(index)) return getCetMsr(v, index);
	switch (index) {
		case MSR.IA32_TSC:
			return BigInt.asUintN(64, BigInt(guestTsc(v)));
		case MSR.IA32_TSC_DEADLINE:
			return BigInt(v.apic?.tscDeadline ?? 0);
		case MSR.IA32_APIC_BASE:
			return BigInt(v.apic?.baseMsr ?? v.apicBase);
		case MSR.IA32_EFER:
			return v.efer;
		case MSR.IA32_XSS:
			return v.guestCanUseXsaves ? BigInt(v.iaXss) : undefined;
		case MSR.IA32_XFD:
			return v.cpu.model.features.xfd === 0 ? undefined : BigInt(v.guestFpu.xfd);
		case MSR.IA32_XFD_ERR:
			return v.cpu.model.features.xfd === 0 ? undefined : BigInt(v.xfdErr);
		case MSR.IA32_TSC_ADJUST:
			return v.msrs.get(index) ?? 0n;
		case MSR.IA32_SPEC_CTRL:
			return hasSpecCtrl(v) ? v.vm.ops.getMsr(v, index) : undefined;
		case MSR.IA32_BIOS_SIGN_ID:
			// microcode_version: svm_vcpu_create(), vmx_vcpu_create().
			return v.msrs.get(index) ?? (v.vm.vendor === "svm" ? 0x0100_0065n : 0x1_0000_0000n);
		default:
			return v.vm.ops.getMsr(v, index) ?? v.msrs.get(index) ?? STORED.get(index)?.initial;
	}
}

/** kvm_set_msr(). @param value 64 bits @returns false for #GP(0) */
export function kvmSetMsr(v: Vcpu, index: number, value: bigint): boolean {
	if (isX2apicMsr(index)) return v.apic !== null && x2apicWrite(v.apic, index, value);
	if (isCetMsr(index)) return setCetMsr(v, index, value);
	switch (index) {
		case MSR.IA32_TSC:
			writeTsc(v, value);
			return true;
		case MSR.IA32_TSC_DEADLINE:
			v.apic?.setTscDeadline(Number(value));
			return true;
		case MSR.IA32_TSC_ADJUST:
			writeTscAdjust(v, value);
			return true;
		case MSR.IA32_APIC_BASE:
			return value >> 52n === 0n && (v.apic?.setBase(Number(value)) ?? false);
		case MSR.IA32_EFER:
			return setEfer(v, value);
		case MSR.IA32_FS_BASE:
		case MSR.IA32_GS_BASE:
		case MSR.IA32_KERNEL_GS_BASE:
		case MSR.IA32_LSTAR:
		case MSR.IA32_CSTAR:
			return isCanonicalForRegister(value, v.cpu) && setOtherMsr(v, index, value);
		case MSR.IA32_SYSENTER_ESP:
		case MSR.IA32_SYSENTER_EIP:
			// Cut rather than refused, so that a guest can move between vendors.
			return setOtherMsr(v, index, BigInt.asUintN(64, BigInt.asIntN(linearBits(v), value)));
		case MSR.IA32_XSS:
			if (!v.guestCanUseXsaves || (value & ~BigInt(guestSupportedXss(v) >>> 0)) !== 0n) return false;
			v.iaXss = Number(value);
			return true;
		case MSR.IA32_XFD:
			return setXfd(v, value);
		case MSR.IA32_XFD_ERR:
			if ((value & ~BigInt(v.cpu.model.features.xfd)) !== 0n || v.cpu.model.features.xfd === 0) return false;
			v.xfdErr = Number(value);
			return true;
		case MSR.IA32_SPEC_CTRL:
			return hasSpecCtrl(v) && setSpecCtrl(v, value);
		case MSR.IA32_PRED_CMD:
			return hasPredCmd(v) && (value & ~1n) === 0n;
		case MSR.IA32_FLUSH_CMD:
			return (edx7(v) & CPUID_7_EDX.flushL1d) !== 0 && (value & ~1n) === 0n;
		default:
			return setOtherMsr(v, index, value);
	}
}

/** Bits of linear addresses that the host translates at most: max_host_virt_addr_bits(). */
function linearBits(v: Vcpu): number {
	return v.cpu.model.features.la57 ? 57 : 48;
}

function setOtherMsr(v: Vcpu, index: number, value: bigint): boolean {
	if (setPvclockMsr(v, index, value)) return true;
	const stored = STORED.get(index);
	if (stored !== undefined && (stored.valid === null || !stored.valid(value))) return false;
	if (v.vm.ops.setMsr(v, index, value)) return true;
	if (stored === undefined) return false;
	v.msrs.set(index, value);
	return true;
}

/** set_efer(): LME cannot change while paging is on, and LMA is the processor's. */
function setEfer(v: Vcpu, value: bigint): boolean {
	const svm = v.cpu.model.vendorString === "AuthenticAMD" ? EFER.FFXSR : 0;
	const allowed = BigInt(EFER.SCE | EFER.LME | EFER.LMA | EFER.NXE | svm);
	if ((value & ~allowed) !== 0n) return false;
	const lme = BigInt(EFER.LME);
	const lma = BigInt(EFER.LMA);
	if ((v.cr0 & (1n << 31n)) !== 0n && (value & lme) !== (v.efer & lme)) return false;
	const changed = v.efer ^ value;
	v.vm.ops.setEfer(v, (value & ~lma) | (v.efer & lma));
	if ((changed & BigInt(EFER.NXE)) !== 0n) makeRequest(v, KVM_REQ.TLB_FLUSH);
	return true;
}

/** MSR_IA32_SPEC_CTRL of vmx_set_msr() and svm_set_msr(): no exits from the first value other than 0 on. */
function setSpecCtrl(v: Vcpu, value: bigint): boolean {
	if (!v.vm.ops.setMsr(v, MSR.IA32_SPEC_CTRL, value)) return false;
	if (value !== 0n && !v.specCtrlNoIntercept && v.msrBitmap !== null) {
		v.specCtrlNoIntercept = true;
		setMsrIntercept(v, MSR.IA32_SPEC_CTRL, false, false);
		setMsrIntercept(v, MSR.IA32_SPEC_CTRL, true, false);
	}
	return true;
}

/** MSR_IA32_XFD of kvm_set_msr_common() and vmx_set_msr(). */
function setXfd(v: Vcpu, value: bigint): boolean {
	const { xfd } = v.cpu.model.features;
	if (xfd === 0 || (value & ~BigInt(xfd)) !== 0n) return false;
	// Told first: from here on the kernel may find either value in the register.
	guestWrote(v, "IA32_XFD", value);
	v.argument = Number(value);
	v.vm.tree.helpers.fpu_update_guest_xfd(v);
	// The first value other than 0 makes the MSR the guest's own; KVM reads it back at each exit from then on.
	if (value !== 0n && !v.xfdNoWriteIntercept) {
		v.xfdNoWriteIntercept = true;
		setMsrIntercept(v, MSR.IA32_XFD, false, false);
		setMsrIntercept(v, MSR.IA32_XFD, true, false);
		setMsrIntercept(v, MSR.IA32_XFD_ERR, false, false);
		v.vm.ops.interceptNm(v);
	}
	return true;
}

/** Registers that are swapped, by MSR. What KVM drops of a write to DEBUGCTL the guest is not owed. */
const LEDGER: ReadonlyMap<number, GuestRegister> = new Map([
	[MSR.IA32_XSS, "IA32_XSS"],
	[MSR.IA32_XFD_ERR, "IA32_XFD_ERR"],
	[MSR.IA32_DEBUGCTL, "IA32_DEBUGCTL"],
	[MSR.IA32_SPEC_CTRL, "IA32_SPEC_CTRL"],
	[MSR.IA32_STAR, "IA32_STAR"],
	[MSR.IA32_LSTAR, "IA32_LSTAR"],
	[MSR.IA32_FMASK, "IA32_FMASK"],
	[MSR.IA32_TSC_AUX, "IA32_TSC_AUX"],
	[MSR.IA32_KERNEL_GS_BASE, "IA32_KERNEL_GS_BASE"],
]);

/** kvm_emulate_rdmsr(). */
export function kvmEmulateRdmsr(v: Vcpu): number {
	v.cpu.code(90);
	const index = v.regs32[L.RCX * 2]!;
	const value = kvmGetMsr(v, index);
	v.tracer?.tracepoint?.(v, "kvm_msr", {
		write: false,
		index,
		value: value ?? 0n,
		gp: value === undefined,
	});
	if (value === undefined) return kvmCompleteInsnGp(v, true);
	v.regs[L.RAX] = value & LOW_32;
	v.regs[L.RDX] = value >> 32n;
	return kvmCompleteInsnGp(v, false);
}

/** kvm_emulate_wrmsr(). */
export function kvmEmulateWrmsr(v: Vcpu): number {
	v.cpu.code(110);
	const value = (BigInt(v.regs32[L.RDX * 2]!) << 32n) | BigInt(v.regs32[L.RAX * 2]!);
	const index = v.regs32[L.RCX * 2]!;
	try {
		const failed = !kvmSetMsr(v, index, value);
		const register = LEDGER.get(index);
		v.tracer?.tracepoint?.(v, "kvm_msr", { write: true, index, value, gp: failed });
		if (!failed && register !== undefined) guestWrote(v, register, value);
		return kvmCompleteInsnGp(v, failed);
	} catch (fault) {
		if (!(fault instanceof GuestFault)) throw fault;
		queueGuestFault(v, fault);
		return 1;
	}
}
