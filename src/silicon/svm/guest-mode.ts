/**
 * SVM guest mode: which instructions and events cause #VMEXIT (APM Vol. 2, 15.7-15.14), and what they record. An
 * exit notes its information in the VMCB and clears `cpu.guest`, so that the guest's code returns to vmrun.ts.
 */
import { type Cpu, PENDING } from "../cpu/cpu.ts";
import type { GuestMode } from "../cpu/guest-mode.ts";
import { noteDebugException } from "../cpu/debug.ts";
import { VECTOR } from "../cpu/fault.ts";
import * as L from "../cpu/layout.ts";
import { BLOCKING, settleShadow } from "../cpu/modes.ts";
import { FLAG } from "../cpu/rflags.ts";
import { deliverEvent } from "../system/exceptions.ts";
import { EXIT_CODE } from "./exit-codes.ts";
import { instructionExits } from "./instruction-exits.ts";
import type { Vmcb } from "./vmcb.ts";

export class SvmGuestMode implements GuestMode {
	readonly cpu: Cpu;
	readonly vmcb: Vmcb;
	private readonly npt = { kind: "npt" as const, root: 0 };
	secondLevel: { readonly kind: "npt"; readonly root: number } | null = null;
	tscOffset = 0;
	/** The state block's bytes that VMRUN and #VMEXIT move. */
	readonly state: Uint8Array;
	/** The host save area (VM_HSAVE_PA), with RSP and RAX in `hostGprs`. */
	readonly host: Uint8Array;
	/** The same in words. */
	readonly hostWords: Uint32Array;
	readonly hostGprs = new Uint32Array(4);
	hostSpecCtrl = 0;
	/** The host's RFLAGS.IF, which masks physical interrupts under V_INTR_MASKING. */
	hostInterruptFlag = false;

	constructor(cpu: Cpu, vmcb: Vmcb) {
		this.cpu = cpu;
		this.vmcb = vmcb;
		this.state = cpu.memory.u8.subarray(cpu.base + L.SWITCHED, cpu.base + L.VMLOADED);
		this.host = new Uint8Array(this.state.length);
		this.hostWords = new Uint32Array(this.host.buffer);
	}

	get interceptsTsc(): boolean {
		return this.vmcb.intercepted(EXIT_CODE.rdtsc);
	}
	get interceptsPause(): boolean {
		return this.vmcb.intercepted(EXIT_CODE.pause);
	}

	/** Takes over what VMRUN reads from the control area. */
	begin(): void {
		const { cpu, vmcb } = this;
		this.tscOffset = vmcb.tscOffset;
		this.npt.root = vmcb.nestedCr3;
		this.secondLevel = vmcb.nestedCr3 < 0 ? null : this.npt;
		if (vmcb.vIrq || vmcb.vNmiPending) cpu.pending |= PENDING.window;
	}

	/**
	 * Notes a #VMEXIT and leaves guest mode.
	 * @param length bytes of the intercepted instruction; 0 when there is none
	 * @returns true
	 */
	exit(code: number, info1: number, length: number): true {
		const { cpu, vmcb } = this;
		vmcb.exitCode = code;
		vmcb.exitInfo1Low = info1;
		vmcb.exitInfo1High = 0;
		vmcb.setExitInfo2(0, 0);
		vmcb.exitIntInfo = 0;
		vmcb.nextRipLow = 0;
		vmcb.nextRipHigh = 0;
		if (length !== 0 && cpu.model.features.nrips) {
			const low = cpu.read32(L.RIP) + length;
			vmcb.nextRipLow = low >>> 0;
			vmcb.nextRipHigh = cpu.read32(L.RIP + 4) + (low > 0xffffffff ? 1 : 0);
		}
		const vectoring = cpu.read32(L.VECTORING_INFO);
		if (vectoring !== 0) {
			// VMX's types 5 and 6, INT1 and INT3, are exceptions here (APM 15.7.2).
			const type = (vectoring >>> 8) & 7;
			vmcb.exitIntInfo = ((vectoring & ~0x700) | ((type >= 5 ? 3 : type) << 8)) >>> 0;
			vmcb.exitIntInfoErr = cpu.read32(L.VECTORING_ERROR_CODE);
			cpu.write32(L.VECTORING_INFO, 0);
		}
		cpu.write32(L.FAULT, 0);
		cpu.guest = null;
		return true;
	}

	// ---- GuestMode -----------------------------------------------------------------------------------

	instruction(cpu: Cpu, intercept: number, length: number, info: number): boolean {
		return instructionExits(this, cpu, intercept, length, info);
	}

	/** Exception intercepts (APM 15.12). A #PF's address goes to EXITINFO2, CR2 stays. */
	exception(cpu: Cpu, vector: number, errorCode: number, hasErrorCode: boolean): boolean {
		if (!this.vmcb.intercepted(EXIT_CODE.exceptionBase + vector)) return false;
		if (vector === VECTOR.DB) {
			// DR6 and DR7 are written before the intercept; INT1 is behind itself by then (APM 15.12.2).
			noteDebugException(cpu, cpu.read32(L.FAULT_LINEAR));
			cpu.write64(L.RIP, cpu.read64(L.RIP) + BigInt(cpu.read32(L.VECTORING_LENGTH)));
		}
		// INT3 and INTO record the next RIP, as their intercepts are of instructions (APM 15.7.1).
		const software = vector === VECTOR.BP || vector === VECTOR.OF;
		this.exit(
			EXIT_CODE.exceptionBase + vector,
			hasErrorCode ? errorCode : 0,
			software ? cpu.read32(L.VECTORING_LENGTH) : 0,
		);
		if (vector === VECTOR.PF)
			this.vmcb.setExitInfo2(cpu.read32(L.FAULT_LINEAR), cpu.read32(L.FAULT_LINEAR + 4));
		return true;
	}

