/**
 * VM entry and VM exit (SDM Vol. 3C, chapters 27 and 28): VMLAUNCH and VMRESUME. What both load and store is one
 * copy of the state block's bytes from SWITCHED to SWITCHED_END each way.
 *
 *     const result = vmcs.launched ? vmresume(cpu, vmcs) : vmlaunch(cpu, vmcs);   // 0: there was an exit
 */
import { EFER } from "../cpu/control.ts";
import { copyBlock } from "../cpu/copy.ts";
import { type Cpu, PENDING } from "../cpu/cpu.ts";
import { DEBUGCTL_BTF, DR6, hasPendingDebug } from "../cpu/debug.ts";
import { VECTOR } from "../cpu/fault.ts";
import * as L from "../cpu/layout.ts";
import { BLOCKING, beginShadow, settleShadow } from "../cpu/modes.ts";
import { FLAG, readRflags } from "../cpu/rflags.ts";
import { OP } from "../ops.ts";
import { contextChanged, flushTlb } from "../paging/tlb.ts";
import { deliverEvent } from "../system/exceptions.ts";
import { runGuest } from "../system/interrupts.ts";
import {
	ENTRY_CONTROL,
	ENTRY_FAILURE,
	EXIT_CONTROL,
	EXIT_REASON,
	INTR_INFO,
	INTR_TYPE,
	PIN,
	SECONDARY,
	VM_ERROR,
} from "./controls.ts";
import { checkControls, checkEvent } from "./entry-checks/controls.ts";
import {
	checkGuestControl,
	checkGuestNonRegister,
	checkGuestPdptes,
	checkGuestRip,
	checkGuestSegments,
} from "./entry-checks/guest-state.ts";
import { checkHostState } from "./entry-checks/host-state.ts";
import { GROUP, GUEST_RSP_OFFSET, HOST_RSP_OFFSET, O } from "./fields.ts";
import { VmxGuestMode } from "./guest-mode.ts";
import { loadEntryMsrs, loadExitMsrs, storeExitMsrs } from "./msr-areas.ts";
import type { Vmcs } from "./vmcs.ts";

/** What VMLAUNCH and VMRESUME come back with; `entered`: the guest runs, and `leaveNonRoot` is to follow. */
export const VMX_RESULT = { exit: 0, failValid: 1, failInvalid: 2, entered: 3 } as const;

const { controls, host, guestControl, guestSegments, guestRip, guestNonRegister, event, windows } = GROUP;

function failValid(vmcs: Vmcs, error: number, check: string | null): number {
	vmcs.u32[O.VM_INSTRUCTION_ERROR >> 2] = error;
	vmcs.failedCheck = check;
	return VMX_RESULT.failValid;
}

/**
 * VMRESUME or VMLAUNCH, up to the guest's first instruction. Each wants the VMCS in a launch state of its own: VMfail 5, VMfail 4.
 * @param resumes VMRESUME; default: whichever the VMCS is ready for
 * @returns `entered`: call runGuest() until it is true, then leaveNonRoot(); `exit` after a failed VM entry
 */
export function beginVmEntry(cpu: Cpu, vmcs: Vmcs, resumes = vmcs.launched): number {
	cpu.op(resumes ? OP.vmresume : OP.vmlaunch);
	if (resumes === vmcs.launched) return enterNonRoot(cpu, vmcs);
	cpu.noEntryToHit();
	return failValid(vmcs, resumes ? VM_ERROR.vmresumeNonLaunched : VM_ERROR.vmlaunchNonClear, null);
}

/** The VM exit behind `beginVmEntry`, once the guest has left; also charges that of a failed entry. @returns 0, or 1 for VMfailValid */
export function endVmEntry(cpu: Cpu, vmcs: Vmcs, begun: number): number {
	if (begun === VMX_RESULT.failValid) return begun;
	if (begun === VMX_RESULT.entered) leaveNonRoot(cpu, vmcs);
	cpu.op(OP.vmexit);
	return VMX_RESULT.exit;
}

/**
 * VMLAUNCH.
 * @returns 0 after a VM exit, a failed VM entry included; 1 for VMfailValid
 */
export function vmlaunch(cpu: Cpu, vmcs: Vmcs): number {
	return enterAndExit(cpu, vmcs, false);
}

