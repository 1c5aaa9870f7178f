/**
 * VMX non-root operation: which instructions and events cause VM exits (SDM Vol. 3C, chapter 26), and what they
 * record. One object a VMCS and processor; an exit notes its information in the VMCS and clears `cpu.guest`, so
 * that the guest's code returns to entry.ts, which swaps the state.
 */
import { hasCet } from "../cpu/cet.ts";
import { type Cpu, PENDING } from "../cpu/cpu.ts";
import type { GuestMode } from "../cpu/guest-mode.ts";
import { VECTOR } from "../cpu/fault.ts";
import { INTERCEPT } from "../cpu/intercepts.ts";
import * as L from "../cpu/layout.ts";
import { BLOCKING, settleShadow } from "../cpu/modes.ts";
import { FLAG } from "../cpu/rflags.ts";
import { EPT_MISCONFIGURATION } from "../paging/second-level.ts";
import { deliverEvent } from "../system/exceptions.ts";
import {
	CPU_BASED,
	ENTRY_CONTROL,
	EXIT_CONTROL,
	EXIT_REASON,
	INTR_INFO,
	INTR_TYPE,
	PIN,
	PREEMPTION_TIMER_RATE,
	SECONDARY,
} from "./controls.ts";
import { O } from "./fields.ts";
import { instructionExits } from "./instruction-exits.ts";
import { VirtualApic } from "./virtual-apic.ts";
import type { Vmcs } from "./vmcs.ts";

const TIMER_UNIT = 2 ** PREEMPTION_TIMER_RATE;
const TIMER_NEVER = 0xffffffff;

/** The secondary controls that enable instructions, by INTERCEPT. */
const ENABLES: ReadonlyMap<number, number> = new Map<number, number>([
	[INTERCEPT.rdtscp, SECONDARY.rdtscp],
	[INTERCEPT.invpcid, SECONDARY.invpcid],
	[INTERCEPT.xsaves, SECONDARY.xsaves],
	[INTERCEPT.xrstors, SECONDARY.xsaves],
]);

export class VmxGuestMode implements GuestMode {
	readonly cpu: Cpu;
	readonly vmcs: Vmcs;
	/** Controls, read from the VMCS when they were written. */
	pin = 0;
	primary = 0;
	secondary = 0;
	exitControls = 0;
	entryControls = 0;
	/** VM entry, or VM exit, leaves S_CET, SSP and the interrupt SSP table as they are: the processor has CET, the control is 0. */
	entryKeepsCet = false;
	exitKeepsCet = false;
	private readonly ept = { kind: "ept" as const, root: 0 };
	secondLevel: { readonly kind: "ept"; readonly root: number } | null = null;
	tscOffset = 0;
	get interceptsTsc(): boolean {
		return (this.primary & CPU_BASED.rdtscExiting) !== 0;
	}
	get interceptsPause(): boolean {
		return (this.primary & CPU_BASED.pauseExiting) !== 0;
	}
	/** SDM Vol. 3C, 26.3, IRET: with NMI exiting it has to do with virtual NMIs alone. */
	get iretKeepsNmisBlocked(): boolean {
		return (this.pin & (PIN.nmiExiting | PIN.virtualNmis)) === PIN.nmiExiting;
	}
	readonly virtualApic: VirtualApic;
	/** A MOV to CR8 has put the virtual TPR below its threshold: the exit comes behind the instruction. */
	private tprBelow = false;
	/** The state block's bytes that entry and exit switch. */
	readonly state: Uint8Array;
	/** Cycles at which the preemption timer reaches 0; Infinity when it is off. */
	private timerAt = Number.POSITIVE_INFINITY;
	private hostDeadline = Number.POSITIVE_INFINITY;
	private hostOnDeadline: (cpu: Cpu) => void = () => {};
	private readonly onDeadline: (cpu: Cpu) => void = () => this.expire();

	constructor(cpu: Cpu, vmcs: Vmcs) {
		this.cpu = cpu;
		this.vmcs = vmcs;
		this.virtualApic = new VirtualApic(this);
		this.state = cpu.memory.u8.subarray(cpu.base + L.SWITCHED, cpu.base + L.SWITCHED_END);
	}

