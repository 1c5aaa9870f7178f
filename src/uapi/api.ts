/**
 * KVM's user API as objects: the system (/dev/kvm), a VM, a vCPU. Two machines implement it: the software one
 * (kvm/api/) and the real /dev/kvm (devkvm/). Methods are named after the ioctls; what each does stands in
 * Documentation/virt/kvm/api.rst of the kernel (v6.18).
 *
 * Every method throws KvmError: with an errno when the kernel refused, with `unsupported` when this machine does
 * not have the ioctl.
 */
import type { KvmCapName } from "./constants.ts";
import type { VcpuExit } from "./exit.ts";
import type {
	KvmCpuidEntry2,
	KvmDebugregs,
	KvmFpu,
	KvmPitState2,
	KvmRegs,
	KvmSregs,
	KvmVcpuEvents,
} from "./structs.ts";

/** Which machine. */
export type Backend = "dev" | "soft";

/** What an ioctl failed with. */
export class KvmError extends Error {
	override readonly name = "KvmError";
	/** The ioctl, or the call of libc. */
	readonly call: string;
	/** Symbolic errno: "EINVAL". "ENOSYS" stands for what this machine does not have. */
	readonly errno: string;

	/** @param detail what was asked, and the likely mend */
	constructor(call: string, errno: string, detail = "") {
		super(`${call}: ${errno}${detail === "" ? "" : `: ${detail}`}`);
		this.call = call;
		this.errno = errno;
	}

	/** This machine does not have the ioctl at all. */
	get unsupported(): boolean {
		return this.errno === "ENOSYS";
	}
}

/** One MSR with its value. */
export interface Msr {
	readonly index: number;
	readonly data: bigint;
}

/** One extended control register. */
export interface Xcr {
	readonly xcr: number;
	readonly value: bigint;
}

/** Guest memory that a slot maps. */
export interface GuestMemory {
	readonly slot: number;
	readonly gpa: number;
	/**
	 * The memory itself, seen by this thread. What is written here the guest sees at the next KVM_RUN. On the software
	 * machine each KVM_RUN looks for changed code once this was asked for; `write` tells it.
	 */
	readonly bytes: Uint8Array;
	/** A copy of a part. @param offset from the slot's beginning, in bytes */
	read(offset: number, bytes: number): Uint8Array;
	/** Stores into a part. @param offset from the slot's beginning, in bytes */
	write(offset: number, data: Uint8Array): void;
}

/** A slot to make. */
export interface MemorySlotOptions {
	readonly slot: number;
	/** Guest physical address, a multiple of 4096. */
	readonly gpa: number;
	/** A multiple of 4096. */
	readonly bytes: number;
	/** KVM_MEM_READONLY: guest writes exit as MMIO. */
	readonly readOnly?: boolean;
	/** KVM_MEM_LOG_DIRTY_PAGES. */
	readonly logDirtyPages?: boolean;
}

/** An access that a vCPU's exit is not wanted for: it counts on an eventfd instead. */
export interface IoeventfdOptions {
	readonly address: number;
	/** 0 (any), 1, 2, 4 or 8 bytes. */
	readonly bytes: number;
	readonly pio: boolean;
	/** Only writes of this value. */
	readonly datamatch?: bigint;
}

/** A count that the kernel raises and user space takes: struct eventfd_ctx. */
export interface EventCounter {
	/** Takes the count, 0 if there is none. */
	take(): bigint;
	/** Adds to it. */
	add(count: bigint): void;
	close(): void;
}

/** A deferred write that coalesced MMIO collected. */
export interface CoalescedWrite {
	readonly address: number;
	readonly pio: boolean;
	readonly data: Uint8Array;
}

export interface KvmSystem {
	readonly backend: Backend;
	/** KVM_GET_API_VERSION. */
	apiVersion(): number;
	/** KVM_CHECK_EXTENSION. @returns 0 for what there is not */
	checkExtension(cap: KvmCapName): number;
	/** KVM_GET_SUPPORTED_CPUID. */
	supportedCpuid(): KvmCpuidEntry2[];
	/** KVM_GET_MSR_INDEX_LIST. */
	msrIndexList(): number[];
	/** KVM_GET_MSR_FEATURE_INDEX_LIST. */
	msrFeatureIndexList(): number[];
	/** KVM_CREATE_VM. */
	createVm(): KvmVm;
	/** Closes it and all that was made by it. */
	close(): void;
}