/**
 * VMRESUME.
 * @returns 0 after a VM exit, a failed VM entry included; 1 for VMfailValid
 */
export function vmresume(cpu: Cpu, vmcs: Vmcs): number {
	return enterAndExit(cpu, vmcs, true);
}

function enterAndExit(cpu: Cpu, vmcs: Vmcs, resumes: boolean): number {
	const begun = beginVmEntry(cpu, vmcs, resumes);
	if (begun === VMX_RESULT.entered) while (!runGuest(cpu));
	return endVmEntry(cpu, vmcs, begun);
}

/**
 * VM entry, the guest, VM exit; without the ops of the instructions, which the TDX module's SEAMCALL stands in for.
 * @returns one of VMX_RESULT
 */
export function runNonRoot(cpu: Cpu, vmcs: Vmcs): number {
	const result = enterNonRoot(cpu, vmcs);
	if (result !== VMX_RESULT.entered) return result;
	// The module's code between exits cannot give way, so the slice lasts until the TD exits.
	const { horizon, sliceEnd } = cpu;
	cpu.beginSlice(Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY);
	while (!runGuest(cpu));
	cpu.beginSlice(horizon, sliceEnd);
	leaveNonRoot(cpu, vmcs);
	return VMX_RESULT.exit;
}

/** VM entry. @returns `entered` when the guest is to run, even if what came with the entry ended it at once */
function enterNonRoot(cpu: Cpu, vmcs: Vmcs): number {
	let mode = vmcs.guestMode;
	if (mode === null || mode.cpu !== cpu) {
		mode = new VmxGuestMode(cpu, vmcs);
		vmcs.guestMode = mode;
		vmcs.derivedStale = true;
	}
	if (vmcs.derivedStale) mode.refresh();
	if (vmcs.dirty !== 0) {
		const checked = checkFields(cpu, vmcs);
		if (checked >= 0) {
			cpu.noEntryToHit();
			return checked;
		}
	}
	if (cpu.machineCheckDuringEntry) {
		cpu.machineCheckDuringEntry = false;
		cpu.pending &= ~PENDING.machineCheck;
		cpu.beginMachineCheck();
		return failEntry(cpu, mode, EXIT_REASON.machineCheckDuringEntry, 0, null);
	}
	loadGuest(cpu, mode);
	const refused = loadEntryMsrs(cpu, vmcs);
	if (refused !== 0)
		return failEntry(cpu, mode, EXIT_REASON.msrLoading, refused, "27.4: VM-entry MSR-load area");
	vmcs.launched = true;
	cpu.endShadow();
	cpu.guestBranches = true;
	mode.begin();
	cpu.guestEntered();
	injectEvent(cpu, vmcs);
	// What was pending of debug exceptions is ahead of everything else at the boundary (SDM 27.7.3).
	if (cpu.guest !== null && cpu.pending !== 0 && !hasPendingDebug(cpu)) mode.pendingEvent(cpu);
	return VMX_RESULT.entered;
}

/** VM exit, of a guest that has left non-root operation. */
function leaveNonRoot(cpu: Cpu, vmcs: Vmcs): void {
	const mode = vmcs.guestMode!;
	mode.end();
	cpu.guestExited();
	saveGuest(cpu, mode);
	loadHost(cpu, mode);
}

/** Exit qualification of an entry that failed by a PDPTE (SDM 27.8). */
const QUALIFICATION_PDPTE = 2;