	/** Reads the controls again after VMWRITEs to them. */
	refresh(): void {
		const { vmcs } = this;
		const field = (offset: number) => vmcs.u32[offset >> 2]!;
		this.pin = field(O.PIN_BASED_VM_EXEC_CONTROL);
		this.primary = field(O.CPU_BASED_VM_EXEC_CONTROL);
		this.secondary =
			(this.primary & CPU_BASED.secondaryControls) === 0 ? 0 : field(O.SECONDARY_VM_EXEC_CONTROL);
		this.exitControls = field(O.VM_EXIT_CONTROLS);
		this.entryControls = field(O.VM_ENTRY_CONTROLS);
		const cet = hasCet(this.cpu.model.features);
		this.entryKeepsCet = cet && (this.entryControls & ENTRY_CONTROL.loadCetState) === 0;
		this.exitKeepsCet = cet && (this.exitControls & EXIT_CONTROL.loadCetState) === 0;
		const offsetting = (this.primary & CPU_BASED.useTscOffsetting) !== 0;
		vmcs.tscOffset = offsetting ? Number(BigInt.asIntN(64, vmcs.u64[O.TSC_OFFSET >> 3]!)) : 0;
		this.tscOffset = vmcs.tscOffset;
		const pointer = O.EPT_POINTER >> 2;
		// Bit 6, accessed and dirty flags, goes along for the walk.
		this.ept.root = ((vmcs.u32[pointer]! & 0xfffff040) >>> 0) + vmcs.u32[pointer + 1]! * 2 ** 32;
		this.secondLevel = (this.secondary & SECONDARY.ept) !== 0 ? this.ept : null;
		this.virtualApic.refresh();
		vmcs.derivedStale = false;
	}

	/** Instructions that a secondary control has to enable (SDM Vol. 3C, 26.3). RDPID counts as RDTSCP. */
	isUndefined(intercept: number): boolean {
		const control = ENABLES.get(intercept);
		return control !== undefined && (this.secondary & control) === 0;
	}

	// ---- entry and exit ------------------------------------------------------------------------------

	/** Starts what runs only in non-root operation: the preemption timer, and the open windows. */
	begin(): void {
		const { cpu, vmcs } = this;
		if ((this.primary & (CPU_BASED.interruptWindowExiting | CPU_BASED.nmiWindowExiting)) !== 0) {
			cpu.pending |= PENDING.window;
		}
		this.virtualApic.begin();
		if ((this.pin & PIN.preemptionTimer) === 0) return;
		const units = vmcs.u32[O.VMX_PREEMPTION_TIMER_VALUE >> 2]!;
		// At its maximum the timer takes minutes; KVM uses that to switch it off.
		if (units === TIMER_NEVER) return;
		const { cycles } = cpu;
		this.timerAt = (Math.floor(cycles / TIMER_UNIT) + units) * TIMER_UNIT;
		this.hostDeadline = cpu.deadline;
		this.hostOnDeadline = cpu.onDeadline;
		cpu.onDeadline = this.onDeadline;
		cpu.deadline = Math.min(this.timerAt, this.hostDeadline);
		if (this.timerAt <= cycles) this.expire();
	}

	/** The processor's deadline inside: the preemption timer's or the host's own. */
	private expire(): void {
		const { cpu } = this;
		const { cycles } = cpu;
		if (cycles >= this.hostDeadline) {
			cpu.deadline = this.hostDeadline;
			this.hostOnDeadline(cpu);
			this.hostDeadline = cpu.deadline;
		}
		let timerAt = this.timerAt;
		if (cycles >= timerAt) {
			cpu.pending |= PENDING.preemptionTimer;
			timerAt = Number.POSITIVE_INFINITY;
		}
		cpu.deadline = Math.min(timerAt, this.hostDeadline);
	}

	/** Ends what `begin` started. */
	end(): void {
		const { cpu } = this;
		cpu.pending &= ~(PENDING.window | PENDING.preemptionTimer);
		this.tprBelow = false;
		if (this.timerAt === Number.POSITIVE_INFINITY) return;
		if ((this.exitControls & EXIT_CONTROL.savePreemptionTimer) !== 0) {
			const left = Math.max(0, Math.ceil((this.timerAt - cpu.cycles) / TIMER_UNIT));
			this.vmcs.u32[O.VMX_PREEMPTION_TIMER_VALUE >> 2] = left;
		}
		this.timerAt = Number.POSITIVE_INFINITY;
		cpu.deadline = this.hostDeadline;
		cpu.onDeadline = this.hostOnDeadline;
	}

