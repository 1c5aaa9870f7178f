/**
 * CET for guests: its MSRs, of which those that XSAVES saves lie in the guest's FPU image outside of KVM_RUN, and the
 * instructions that KVM does not emulate while it is on (arch/x86/kvm/x86.c, emulate.c, v6.18).
 */
import { CET, type CetFeatures, isCetControl } from "../../silicon/cpu/cet.ts";
import { CR4 } from "../../silicon/cpu/control.ts";
import { featureBit } from "../../silicon/cpu/cpuid-features.ts";
import * as L from "../../silicon/cpu/layout.ts";
import { isCanonicalForRegister, isShadowStackPointer, MSR } from "../../silicon/cpu/msr.ts";
import { compactedOffset } from "../../silicon/cpu/state-components.ts";
import { Mnemonic as M } from "../../silicon/translate/decode.ts";
import type { Insn } from "../../silicon/translate/insn.ts";
import type { Vcpu } from "../vcpu.ts";
import { setMsrIntercept } from "../x86/msr-bitmap.ts";
import { guestCpuCapHas } from "./cpuid.ts";

/** MSR_KVM_INTERNAL_GUEST_SSP: the guest's SSP, which no real MSR holds. */
export const MSR_KVM_INTERNAL_GUEST_SSP = 0x4b56_4dff;

const SHSTK = featureBit("shstk");
const IBT = featureBit("ibt");

/** State components and their bytes. */
const CET_USER = { index: 11, bytes: 16 } as const;
const CET_SUPERVISOR = { index: 12, bytes: 24 } as const;
/** Registers that XSAVES saves: field of the state block, state component and offset in it. */
const XSTATE_MSRS: ReadonlyMap<
	number,
	readonly [field: number, component: typeof CET_USER | typeof CET_SUPERVISOR, at: number]
> = new Map([
	[MSR.IA32_U_CET, [L.U_CET, CET_USER, 0]],
	[MSR.IA32_PL3_SSP, [L.PL3_SSP, CET_USER, 8]],
	[MSR.IA32_PL0_SSP, [L.PL0_SSP, CET_SUPERVISOR, 0]],
	[MSR.IA32_PL1_SSP, [L.PL1_SSP, CET_SUPERVISOR, 8]],
	[MSR.IA32_PL2_SSP, [L.PL2_SSP, CET_SUPERVISOR, 16]],
]);
/** Those that the guest may use without exits, by what they come with. */
const EITHER = [MSR.IA32_U_CET, MSR.IA32_S_CET];
const OF_SHADOW_STACKS = [MSR.IA32_PL0_SSP, MSR.IA32_PL1_SSP, MSR.IA32_PL2_SSP, MSR.IA32_PL3_SSP];

/** What of CET the guest's CPUID offers. */
export function guestCet(v: Vcpu): CetFeatures {
	return { cetSs: guestCpuCapHas(v, SHSTK), cetIbt: guestCpuCapHas(v, IBT) };
}

/** Whether an MSR is one of CET's, the internal one included. */
export function isCetMsr(index: number): boolean {
	return (
		index === MSR.IA32_U_CET ||
		index === MSR.IA32_S_CET ||
		(index >= MSR.IA32_PL0_SSP && index <= MSR.IA32_INTERRUPT_SSP_TABLE) ||
		index === MSR_KVM_INTERNAL_GUEST_SSP
	);
}

/** Whether the guest has one of CET's MSRs. */
function exists(v: Vcpu, index: number): boolean {
	const { cetSs, cetIbt } = guestCet(v);
	if (index === MSR.IA32_U_CET || index === MSR.IA32_S_CET) return cetSs || cetIbt;
	return cetSs && index !== MSR_KVM_INTERNAL_GUEST_SSP;
}

/** kvm_get_msr() of one of CET's. @returns the value, or undefined for #GP(0) */
export function getCetMsr(v: Vcpu, index: number): bigint | undefined {
	if (!exists(v, index)) return undefined;
	return XSTATE_MSRS.has(index) ? getXstateMsr(v, index) : v.vm.ops.getMsr(v, index);
}

/** kvm_set_msr() of one of CET's. @returns false for #GP(0) */
export function setCetMsr(v: Vcpu, index: number, value: bigint): boolean {
	if (!exists(v, index)) return false;
	if (index === MSR.IA32_U_CET || index === MSR.IA32_S_CET) {
		if (!isCetControl(value, guestCet(v))) return false;
	} else {
		if (!isCanonicalForRegister(value, v.cpu)) return false;
		if (index !== MSR.IA32_INTERRUPT_SSP_TABLE && (value & 3n) !== 0n) return false;
	}
	if (!XSTATE_MSRS.has(index)) return v.vm.ops.setMsr(v, index, value);
	setXstateMsr(v, index, value);
	return true;
}