/** Checks what was written since the last entry. @returns a result to come back with, or -1 */
function checkFields(cpu: Cpu, vmcs: Vmcs): number {
	const { dirty } = vmcs;
	const controlsFail = (dirty & (controls | windows)) !== 0 ? checkControls(cpu, vmcs) : null;
	const eventFail = controlsFail ?? ((dirty & (event | guestControl)) !== 0 ? checkEvent(vmcs) : null);
	if (eventFail !== null) return failValid(vmcs, VM_ERROR.entryInvalidControls, eventFail);
	const hostFail = (dirty & (host | controls)) !== 0 ? checkHostState(cpu, vmcs) : null;
	if (hostFail !== null) return failValid(vmcs, VM_ERROR.entryInvalidHostState, hostFail);
	let guestFail: string | null = null;
	if ((dirty & (guestControl | controls)) !== 0) guestFail = checkGuestControl(cpu, vmcs);
	if (guestFail === null && (dirty & (guestSegments | guestControl | controls)) !== 0)
		guestFail = checkGuestSegments(cpu, vmcs);
	if (guestFail === null && (dirty & (guestRip | event | guestSegments | guestControl)) !== 0)
		guestFail = checkGuestRip(cpu, vmcs);
	if (guestFail === null && (dirty & (guestNonRegister | event)) !== 0)
		guestFail = checkGuestNonRegister(vmcs);
	const loadsPdptes = guestFail === null && (dirty & (guestControl | controls)) !== 0;
	const pdpteFail = loadsPdptes ? checkGuestPdptes(cpu, vmcs) : null;
	if (guestFail !== null || pdpteFail !== null) {
		const qualification = guestFail === null ? QUALIFICATION_PDPTE : 0;
		return failEntry(
			cpu,
			vmcs.guestMode!,
			EXIT_REASON.invalidGuestState,
			qualification,
			guestFail ?? pdpteFail,
		);
	}
	vmcs.dirty = 0;
	vmcs.failedCheck = null;
	return -1;
}

/** VM-entry failure: the host's state is loaded, of the exit information only the reason is new (SDM 27.8). */
function failEntry(
	cpu: Cpu,
	mode: VmxGuestMode,
	reason: number,
	qualification: number,
	check: string | null,
): number {
	const { vmcs } = mode;
	vmcs.failedCheck = check;
	vmcs.u32[O.VM_EXIT_REASON >> 2] = (reason | ENTRY_FAILURE) >>> 0;
	vmcs.u32[O.EXIT_QUALIFICATION >> 2] = qualification;
	vmcs.u32[(O.EXIT_QUALIFICATION >> 2) + 1] = 0;
	loadHost(cpu, mode);
	return VMX_RESULT.exit;
}

/** Copies 64 bits between a VMCS and the state block as two words, which makes no BigInt. */
function copyWord(from: Uint32Array, fromByte: number, to: Uint32Array, toByte: number): void {
	to[toByte >> 2] = from[fromByte >> 2]!;
	to[(toByte >> 2) + 1] = from[(fromByte >> 2) + 1]!;
}

const RSP_OFFSET = L.GPR + 8 * L.RSP;
/** Registers in the switched block that an entry or exit control may exempt. */
const kept = new Uint32Array(16);
/** S_CET, SSP and the interrupt SSP table stand side by side, in `kept` too. */
const CET_KEPT = 32;

function copyCet(from: Uint32Array, fromByte: number, to: Uint32Array, toByte: number): void {
	for (let at = 0; at < 24; at += 8) copyWord(from, fromByte + at, to, toByte + at);
}

/** Loads the guest-state area (SDM 27.3.2). */
function loadGuest(cpu: Cpu, mode: VmxGuestMode): void {
	const { vmcs, entryControls } = mode;
	const { u32, base } = cpu;
	const keepsDebug = (entryControls & ENTRY_CONTROL.loadDebugControls) === 0;
	const keepsPat = (entryControls & ENTRY_CONTROL.loadPat) === 0;
	if (keepsDebug) {
		copyWord(u32, base + L.DR7, kept, 0);
		copyWord(u32, base + L.DEBUGCTL, kept, 8);
	}
	if (keepsPat) copyWord(u32, base + L.PAT, kept, 16);
	if (mode.entryKeepsCet) copyCet(u32, base + L.S_CET, kept, CET_KEPT);
	const efer = cpu.read32(L.EFER);
	const pkrs = cpu.read32(L.PKRS);
	copyBlock(vmcs.guestArea, mode.state);
	if ((entryControls & ENTRY_CONTROL.loadPkrs) === 0) cpu.write32(L.PKRS, pkrs);
	if ((entryControls & ENTRY_CONTROL.loadPerfGlobalCtrl) !== 0)
		copyWord(vmcs.u32, O.GUEST_IA32_PERF_GLOBAL_CTRL, u32, base + L.PERF_GLOBAL_CTRL);
	copyWord(vmcs.u32, GUEST_RSP_OFFSET, u32, base + RSP_OFFSET);
	if (keepsDebug) {
		copyWord(kept, 0, u32, base + L.DR7);
		copyWord(kept, 8, u32, base + L.DEBUGCTL);
	}
	if (keepsPat) copyWord(kept, 16, u32, base + L.PAT);
	if (mode.entryKeepsCet) copyCet(kept, CET_KEPT, u32, base + L.S_CET);
	if ((entryControls & ENTRY_CONTROL.loadEfer) === 0) {
		const long = (entryControls & ENTRY_CONTROL.ia32eModeGuest) !== 0;
		cpu.write32(L.EFER, long ? efer | EFER.LME | EFER.LMA : efer & ~(EFER.LME | EFER.LMA));
	}
	// With virtual NMIs the guest's blocking bit is its own; a physical NMI exits whatever it says (SDM 27.7.1).
	const blocking = cpu.read32(L.INTERRUPTIBILITY);
	cpu.nmiBlocked = (mode.pin & PIN.virtualNmis) === 0 && (blocking & BLOCKING.nmi) !== 0;
	if ((blocking & 3) !== 0) beginShadow(cpu, blocking & 3, cpu.read64(L.RIP));
	cpu.guest = mode;
	if ((mode.secondary & SECONDARY.vpid) === 0 || cpu.tlbGuest !== mode) {
		cpu.tlbGuest = mode;
		flushTlb(cpu);
	}
	contextChanged(cpu);
}