	/**
	 * Notes a VM exit and leaves non-root operation.
	 * @param qualification the low 32 bits of the exit qualification
	 * @param length VM-exit instruction length in bytes
	 * @returns true
	 */
	exit(reason: number, qualification: number, length: number): true {
		const { cpu, vmcs } = this;
		const { u32 } = vmcs;
		u32[O.VM_EXIT_REASON >> 2] = reason;
		u32[O.EXIT_QUALIFICATION >> 2] = qualification;
		u32[(O.EXIT_QUALIFICATION >> 2) + 1] = 0;
		u32[O.VM_EXIT_INSTRUCTION_LEN >> 2] = length;
		u32[O.VM_EXIT_INTR_INFO >> 2] = 0;
		const vectoring = cpu.read32(L.VECTORING_INFO);
		u32[O.IDT_VECTORING_INFO_FIELD >> 2] = vectoring;
		if (vectoring !== 0) {
			u32[O.IDT_VECTORING_ERROR_CODE >> 2] = cpu.read32(L.VECTORING_ERROR_CODE);
			u32[O.VM_EXIT_INSTRUCTION_LEN >> 2] = cpu.read32(L.VECTORING_LENGTH);
			cpu.write32(L.VECTORING_INFO, 0);
		}
		cpu.write32(L.FAULT, 0);
		cpu.guest = null;
		return true;
	}

	private copyToField(stateOffset: number, field: number): void {
		const { cpu, vmcs } = this;
		vmcs.u32[field >> 2] = cpu.read32(stateOffset);
		vmcs.u32[(field >> 2) + 1] = cpu.read32(stateOffset + 4);
	}

	// ---- GuestMode -----------------------------------------------------------------------------------

	instruction(cpu: Cpu, intercept: number, length: number, info: number): boolean {
		return instructionExits(this, cpu, intercept, length, info);
	}

	/**
	 * "NMI unblocking due to IRET", bit 12 of the interruption information and of an EPT violation's qualification (SDM Vol.
	 * 3C, 28.2.3). Where it is undefined it is 0.
	 */
	private nmiUnblocking(): number {
		const { cpu } = this;
		return cpu.nmiUnblockedByIret && cpu.read32(L.VECTORING_INFO) === 0 ? INTR_INFO.nmiUnblocked : 0;
	}

	/** Exceptions against the exception bitmap; #PF also against its error-code mask and match (SDM 26.2). */
	exception(_cpu: Cpu, vector: number, errorCode: number, hasErrorCode: boolean): boolean {
		const { u32 } = this.vmcs;
		const bit = (u32[O.EXCEPTION_BITMAP >> 2]! >>> vector) & 1;
		if (vector === VECTOR.PF) {
			const masked = (errorCode & u32[O.PAGE_FAULT_ERROR_CODE_MASK >> 2]!) >>> 0;
			if ((masked === u32[O.PAGE_FAULT_ERROR_CODE_MATCH >> 2]! ? 1 : 0) !== bit) return false;
		} else if (bit === 0) return false;
		const software = vector === VECTOR.BP || vector === VECTOR.OF;
		// #DB with an instruction's length is INT1.
		const length = this.cpu.read32(L.VECTORING_LENGTH);
		const privileged = vector === VECTOR.DB && length !== 0;
		const type = software
			? INTR_TYPE.softwareException
			: privileged
				? INTR_TYPE.privilegedSoftwareException
				: INTR_TYPE.hardwareException;
		const unblocking = this.nmiUnblocking();
		this.exit(EXIT_REASON.exceptionOrNmi, 0, software || privileged ? length : 0);
		if (vector === VECTOR.PF) this.copyToField(L.FAULT_LINEAR, O.EXIT_QUALIFICATION);
		// The exit qualification has the bits that DR6 would get; DR6 and DR7 stay (SDM 28.1).
		if (vector === VECTOR.DB) u32[O.EXIT_QUALIFICATION >> 2] = this.cpu.read32(L.FAULT_LINEAR);
		u32[O.VM_EXIT_INTR_INFO >> 2] =
			vector | (type << 8) | (hasErrorCode ? INTR_INFO.errorCode : 0) | unblocking | INTR_INFO.valid;
		u32[O.VM_EXIT_INTR_ERROR_CODE >> 2] = hasErrorCode ? errorCode : 0;
		return true;
	}

