/**
 * VMRUN and #VMEXIT (APM Vol. 2, 15.5 and 15.6), VMLOAD, VMSAVE, CLGI and STGI.
 *
 * VMRUN moves the block from SWITCHED to VMLOADED as one. DEBUGCTL in it is switched only with LBR virtualization:
 * without, it is first copied into the block that comes, so that it survives.
 */
import { copyBlock } from "../cpu/copy.ts";
import { type Cpu, PENDING } from "../cpu/cpu.ts";
import * as L from "../cpu/layout.ts";
import { BLOCKING, beginShadow, settleShadow } from "../cpu/modes.ts";
import { readRflags } from "../cpu/rflags.ts";
import { OP } from "../ops.ts";
import { contextChanged, flushTlb } from "../paging/tlb.ts";
import { deliverEvent } from "../system/exceptions.ts";
import { runGuest } from "../system/interrupts.ts";
import { checkVmcb } from "./consistency.ts";
import { EXIT_CODE } from "./exit-codes.ts";
import { SvmGuestMode } from "./guest-mode.ts";
import type { Vmcb } from "./vmcb.ts";

const DEBUGCTL_WORD = L.DEBUGCTL >> 2;
const RIP_WORD = L.RIP >> 2;
const RSP_WORD = 2 * L.RSP;
const CR2_WORD = L.CR2 >> 2;

/**
 * VMRUN: runs the guest until its next #VMEXIT, which leaves GIF clear. The exit is in the VMCB.
 * RAX, RSP and RIP come from the VMCB and go there; the other GPRs are software's.
 */
export function vmrun(cpu: Cpu, vmcb: Vmcb): void {
	beginVmrun(cpu, vmcb);
	while (!runGuest(cpu));
	endVmrun(cpu, vmcb);
}

/** VMRUN up to the guest's first instruction. Call runGuest() until it is true, then endVmrun(). */
export function beginVmrun(cpu: Cpu, vmcb: Vmcb): void {
	cpu.op(OP.vmrun);
	vmcb.failedCheck = checkVmcb(cpu, vmcb);
	if (vmcb.failedCheck === null) enter(cpu, vmcb);
	else {
		refuse(vmcb);
		cpu.noEntryToHit();
	}
}

/** The #VMEXIT behind `beginVmrun`, once the guest has left. */
export function endVmrun(cpu: Cpu, vmcb: Vmcb): void {
	if (vmcb.failedCheck === null) {
		const mode = vmcb.guestMode!;
		cpu.guestExited();
		saveGuest(cpu, mode);
		// VMRUN did not complete, and the shadow of an STI before it goes into the guest's state (commit be45bc4eff33).
		if (vmcb.shadowOfHost) vmcb.interruptShadow = true;
		loadHost(cpu, mode);
	}
	cpu.gif = false;
	cpu.op(OP["#vmexit"]);
}

function refuse(vmcb: Vmcb): void {
	vmcb.exitCode = EXIT_CODE.invalid;
	vmcb.exitInfo1Low = 0;
	vmcb.setExitInfo2(0, 0);
	vmcb.exitIntInfo = 0;
	vmcb.nextRipLow = 0;
	vmcb.nextRipHigh = 0;
}

function enter(cpu: Cpu, vmcb: Vmcb): void {
	let mode = vmcb.guestMode;
	if (mode === null || mode.cpu !== cpu) {
		mode = new SvmGuestMode(cpu, vmcb);
		vmcb.guestMode = mode;
	}
	const inShadow = cpu.stiShadow === "now";
	cpu.endShadow();
	saveHost(cpu, mode);
	loadGuest(cpu, mode);
	cpu.guestEntered();
	injectEvent(cpu, vmcb);
	vmcb.shadowOfHost = inShadow && cpu.guest === null;
	// A machine check that hits while VMRUN is under way is the guest's first event.
	if (cpu.machineCheckDuringEntry) {
		cpu.machineCheckDuringEntry = false;
		cpu.pending |= PENDING.machineCheck;
	}
	if (cpu.guest !== null && cpu.pending !== 0) mode.pendingEvent(cpu);
}

function saveHost(cpu: Cpu, mode: SvmGuestMode): void {
	const { u32 } = cpu;
	const at = cpu.base >> 2;
	copyBlock(mode.state, mode.host);
	mode.hostGprs[0] = u32[at]!;
	mode.hostGprs[1] = u32[at + 1]!;
	mode.hostGprs[2] = u32[at + RSP_WORD]!;
	mode.hostGprs[3] = u32[at + RSP_WORD + 1]!;
	mode.hostInterruptFlag = cpu.interruptFlag;
	mode.hostSpecCtrl = cpu.read32(L.SPEC_CTRL);
}

