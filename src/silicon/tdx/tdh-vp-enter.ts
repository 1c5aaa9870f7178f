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
import { ENTRY_FAILURE, EXIT_REASON } from "../vmx/controls.ts";
import { runNonRoot, VMX_RESULT } from "../vmx/entry.ts";
import { O } from "../vmx/fields.ts";
import { seamcall, TDX_STATUS } from "./module.ts";
import { type Td, TdVcpu } from "./td.ts";
import { DISPOSITION, handleTdExit, skipInstruction } from "./td-exits.ts";
import { initialPrivateFields, loadTdState, saveTdState } from "./td-state.ts";

const GPRS = 16;
const R8 = 8;
const R9 = 9;

/** The VMM's bytes that VM entry would switch. One is enough: there is one TDH.VP.ENTER at a time. */
const hostState = new Uint8Array(L.SWITCHED_END - L.SWITCHED);

/** TDH.VP.CREATE, .ADDCX and .INIT in one: a vCPU at the reset vector. */
export function tdhVpInit(cpu: Cpu, td: Td): TdVcpu {
	return seamcall(cpu, () => {
		const vcpu = new TdVcpu(td, td.vcpus.length, initialPrivateFields());
		td.vcpus.push(vcpu);
		return vcpu;
	});
}

/**
 * TDH.VP.ENTER.
 * @param regs the VMM's GPRs in encoding order. In: what a TDG.VP.VMCALL under way gets back. Out: after a
 * TDG.VP.VMCALL (exit reason 77) the registers that its mask exposes, RCX the mask; after every other exit RCX the
 * exit qualification, R8 the guest physical address, R9 the interruption information, the rest 0
 * @returns the completion status, a TDX_STATUS; `vcpu.exitReason` and its neighbours say why the TD exited
 */
export function tdhVpEnter(cpu: Cpu, vcpu: TdVcpu, regs: BigUint64Array): number {
	return seamcall(cpu, () => enter(cpu, vcpu, regs));
}

function enter(cpu: Cpu, vcpu: TdVcpu, regs: BigUint64Array): number {
	if (!vcpu.td.finalized) return TDX_STATUS.opStateIncorrect;
	if (vcpu.vmcallMask >= 0) finishVmcall(vcpu, regs);
	const gprAt = (cpu.base + L.GPR) >> 3;
	const switched = cpu.memory.u8.subarray(cpu.base + L.SWITCHED, cpu.base + L.SWITCHED_END);
	const hostRsp = cpu.gpr(L.RSP);
	hostState.set(switched);
	loadTdState(cpu, vcpu);
	cpu.u64.set(vcpu.gprs, gprAt);
	runUntilExit(cpu, vcpu);
	for (let at = 0; at < GPRS; at++) vcpu.gprs[at] = cpu.u64[gprAt + at]!;
	switched.set(hostState);
	cpu.setGpr(L.RSP, hostRsp);
	saveTdState(cpu, vcpu);
	return report(vcpu, regs);
}

/** The TD resumes behind its TDCALL with success in RAX and the VMM's values in the registers it exposed. */
function finishVmcall(vcpu: TdVcpu, regs: BigUint64Array): void {
	for (let at = 0; at < GPRS; at++) if ((vcpu.vmcallMask & (1 << at)) !== 0) vcpu.gprs[at] = regs[at]!;
	vcpu.gprs[L.RAX] = 0n;
	vcpu.vmcallMask = -1;
	skipInstruction(vcpu);
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

/** Fills in the outputs. @returns the completion status */
function report(vcpu: TdVcpu, regs: BigUint64Array): number {
	const { u32, u64 } = vcpu.vmcs;
	const reason = u32[O.VM_EXIT_REASON >> 2]!;
	vcpu.exitReason = reason;
	vcpu.exitQualification = u32[O.EXIT_QUALIFICATION >> 2]!;
	vcpu.exitIntrInfo = (reason & ENTRY_FAILURE) !== 0 ? 0 : u32[O.VM_EXIT_INTR_INFO >> 2]!;
	regs.fill(0n);
	if (reason === EXIT_REASON.tdcall) {
		for (let at = 0; at < GPRS; at++) if ((vcpu.vmcallMask & (1 << at)) !== 0) regs[at] = vcpu.gprs[at]!;
		regs[L.RCX] = BigInt(vcpu.vmcallMask);
		return TDX_STATUS.success;
	}
	regs[L.RCX] = u64[O.EXIT_QUALIFICATION >> 3]!;
	regs[R8] = u64[O.GUEST_PHYSICAL_ADDRESS >> 3]!;
	regs[R9] = BigInt(vcpu.exitIntrInfo);
	return reason === EXIT_REASON.tripleFault ? TDX_STATUS.nonRecoverableVcpu : TDX_STATUS.success;
}