	/** EPT violations and misconfigurations (SDM 29.3.3). */
	secondLevelFault(cpu: Cpu): void {
		const misconfigured = cpu.read64(L.FAULT_QUALIFICATION) === EPT_MISCONFIGURATION;
		this.copyToField(L.FAULT_GPA, O.GUEST_PHYSICAL_ADDRESS);
		this.copyToField(L.FAULT_LINEAR, O.GUEST_LINEAR_ADDRESS);
		const qualification = misconfigured ? 0 : cpu.read32(L.FAULT_QUALIFICATION) | this.nmiUnblocking();
		this.exit(misconfigured ? EXIT_REASON.eptMisconfiguration : EXIT_REASON.eptViolation, qualification, 0);
	}

	tripleFault(_cpu: Cpu): void {
		this.exit(EXIT_REASON.tripleFault, 0, 0);
	}

	/**
	 * What is pending at an instruction boundary, by priority: #MC, the preemption timer, the NMI window, an
	 * NMI, the interrupt window, an external interrupt (SDM Vol. 3A, table 7-2; Vol. 3C, 26.2 and 26.5).
	 */
	pendingEvent(cpu: Cpu): boolean {
		if ((cpu.pending & PENDING.machineCheck) !== 0) return this.machineCheck();
		// An SMI goes to SMM and comes back: the guest and its hypervisor see nothing of it (SDM Vol. 3C, 33.14).
		if ((cpu.pending & PENDING.smi) !== 0) cpu.takeSmi();
		// Trap-like, so ahead of what is found at the boundary (SDM 30.1.2).
		if (this.tprBelow) return this.exit(EXIT_REASON.tprBelowThreshold, 0, 0);
		const eoi = this.virtualApic.takeEoiExit();
		if (eoi >= 0) return this.exit(EXIT_REASON.eoiInduced, eoi, 0);
		if ((cpu.pending & PENDING.preemptionTimer) !== 0) return this.exit(EXIT_REASON.preemptionTimer, 0, 0);
		settleShadow(cpu);
		const blocking = cpu.read32(L.INTERRUPTIBILITY);
		const shadow = (blocking & (BLOCKING.sti | BLOCKING.movSs)) !== 0;
		if ((this.primary & CPU_BASED.nmiWindowExiting) !== 0 && !shadow && (blocking & BLOCKING.nmi) === 0) {
			return this.exit(EXIT_REASON.nmiWindow, 0, 0);
		}
		if ((cpu.pending & PENDING.nmi) !== 0 && !shadow && this.nmi(blocking)) return true;
		const open = (cpu.read32(L.RFLAGS) & FLAG.IF) !== 0 && !shadow;
		if ((this.primary & CPU_BASED.interruptWindowExiting) !== 0 && open) {
			return this.exit(EXIT_REASON.interruptWindow, 0, 0);
		}
		if ((cpu.pending & PENDING.interrupt) !== 0 && !shadow && this.externalInterrupt(open)) return true;
		return this.virtualApic.deliver(open);
	}

	/** Nothing of the virtual APIC waits any more. */
	dropWindow(): void {
		const windows = CPU_BASED.interruptWindowExiting | CPU_BASED.nmiWindowExiting;
		if ((this.primary & windows) === 0 && !this.tprBelow) this.cpu.pending &= ~PENDING.window;
	}

	/** Something waits for a boundary inside: `pendingEvent` looks at it. */
	noteWindow(): void {
		this.cpu.pending |= PENDING.window;
	}

	private machineCheck(): boolean {
		const { cpu } = this;
		cpu.pending &= ~PENDING.machineCheck;
		if (!cpu.beginMachineCheck()) {
			// A machine check while one is in progress is a shutdown (SDM Vol. 3B, 16.3.1.2).
			this.tripleFault(cpu);
			return true;
		}
		if (this.exception(cpu, VECTOR.MC, 0, false)) return true;
		deliverEvent(cpu, VECTOR.MC, "exception", null, 0);
		return cpu.guest === null;
	}

