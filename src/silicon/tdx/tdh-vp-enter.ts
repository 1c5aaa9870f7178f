/**
 * SEAMCALL(TDH.VP.ENTER): the module enters the TD, handles what it can by itself, and returns with a TD exit
 * (TDX Module ABI Specification, TDH.VP.ENTER Leaf).
 *
 * In SEAM root mode interrupts, NMIs and machine checks wait: those that come while the TD runs end its run, and
 * the module passes on what the VM exit said. An external interrupt has been acknowledged by then: its vector is
 * in the outputs and nowhere else.
 */
import type { Cpu } from "../cpu/cpu.ts";
import * as L from "../cpu/layout.ts";
import { OP } from "../ops.ts";
import { VECTOR } from "../cpu/fault.ts";
import { EXIT_REASON, INTR_TYPE } from "../vmx/controls.ts";
import { runNonRoot, VMX_RESULT } from "../vmx/entry.ts";
import { O } from "../vmx/fields.ts";
import { seamcall, TDX_STATUS } from "./module.ts";
import { type Td, TdVcpu } from "./td.ts";
import { DISPOSITION, handleTdExit } from "./td-exits.ts";
import { initialPrivateFields, loadTdState, saveTdState } from "./td-state.ts";

const GPRS = 16;
const R8 = 8;
const R9 = 9;

/**
 * TDH.VP.CREATE, .ADDCX and .INIT in one: a vCPU at the reset vector.
 * @param virtualApicHpa a zeroed page of host memory, which becomes the virtual APIC's
 */
export function tdhVpInit(cpu: Cpu, td: Td, virtualApicHpa: number): TdVcpu {
	return seamcall(cpu, () => {
		const vcpu = new TdVcpu(td, td.vcpus.length, initialPrivateFields(), cpu.model.features, virtualApicHpa);
		td.vcpus.push(vcpu);
		return vcpu;
	});
}

/**
 * TDH.VP.ENTER. An #MC in a TD or on its entry disables the TD: the exit tells of the #MC, and later entries of any of
 * the TD's vCPUs are refused with TDX_TD_FATAL.
 * @param regs the VMM's GPRs in encoding order, RBP and RSP left alone (CONFIG_FLAGS.NO_RBP_MOD). In: what a
 * TDG.VP.VMCALL under way gets back. Out: after a TDG.VP.VMCALL (exit reason 77) the registers that its mask
 * exposes, RCX the mask; after every other exit RCX the exit qualification, R8 the guest physical address of an
 * EPT violation, R9 the interruption information; the rest 0. Without an entry nothing changes
 * @returns the completion status, a TDX_STATUS; `vcpu.exitReason` and its neighbours say why the TD exited
 */
export function tdhVpEnter(cpu: Cpu, vcpu: TdVcpu, regs: BigUint64Array): number {
	return seamcall(cpu, () => enter(cpu, vcpu, regs));
}

function enter(cpu: Cpu, vcpu: TdVcpu, regs: BigUint64Array): number {
	const refused = whyRefused(cpu, vcpu);
	if (refused !== TDX_STATUS.success) {
		cpu.noEntryToHit();
		return refused;
	}
	vcpu.associatedWith = cpu.number;
	const { gprs, hostState } = vcpu;
	if (vcpu.inVmcall) finishVmcall(vcpu, regs);
	const gprAt = (cpu.base + L.GPR) >> 3;
	const switched = cpu.memory.u8.subarray(cpu.base + L.SWITCHED, cpu.base + L.SWITCHED_END);
	const hostRsp = cpu.gpr(L.RSP);
	hostState.set(switched);
	loadTdState(cpu, vcpu);
	vcpu.inVmcall = false;
	cpu.u64.set(gprs, gprAt);
	runUntilExit(cpu, vcpu);
	for (let at = 0; at < GPRS; at++) gprs[at] = cpu.u64[gprAt + at]!;
	switched.set(hostState);
	cpu.setGpr(L.RSP, hostRsp);
	saveTdState(cpu, vcpu);
	return report(vcpu, regs);
}

/**
 * TDH.VP.FLUSH: the processor that ran a TD's vCPU last lets go of its state, so that another one can enter it. It is that
 * processor's SEAMCALL, and no op of the one that waits for it.
 */
export function tdhVpFlush(vcpu: TdVcpu): void {
	vcpu.associatedWith = -1;
}