function loadGuest(cpu: Cpu, mode: SvmGuestMode): void {
	const { vmcb } = mode;
	const { u32 } = cpu;
	const at = cpu.base >> 2;
	vmcb.u32[DEBUGCTL_WORD] = vmcb.lbrVirtualization ? vmcb.debugctl : u32[at + DEBUGCTL_WORD]!;
	vmcb.u32[DEBUGCTL_WORD + 1] = 0;
	copyBlock(vmcb.switched, mode.state);
	u32[at] = vmcb.u32[0]!;
	u32[at + 1] = vmcb.u32[1]!;
	u32[at + RSP_WORD] = vmcb.u32[RSP_WORD]!;
	u32[at + RSP_WORD + 1] = vmcb.u32[RSP_WORD + 1]!;
	u32[at + CR2_WORD] = vmcb.u32[CR2_WORD]!;
	u32[at + CR2_WORD + 1] = vmcb.u32[CR2_WORD + 1]!;
	cpu.write32(L.DR6, vmcb.dr6);
	if (cpu.model.features.vSpecCtrl) cpu.write32(L.SPEC_CTRL, vmcb.specCtrl);
	const blocking = cpu.read32(L.INTERRUPTIBILITY) & 3;
	if (blocking !== 0) beginShadow(cpu, blocking, cpu.read64(L.RIP));
	mode.begin();
	cpu.gif = true;
	cpu.guestBranches = true;
	cpu.guest = mode;
	if (vmcb.tlbControl !== 0 || cpu.tlbGuest !== mode) {
		cpu.tlbGuest = mode;
		flushTlb(cpu);
	}
	contextChanged(cpu);
}

const EVENT = { intr: 0, nmi: 2, exception: 3, soft: 4 } as const;

/** EVENTINJ (APM 15.20). A software interrupt returns to the next RIP. */
function injectEvent(cpu: Cpu, vmcb: Vmcb): void {
	const info = vmcb.eventInj;
	if ((info & (1 << 31)) === 0) return;
	const vector = info & 0xff;
	const type = (info >>> 8) & 7;
	const errorCode = (info & (1 << 11)) !== 0 ? vmcb.eventInjErr : null;
	if (type === EVENT.soft) {
		const length = vmcb.hasNextRip ? vmcb.nextRipLow - vmcb.u32[RIP_WORD]! : 0;
		deliverEvent(cpu, vector, "software", null, length > 0 && length < 16 ? length : 0);
	} else if (type === EVENT.exception) deliverEvent(cpu, vector, "exception", errorCode, 0);
	else {
		if (type === EVENT.nmi) cpu.write32(L.INTERRUPTIBILITY, cpu.read32(L.INTERRUPTIBILITY) | BLOCKING.nmi);
		deliverEvent(cpu, type === EVENT.nmi ? 2 : vector, "hardware", null, 0);
	}
}

function saveGuest(cpu: Cpu, mode: SvmGuestMode): void {
	const { vmcb } = mode;
	const { u32 } = cpu;
	const at = cpu.base >> 2;
	settleShadow(cpu);
	readRflags(cpu);
	copyBlock(mode.state, vmcb.switched);
	vmcb.u32[0] = u32[at]!;
	vmcb.u32[1] = u32[at + 1]!;
	vmcb.u32[RSP_WORD] = u32[at + RSP_WORD]!;
	vmcb.u32[RSP_WORD + 1] = u32[at + RSP_WORD + 1]!;
	vmcb.u32[CR2_WORD] = u32[at + CR2_WORD]!;
	vmcb.u32[CR2_WORD + 1] = u32[at + CR2_WORD + 1]!;
	vmcb.dr6 = cpu.read32(L.DR6);
	if (vmcb.lbrVirtualization) vmcb.debugctl = u32[at + DEBUGCTL_WORD]!;
	vmcb.eventInj = 0;
	// The VMCB has no activity state: VMRUN goes on behind a HLT.
	vmcb.u32[L.ACTIVITY >> 2] = 0;
	vmcb.u32[L.PENDING_DBG >> 2] = 0;
	cpu.pending &= ~PENDING.window;
}

function loadHost(cpu: Cpu, mode: SvmGuestMode): void {
	const { u32 } = cpu;
	const at = cpu.base >> 2;
	const words = mode.hostWords;
	const base = L.SWITCHED >> 2;
	if (!mode.vmcb.lbrVirtualization) words[DEBUGCTL_WORD - base] = u32[at + DEBUGCTL_WORD]!;
	// Breakpoints are off after #VMEXIT (APM 15.6).
	words[(L.DR7 >> 2) - base] = 0x400;
	copyBlock(mode.host, mode.state);
	u32[at] = mode.hostGprs[0]!;
	u32[at + 1] = mode.hostGprs[1]!;
	u32[at + RSP_WORD] = mode.hostGprs[2]!;
	u32[at + RSP_WORD + 1] = mode.hostGprs[3]!;
	if (cpu.model.features.vSpecCtrl) {
		mode.vmcb.specCtrl = cpu.read32(L.SPEC_CTRL);
		cpu.write32(L.SPEC_CTRL, mode.hostSpecCtrl);
	}
}

/** VMLOAD: FS, GS, LDTR, TR, KERNEL_GS_BASE and the SYSCALL and SYSENTER MSRs from the VMCB. */
export function vmload(cpu: Cpu, vmcb: Vmcb): void {
	cpu.op(OP.vmload);
	copyBlock(vmcb.vmloaded, cpu.vmloaded);
}

/** VMSAVE: the same into the VMCB. */
export function vmsave(cpu: Cpu, vmcb: Vmcb): void {
	cpu.op(OP.vmsave);
	copyBlock(cpu.vmloaded, vmcb.vmloaded);
}

/** CLGI: NMIs, interrupts, SMIs and #MCs are held pending from here on (APM 15.17). */
export function clgi(cpu: Cpu): void {
	cpu.op(OP.clgi);
	cpu.gif = false;
}

/** STGI: what was held pending may arrive; call `cpu.poll()` for the boundary behind it. */
export function stgi(cpu: Cpu): void {
	cpu.op(OP.stgi);
	cpu.gif = true;
}