	/** NMIs are blocked here only without NMI exiting: with virtual NMIs the blocking bit is the virtual one. */
	private nmi(blocking: number): boolean {
		const { cpu } = this;
		if ((this.pin & PIN.nmiExiting) === 0) {
			if ((blocking & BLOCKING.nmi) !== 0) return false;
			cpu.pending &= ~PENDING.nmi;
			cpu.write32(L.INTERRUPTIBILITY, blocking | BLOCKING.nmi);
			deliverEvent(cpu, VECTOR.NMI, "hardware", null, 0);
			return cpu.guest === null;
		}
		if (cpu.nmiBlocked) return false;
		cpu.pending &= ~PENDING.nmi;
		// The exit leaves NMIs blocked, as delivery through the IDT would; an IRET of the host ends it (SDM 28.1).
		cpu.nmiBlocked = true;
		this.exit(EXIT_REASON.exceptionOrNmi, 0, 0);
		this.vmcs.u32[O.VM_EXIT_INTR_INFO >> 2] = VECTOR.NMI | (INTR_TYPE.nmi << 8) | INTR_INFO.valid;
		return true;
	}

	private externalInterrupt(open: boolean): boolean {
		const { cpu } = this;
		const exiting = (this.pin & PIN.externalInterruptExiting) !== 0;
		if (!exiting && !open) return false;
		const { apic } = cpu;
		if (apic === null || apic.highestPending() < 0) {
			cpu.pending &= ~PENDING.interrupt;
			return false;
		}
		if (exiting && (this.exitControls & EXIT_CONTROL.acknowledgeInterrupt) === 0) {
			return this.exit(EXIT_REASON.externalInterrupt, 0, 0);
		}
		const vector = apic.acknowledge();
		if (apic.highestPending() < 0) cpu.pending &= ~PENDING.interrupt;
		// The processor's own; another interrupt may be behind it.
		if (this.virtualApic.processPosted(vector, apic)) return this.externalInterrupt(open);
		if (!exiting) {
			deliverEvent(cpu, vector, "hardware", null, 0);
			return cpu.guest === null;
		}
		this.exit(EXIT_REASON.externalInterrupt, 0, 0);
		this.vmcs.u32[O.VM_EXIT_INTR_INFO >> 2] = vector | INTR_INFO.valid;
		return true;
	}

	/** CR0 and CR4 read through their shadows; CR8 through the TPR shadow (SDM 26.3). */
	readCr(cr: number, real: bigint): bigint {
		const { u64 } = this.vmcs;
		if (cr === 8) return (this.primary & CPU_BASED.tprShadow) === 0 ? real : BigInt(this.virtualTpr(-1) >> 4);
		const mask = u64[(cr === 0 ? O.CR0_GUEST_HOST_MASK : O.CR4_GUEST_HOST_MASK) >> 3]!;
		const shadow = u64[(cr === 0 ? O.CR0_READ_SHADOW : O.CR4_READ_SHADOW) >> 3]!;
		return (real & BigInt.asUintN(64, ~mask)) | (shadow & mask);
	}

	/** Bits of CR0 and CR4 that the guest/host mask gives to the host keep their value (SDM 26.3). */
	writeCr(cr: number, real: bigint, value: bigint): bigint {
		if (cr === 8) {
			if ((this.primary & CPU_BASED.tprShadow) === 0) return value;
			this.virtualTpr(Number(value & 15n) << 4);
			if (!this.virtualApic.tprWritten() && Number(value & 15n) < this.vmcs.u32[O.TPR_THRESHOLD >> 2]!) {
				this.tprBelow = true;
				this.cpu.pending |= PENDING.window;
			}
			return real;
		}
		const mask = this.vmcs.u64[(cr === 0 ? O.CR0_GUEST_HOST_MASK : O.CR4_GUEST_HOST_MASK) >> 3]!;
		return (real & mask) | (value & BigInt.asUintN(64, ~mask));
	}

	readMsr(index: number): bigint | null {
		return this.virtualApic.readMsr(index);
	}

	writeMsr(index: number, value: number): boolean | null {
		return this.virtualApic.writeMsr(index, value);
	}

	/** Reads, or writes if not negative, VTPR: the byte at offset 80H of the virtual-APIC page. */
	private virtualTpr(value: number): number {
		const { memory } = this.cpu;
		const at = memory.ramBase + Number(this.vmcs.u64[O.VIRTUAL_APIC_PAGE_ADDR >> 3]!) + 0x80;
		if (value >= 0) memory.u8[at] = value;
		return memory.u8[at] ?? 0;
	}
}