/** MSR_KVM_INTERNAL_GUEST_SSP for user space, which alone gets at it. The guest's CPUID has shadow stacks. */
export function getGuestSsp(v: Vcpu): bigint {
	return v.vm.ops.getMsr(v, MSR_KVM_INTERNAL_GUEST_SSP) ?? 0n;
}

/** Sets it. @returns false for an address that is not canonical, or no multiple of 4 */
export function setGuestSsp(v: Vcpu, value: bigint): boolean {
	return isShadowStackPointer(value, v.cpu) && v.vm.ops.setMsr(v, MSR_KVM_INTERNAL_GUEST_SSP, value);
}

/** The guest's FPU image is in the processor: KVM_RUN is under way. */
function isLoaded(v: Vcpu): boolean {
	const task = v.kernel.current;
	return task.fpstate === v.guestFpu && !task.needFpuLoad;
}

/** kvm_get_xstate_msr(). */
function getXstateMsr(v: Vcpu, index: number): bigint {
	const [field, component, at] = XSTATE_MSRS.get(index)!;
	if (isLoaded(v)) return v.cpu.read64(field);
	const { image } = v.guestFpu;
	if ((image.xstateBv & (1 << component.index)) === 0) return 0n;
	return viewOf(image.bytes).getBigUint64(compactedOffset(image.xcompBv, component.index) + at, true);
}

/** kvm_set_xstate_msr(). */
function setXstateMsr(v: Vcpu, index: number, value: bigint): void {
	const [field, component, at] = XSTATE_MSRS.get(index)!;
	if (isLoaded(v)) {
		v.cpu.write64(field, value);
		return;
	}
	const { image } = v.guestFpu;
	const offset = compactedOffset(image.xcompBv, component.index);
	// The component was in its initial state: all of it is 0.
	if ((image.xstateBv & (1 << component.index)) === 0) {
		if (value === 0n) return;
		image.bytes.fill(0, offset, offset + component.bytes);
		image.xstateBv |= 1 << component.index;
	}
	viewOf(image.bytes).setBigUint64(offset + at, value, true);
}

function viewOf(bytes: Uint8Array): DataView {
	return new DataView(bytes.buffer, bytes.byteOffset);
}

/**
 * CET's part of vmx_recalc_msr_intercepts() and svm_recalc_msr_intercepts(): what XSAVES saves cannot be kept from a guest
 * that has it. IA32_INTERRUPT_SSP_TABLE stays intercepted.
 */
export function recalcCetIntercepts(v: Vcpu): void {
	const { cetSs, cetIbt } = guestCet(v);
	const pass = (index: number, passed: boolean) => {
		setMsrIntercept(v, index, false, !passed);
		setMsrIntercept(v, index, true, !passed);
	};
	for (const index of EITHER) pass(index, cetSs || cetIbt);
	for (const index of OF_SHADOW_STACKS) pass(index, cetSs);
}

/** INIT and power-on leave CET off (vmx_vcpu_reset(), init_vmcb(), kvm_xstate_reset()). */
export function resetCet(v: Vcpu): void {
	if (!v.cpu.model.features.cetSs && !v.cpu.model.features.cetIbt) return;
	for (const index of [MSR.IA32_S_CET, MSR.IA32_INTERRUPT_SSP_TABLE, MSR_KVM_INTERNAL_GUEST_SSP])
		v.vm.ops.setMsr(v, index, 0n);
	for (const index of XSTATE_MSRS.keys()) setXstateMsr(v, index, 0n);
}

const FAR = [
	M.Retf,
	M.Iret,
	M.Iretd,
	M.Iretq,
	M.Int,
	M.Int3,
	M.Into,
	M.Syscall,
	M.Sysenter,
	M.Sysexit,
	M.Sysexitq,
];
/** Instructions with the emulator's flag ShadowStack. */
const ON_SHADOW_STACKS = new Set<number>([M.Call, M.Ret, ...FAR]);

/**
 * Whether KVM declines to emulate an instruction, because it would have to move a shadow stack or to track a branch:
 * x86_decode_insn(). Of what may change the privilege level, both levels' settings count.
 */
export function cetForbidsEmulation(v: Vcpu, insn: Insn): boolean {
	const branch = insn.mnemonic === M.Jmp || insn.mnemonic === M.Call;
	const tracked = branch && insn.operands[0]!.kind !== "near";
	if ((v.cr4Bits & CR4.CET) === 0 || !(tracked || ON_SHADOW_STACKS.has(insn.mnemonic))) return false;
	const far = FAR.includes(insn.mnemonic);
	const user = v.vm.ops.getCpl(v) === 3;
	let control = 0n;
	if (far || user) control |= getXstateMsr(v, MSR.IA32_U_CET);
	if (far || !user) control |= v.vm.ops.getMsr(v, MSR.IA32_S_CET) ?? 0n;
	const stack = ON_SHADOW_STACKS.has(insn.mnemonic) && (control & BigInt(CET.SH_STK_EN)) !== 0n;
	return stack || (tracked && (control & BigInt(CET.ENDBR_EN)) !== 0n);
}