/** Injects the event of the VM-entry interruption-information field (SDM 27.6). */
function injectEvent(cpu: Cpu, vmcs: Vmcs): void {
	const info = vmcs.u32[O.VM_ENTRY_INTR_INFO_FIELD >> 2]!;
	if ((info & INTR_INFO.valid) === 0) return;
	// Only behind a software interrupt or exception are debug exceptions still pending (SDM 27.7.3).
	if (((info >>> 8) & 7) < INTR_TYPE.softwareInterrupt) cpu.write32(L.PENDING_DBG, 0);
	const vector = info & 0xff;
	const type = (info >>> 8) & 7;
	if (type === INTR_TYPE.other) return;
	const errorCode =
		(info & INTR_INFO.errorCode) !== 0 ? vmcs.u32[O.VM_ENTRY_EXCEPTION_ERROR_CODE >> 2]! : null;
	const length = vmcs.u32[O.VM_ENTRY_INSTRUCTION_LEN >> 2]!;
	cpu.write32(L.ACTIVITY, 0);
	cpu.write32(L.INTERRUPTIBILITY, cpu.read32(L.INTERRUPTIBILITY) & ~3);
	if (type === INTR_TYPE.nmi) {
		cpu.write32(L.INTERRUPTIBILITY, cpu.read32(L.INTERRUPTIBILITY) | BLOCKING.nmi);
	}
	if (type === INTR_TYPE.external || type === INTR_TYPE.nmi) deliverEvent(cpu, vector, "hardware", null, 0);
	else if (type === INTR_TYPE.hardwareException) deliverEvent(cpu, vector, "exception", errorCode, 0);
	else
		deliverEvent(
			cpu,
			vector,
			type === INTR_TYPE.privilegedSoftwareException ? "privileged" : "software",
			null,
			length,
		);
}