	/** Nested page faults (APM 15.25.6). */
	secondLevelFault(cpu: Cpu): void {
		this.exit(EXIT_CODE.npf, cpu.read32(L.FAULT_QUALIFICATION), 0);
		this.vmcb.exitInfo1High = cpu.read32(L.FAULT_QUALIFICATION + 4);
		this.vmcb.setExitInfo2(cpu.read32(L.FAULT_GPA), cpu.read32(L.FAULT_GPA + 4));
	}

	tripleFault(_cpu: Cpu): void {
		this.exit(EXIT_CODE.shutdown, 0, 0);
	}

	/**
	 * What is pending at an instruction boundary: #MC, SMI, NMI, a physical interrupt, the virtual interrupt.
	 * An intercepted NMI, SMI or interrupt stays pending: with GIF clear it waits for STGI (APM 15.13, 15.17).
	 */
	pendingEvent(cpu: Cpu): boolean {
		const { vmcb } = this;
		if ((cpu.pending & PENDING.machineCheck) !== 0) return this.machineCheck();
		if ((cpu.pending & PENDING.smi) !== 0) {
			if (vmcb.intercepted(EXIT_CODE.smi)) return this.exit(EXIT_CODE.smi, 0, 0);
			cpu.takeSmi();
		}
		settleShadow(cpu);
		const blocking = cpu.read32(L.INTERRUPTIBILITY);
		if ((blocking & (BLOCKING.sti | BLOCKING.movSs)) !== 0) return false;
		if ((cpu.pending & PENDING.nmi) !== 0) {
			if (vmcb.intercepted(EXIT_CODE.nmi)) return this.exit(EXIT_CODE.nmi, 0, 0);
			if ((blocking & BLOCKING.nmi) === 0) {
				cpu.pending &= ~PENDING.nmi;
				return deliverEvent(cpu, VECTOR.NMI, "hardware", null, 0);
			}
		}
		if (vmcb.vNmiEnable && vmcb.vNmiPending && (blocking & BLOCKING.nmi) === 0) {
			vmcb.vNmiPending = false;
			if (!vmcb.vIrq) cpu.pending &= ~PENDING.window;
			return deliverEvent(cpu, VECTOR.NMI, "hardware", null, 0);
		}
		const open = (cpu.read32(L.RFLAGS) & FLAG.IF) !== 0;
		if ((cpu.pending & PENDING.interrupt) !== 0 && (vmcb.vIntrMasking ? this.hostInterruptFlag : open)) {
			if (this.physicalInterrupt()) return true;
		}
		return vmcb.vIrq && open && this.virtualInterrupt();
	}

	private machineCheck(): boolean {
		const { cpu } = this;
		cpu.pending &= ~PENDING.machineCheck;
		if (!cpu.beginMachineCheck()) {
			this.tripleFault(cpu);
			return true;
		}
		return this.exception(cpu, VECTOR.MC, 0, false) || deliverEvent(cpu, VECTOR.MC, "exception", null, 0);
	}

	private physicalInterrupt(): boolean {
		const { cpu } = this;
		const { apic } = cpu;
		if (apic === null || apic.highestPending() < 0) {
			cpu.pending &= ~PENDING.interrupt;
			return false;
		}
		if (this.vmcb.intercepted(EXIT_CODE.intr)) return this.exit(EXIT_CODE.intr, 0, 0);
		const vector = apic.acknowledge();
		if (apic.highestPending() < 0) cpu.pending &= ~PENDING.interrupt;
		return deliverEvent(cpu, vector, "hardware", null, 0);
	}

	/** The virtual interrupt (APM 15.21.4): against V_TPR, unless V_IGN_TPR. */
	private virtualInterrupt(): boolean {
		const { cpu, vmcb } = this;
		if (!vmcb.vIgnoreTpr && vmcb.vIntrPriority <= vmcb.vTpr) return false;
		if (vmcb.intercepted(EXIT_CODE.vintr)) return this.exit(EXIT_CODE.vintr, 0, 0);
		vmcb.vIrq = false;
		if (!vmcb.vNmiPending) cpu.pending &= ~PENDING.window;
		return deliverEvent(cpu, vmcb.vIntrVector, "hardware", null, 0);
	}

	/** CR8 is V_TPR under V_INTR_MASKING (APM 15.21.2). CR0 and CR4 have no shadows here. */
	readCr(cr: number, real: bigint): bigint {
		return cr === 8 && this.vmcb.vIntrMasking ? BigInt(this.vmcb.vTpr & 15) : real;
	}

	writeCr(cr: number, real: bigint, value: bigint): bigint {
		if (cr !== 8 || !this.vmcb.vIntrMasking) return value;
		this.vmcb.vTpr = Number(value & 15n);
		return real;
	}
}