export interface KvmVm {
	/** KVM_CHECK_EXTENSION on the VM. */
	checkExtension(cap: KvmCapName): number;
	/** Memory of this process, and KVM_SET_USER_MEMORY_REGION for it. */
	addMemory(options: MemorySlotOptions): GuestMemory;
	/** KVM_SET_USER_MEMORY_REGION with size 0; the memory is freed. */
	removeMemory(memory: GuestMemory): void;
	/** KVM_GET_DIRTY_LOG: one bit a page of the slot, least significant first; reading clears it. */
	dirtyLog(memory: GuestMemory): Uint8Array;
	/** KVM_CREATE_IRQCHIP: PIC, IOAPIC, local APICs. Before the first vCPU. */
	createIrqchip(): void;
	/** KVM_CREATE_PIT2. */
	createPit2(): void;
	/** KVM_IRQ_LINE. */
	irqLine(irq: number, level: boolean): void;
	/** KVM_SIGNAL_MSI. @returns how many vCPUs took it */
	signalMsi(address: number, data: number): number;
	/** KVM_GET_IRQCHIP: the chip's state, 512 bytes. @param chip 0 the master PIC, 1 the slave, 2 the IOAPIC */
	getIrqchip(chip: number): Uint8Array;
	/** KVM_SET_IRQCHIP. */
	setIrqchip(chip: number, state: Uint8Array): void;
	/** KVM_GET_PIT2. */
	getPit2(): KvmPitState2;
	/** KVM_SET_PIT2. */
	setPit2(state: KvmPitState2): void;
	/** KVM_GET_CLOCK: kvmclock in ns. */
	getClock(): bigint;
	/** KVM_SET_CLOCK. */
	setClock(ns: bigint): void;
	/** KVM_IOEVENTFD. */
	ioeventfd(options: IoeventfdOptions): EventCounter;
	/** KVM_IRQFD: adding to the counter raises the line. */
	irqfd(gsi: number): EventCounter;
	/** KVM_REGISTER_COALESCED_MMIO. */
	coalesceMmio(address: number, bytes: number): void;
	/** KVM_CREATE_VCPU. */
	createVcpu(id: number): KvmVcpu;
	close(): void;
}

/** A vCPU in a thread of its own. */
export interface VcpuThread {
	/** One KVM_RUN. Views in the exit hold until the next. @throws KvmError; also when one is under way already */
	run(): Promise<VcpuExit>;
	/** Ends the KVM_RUN under way, or the next: its exit is "intr". */
	kick(): void;
	/** Ends KVM_RUN if it is under way, and the thread. The vCPU can be run by others again. */
	stop(): Promise<void>;
}

export interface KvmVcpu {
	readonly id: number;
	getRegs(): KvmRegs;
	setRegs(regs: KvmRegs): void;
	getSregs(): KvmSregs;
	setSregs(sregs: KvmSregs): void;
	getFpu(): KvmFpu;
	setFpu(fpu: KvmFpu): void;
	/** KVM_GET_XSAVE2 where there is one, else KVM_GET_XSAVE: the area in its standard form, 4096 bytes or more. */
	getXsave(): Uint8Array;
	setXsave(area: Uint8Array): void;
	getXcrs(): Xcr[];
	setXcrs(xcrs: readonly Xcr[]): void;
	/** KVM_GET_MSRS. @throws KvmError naming the first MSR that cannot be read */
	getMsrs(indices: readonly number[]): Msr[];
	/** KVM_SET_MSRS. @throws KvmError naming the first MSR that cannot be written */
	setMsrs(msrs: readonly Msr[]): void;
	/** KVM_GET_REG_LIST: registers that are no MSRs, which a VMM has to save too. KVM_CAP_ONE_REG, Linux 6.18. */
	getRegList(): bigint[];
	/** KVM_GET_ONE_REG. @param id KVM_X86_REG_GUEST_SSP or `kvmX86RegMsr` */
	getOneReg(id: bigint): bigint;
	/** KVM_SET_ONE_REG. */
	setOneReg(id: bigint, value: bigint): void;
	getCpuid2(): KvmCpuidEntry2[];
	setCpuid2(entries: readonly KvmCpuidEntry2[]): void;
	/** KVM_GET_MP_STATE: one of KVM_MP_STATE. */
	getMpState(): number;
	setMpState(state: number): void;
	getVcpuEvents(): KvmVcpuEvents;
	setVcpuEvents(events: KvmVcpuEvents): void;
	getDebugregs(): KvmDebugregs;
	setDebugregs(debugregs: KvmDebugregs): void;
	/** The local APIC's register page, 1024 bytes. */
	getLapic(): Uint8Array;
	setLapic(registers: Uint8Array): void;
	getTscKhz(): number;
	setTscKhz(khz: number): void;
	/** KVM_SET_GUEST_DEBUG. @param control KVM_GUESTDBG_* bits; @param debugreg DR0-DR7 for hardware breakpoints */
	setGuestDebug(control: number, debugreg?: readonly bigint[]): void;
	/** KVM_TRANSLATE. @returns the guest physical address, or null */
	translate(linear: bigint): bigint | null;
	/** KVM_INTERRUPT: a vector, without an in-kernel interrupt controller. */
	interrupt(vector: number): void;
	nmi(): void;
	/** KVM_RUN, until it returns. Blocks this thread. */
	run(): VcpuExit;
	/** A thread for this vCPU, in which KVM_RUN blocks nobody. Until it is stopped, nothing else may run the vCPU. */
	startThread(): Promise<VcpuThread>;
	/** kvm_run.immediate_exit: the next KVM_RUN returns at once, before it enters the guest. */
	setImmediateExit(on: boolean): void;
	/** kvm_run.request_interrupt_window. */
	requestInterruptWindow(on: boolean): void;
	/** Writes that coalesced MMIO collected since. */
	takeCoalesced(): CoalescedWrite[];
	close(): void;
}