function whyRefused(cpu: Cpu, { td, associatedWith }: TdVcpu): number {
	if (td.busy || td.busyOnce) {
		td.busyOnce = false;
		return TDX_STATUS.operandBusy;
	}
	if (td.fatal) return TDX_STATUS.tdFatal;
	if (associatedWith >= 0 && associatedWith !== cpu.number) return TDX_STATUS.vcpuAssociated;
	return td.finalized ? TDX_STATUS.success : TDX_STATUS.opStateIncorrect;
}

/**
 * TDG.VP.VMCALL succeeds in the TD, with the VMM's values in the registers that it exposed. RAX, which cannot be
 * among them, holds the leaf's number 0, and that is success as well.
 */
function finishVmcall(vcpu: TdVcpu, regs: BigUint64Array): void {
	for (let at = 0; at < GPRS; at++) if ((vcpu.vmcallMask & (1 << at)) !== 0) vcpu.gprs[at] = regs[at]!;
}

/** Enters the TD, again and again until an exit is the VMM's. */
function runUntilExit(cpu: Cpu, vcpu: TdVcpu): void {
	for (;;) {
		if (runNonRoot(cpu, vcpu.vmcs) !== VMX_RESULT.exit) {
			throw new Error(`the TDX module's VM entry failed: ${vcpu.vmcs.failedCheck}`);
		}
		if (handleTdExit(cpu, vcpu) === DISPOSITION.tdExit) return;
		// A round trip between the TD and the module. It is no op of the VMM's.
		cpu.cycles += cpu.costs[OP.vmexit]! + cpu.costs[OP.vmresume]!;
	}
}

/** An EPT violation tells the VMM the page and the kind of access, not the address (qualification bits 12:7). */
const EPT_QUALIFICATION_KEPT = ~0x1f80;

/** Fills in the outputs. @returns the completion status */
function report(vcpu: TdVcpu, regs: BigUint64Array): number {
	const { u32 } = vcpu.vmcs;
	const reason = u32[O.VM_EXIT_REASON >> 2]!;
	const isEptViolation = reason === EXIT_REASON.eptViolation;
	const qualification = u32[O.EXIT_QUALIFICATION >> 2]!;
	vcpu.exitReason = reason;
	vcpu.exitQualification = isEptViolation ? (qualification & EPT_QUALIFICATION_KEPT) >>> 0 : qualification;
	vcpu.exitIntrInfo = hasIntrInfo(reason) ? u32[O.VM_EXIT_INTR_INFO >> 2]! : 0;
	const isVmcall = reason === EXIT_REASON.tdcall;
	for (let at = 0; at < GPRS; at++) {
		const exposed = isVmcall && (vcpu.vmcallMask & (1 << at)) !== 0;
		if (at !== L.RSP && at !== L.RBP) regs[at] = exposed ? vcpu.gprs[at]! : 0n;
	}
	if (isVmcall) {
		regs[L.RCX] = BigInt(vcpu.vmcallMask >>> 0);
		return TDX_STATUS.success;
	}
	regs[L.RCX] = BigInt(vcpu.exitQualification);
	if (isEptViolation) regs[R8] = vcpu.vmcs.u64[O.GUEST_PHYSICAL_ADDRESS >> 3]! & ~0xfffn;
	regs[R9] = BigInt(vcpu.exitIntrInfo);
	if (isMachineCheck(reason, vcpu.exitIntrInfo)) {
		vcpu.td.fatal = true;
		return TDX_STATUS.nonRecoverableTdNonAccessible;
	}
	return reason === EXIT_REASON.tripleFault ? TDX_STATUS.nonRecoverableVcpu : TDX_STATUS.success;
}

/** An #MC in the TD, or during the VM entry. */
function isMachineCheck(reason: number, intrInfo: number): boolean {
	const isException = reason === EXIT_REASON.exceptionOrNmi && ((intrInfo >>> 8) & 7) !== INTR_TYPE.nmi;
	return (
		(reason & 0xffff) === EXIT_REASON.machineCheckDuringEntry ||
		(isException && (intrInfo & 0xff) === VECTOR.MC)
	);
}

function hasIntrInfo(reason: number): boolean {
	return reason === EXIT_REASON.exceptionOrNmi || reason === EXIT_REASON.externalInterrupt;
}