/** Saves the guest's state (SDM 28.3). */
function saveGuest(cpu: Cpu, mode: VmxGuestMode): void {
	const { vmcs, exitControls } = mode;
	settleShadow(cpu);
	const flags = readRflags(cpu);
	notePendingStep(cpu, vmcs, flags);
	const { u32 } = vmcs;
	const keepsDebug = (exitControls & EXIT_CONTROL.saveDebugControls) === 0;
	const keepsPat = (exitControls & EXIT_CONTROL.savePat) === 0;
	const keepsEfer = (exitControls & EXIT_CONTROL.saveEfer) === 0;
	if (keepsDebug) {
		copyWord(u32, O.GUEST_DR7, kept, 0);
		copyWord(u32, O.GUEST_IA32_DEBUGCTL, kept, 8);
	}
	if (keepsPat) copyWord(u32, O.GUEST_IA32_PAT, kept, 16);
	if (keepsEfer) copyWord(u32, O.GUEST_IA32_EFER, kept, 24);
	copyBlock(mode.state, vmcs.guestArea);
	copyWord(cpu.u32, cpu.base + RSP_OFFSET, u32, GUEST_RSP_OFFSET);
	if (keepsDebug) {
		copyWord(kept, 0, u32, O.GUEST_DR7);
		copyWord(kept, 8, u32, O.GUEST_IA32_DEBUGCTL);
	}
	if (keepsPat) copyWord(kept, 16, u32, O.GUEST_IA32_PAT);
	if (keepsEfer) copyWord(kept, 24, u32, O.GUEST_IA32_EFER);
	// The "IA-32e mode guest" control takes over EFER.LMA, whether or not EFER is saved (SDM 28.2).
	const long = (cpu.read32(L.EFER) & EFER.LMA) !== 0;
	if (long !== ((mode.entryControls & ENTRY_CONTROL.ia32eModeGuest) !== 0)) {
		mode.entryControls ^= ENTRY_CONTROL.ia32eModeGuest;
		u32[O.VM_ENTRY_CONTROLS >> 2] = mode.entryControls;
	}
	storeExitMsrs(cpu, vmcs);
	// An event is injected once: the exit clears the valid bit (SDM 28.2).
	u32[O.VM_ENTRY_INTR_INFO_FIELD >> 2] = u32[O.VM_ENTRY_INTR_INFO_FIELD >> 2]! & ~INTR_INFO.valid;
}

/**
 * The pending debug exceptions that an exit saves (SDM 28.3.4): none if it is a debug exception itself; in a shadow with
 * TF set, the single step that the shadow's end would bring.
 */
function notePendingStep(cpu: Cpu, vmcs: Vmcs, flags: number): void {
	const isDebugExit =
		vmcs.u32[O.VM_EXIT_REASON >> 2] === EXIT_REASON.exceptionOrNmi &&
		(vmcs.u32[O.VM_EXIT_INTR_INFO >> 2]! & 0xff) === VECTOR.DB;
	const shadowed = (cpu.read32(L.INTERRUPTIBILITY) & 3) !== 0 || cpu.read32(L.ACTIVITY) === 1;
	const stepped = shadowed && (flags & FLAG.TF) !== 0 && (cpu.read32(L.DEBUGCTL) & DEBUGCTL_BTF) === 0;
	if (isDebugExit) {
		cpu.write32(L.PENDING_DBG, 0);
		// The one thing that an exit saves and an entry does not take: it has to be looked at.
		if (stepped) vmcs.dirty |= guestNonRegister;
	} else if (stepped) cpu.write32(L.PENDING_DBG, cpu.read32(L.PENDING_DBG) | DR6.BS);
}

/** Loads the host-state area (SDM 28.5). */
function loadHost(cpu: Cpu, mode: VmxGuestMode): void {
	const { vmcs, exitControls } = mode;
	const keepsPat = (exitControls & EXIT_CONTROL.loadPat) === 0;
	if (keepsPat) copyWord(cpu.u32, cpu.base + L.PAT, kept, 0);
	if (mode.exitKeepsCet) copyCet(cpu.u32, cpu.base + L.S_CET, kept, CET_KEPT);
	const efer = cpu.read32(L.EFER);
	const pkrs = cpu.read32(L.PKRS);
	copyBlock(vmcs.hostArea, mode.state);
	if ((exitControls & EXIT_CONTROL.loadPkrs) === 0) cpu.write32(L.PKRS, pkrs);
	if ((exitControls & EXIT_CONTROL.loadPerfGlobalCtrl) !== 0)
		copyWord(vmcs.u32, O.HOST_IA32_PERF_GLOBAL_CTRL, cpu.u32, cpu.base + L.PERF_GLOBAL_CTRL);
	copyWord(vmcs.u32, HOST_RSP_OFFSET, cpu.u32, cpu.base + RSP_OFFSET);
	if (keepsPat) copyWord(kept, 0, cpu.u32, cpu.base + L.PAT);
	if (mode.exitKeepsCet) copyCet(kept, CET_KEPT, cpu.u32, cpu.base + L.S_CET);
	if ((exitControls & EXIT_CONTROL.loadEfer) === 0) cpu.write32(L.EFER, efer | EFER.LME | EFER.LMA);
	cpu.guest = null;
	loadExitMsrs(cpu, vmcs);
}
