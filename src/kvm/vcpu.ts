/**
 * A virtual CPU: `struct kvm_vcpu` with its `arch`, and the vendor's part. Fields carry the kernel's names
 * in camelCase.
 */
import type { KvmTracer, SwapState } from "./x86/trace-exit.ts";
import { FpState, kernelFeatures } from "../host/fpu.ts";
import type { Kernel } from "../host/kernel.ts";
import type { PreemptNotifier } from "../host/task.ts";
import type { Thread } from "../host/thread.ts";
import type { Cpu } from "../silicon/cpu/cpu.ts";
import type { NodeObserver } from "./flow/compile.ts";
import type { SvmVcpu } from "./svm/svm-vcpu.ts";
import type { TdxVcpu } from "./tdx/tdx-vcpu.ts";
import { VtVcpu, type VmxVcpu } from "./vmx/vmx-vcpu.ts";
import type { GuestLedger, GuestRegister } from "./ledger.ts";
import { MP_STATE, VCPU_MODE } from "./requests.ts";
import type { Lapic } from "./irqchip/lapic.ts";
import type { Vm } from "./vm.ts";
import type { MsrBitmap } from "./x86/msr-bitmap.ts";

/** One CPUID leaf given to the guest (KVM_SET_CPUID2). */
export interface CpuidEntry {
	readonly leaf: number;
	/** null: the leaf has no sub-leaves. */
	readonly subleaf: number | null;
	readonly eax: number;
	readonly ebx: number;
	readonly ecx: number;
	readonly edx: number;
}

/** What KVM_RUN tells user space: `struct kvm_run`. */
export interface KvmRun {
	/** One of KVM_EXIT. */
	exitReason: number;
	/** KVM_EXIT_IO. `data` is little-endian, `bytes` wide; `count` elements for string I/O. */
	readonly io: { write: boolean; port: number; bytes: number; count: number; data: Uint8Array };
	/** KVM_EXIT_MMIO. */
	readonly mmio: { write: boolean; gpa: number; bytes: number; data: Uint8Array };
	/** KVM_EXIT_HYPERCALL; user space sets `ret`, 0 or an errno. */
	readonly hypercall: { nr: number; ret: number; readonly args: bigint[] };
	/** KVM_EXIT_DEBUG: what happened, as DR6 has it, where (linear address), and DR7 then. */
	readonly debug: { exception: number; pc: bigint; dr6: number; dr7: number };
	/** KVM_EXIT_FAIL_ENTRY: the hardware's reason. KVM_EXIT_INTERNAL_ERROR: one of INTERNAL_ERROR. */
	code: number;
	/** KVM_EXIT_FAIL_ENTRY, KVM_EXIT_INTERNAL_ERROR: what the hardware said, as one line. */
	message: string;
	/** Set by user space. */
	requestInterruptWindow: boolean;
}

/** Counters as in /sys/kernel/debug/kvm. */
export interface VcpuStat {
	exits: number;
	irqExits: number;
	haltExits: number;
	ioExits: number;
	mmioExits: number;
	nmiExits: number;
	/** Exits by the vendor's exit reason number. */
	readonly byReason: Map<number, number>;
	/** Exits by what they swap; few, since guests seldom change it. */
	readonly swapStates: SwapState[];
	/** That of the last exit. */
	swapState: SwapState | null;
}

/** Enabled, of the bootstrap processor. */
const APIC_BASE_AT_RESET = 0xfee0_0900;

export class Vcpu {
	readonly vm: Vm;
	readonly id: number;
	/** The physical CPU that its thread is on, and the kernel there. */
	kernel: Kernel;
	cpu: Cpu;
	/** vcpu->cpu: number of the CPU of the last vcpu_load; -1 before the first. */
	cpuNumber = -1;
	/** That CPU, for what is done there from another one; null before the first. */
	loadedOn: Cpu | null = null;
	/** What get_cpu() gave vcpu_load(), for the kvm_arch_vcpu_load() that follows; -1 where nobody has asked. */
	loadingOn = -1;
	/** The thread that calls KVM_RUN, in a machine with several CPUs. */
	thread: Thread | null = null;

	/** Sees the nodes of a traced tree. */
	nodeObserver: NodeObserver | null = null;
	/** Listens to the tracepoints of VM entries and exits. */
	tracer: KvmTracer | null = null;
	/** Sees what emulation does to the guest's registers. */
	ledger: GuestLedger | null = null;

	// ---- struct kvm_vcpu ----
	/** kvm_preempt_ops: kvm_sched_out() and kvm_sched_in(). */
	readonly preemptNotifier: PreemptNotifier = {
		schedOut: () => {
			this.vm.tree.helpers.kvm_arch_vcpu_put(this);
		},
		schedIn: () => {
			loadHere(this);
		},
	};
	srcuDepth = 0;
	/** KVM_GUESTDBG_* bits: what a debugger in user space wants. */
	guestDebug = 0;
	readonly run: KvmRun = {
		exitReason: 0,
		io: { write: false, port: 0, bytes: 0, count: 0, data: new Uint8Array(4096) },
		mmio: { write: false, gpa: 0, bytes: 0, data: new Uint8Array(8) },
		code: 0,
		message: "",
		requestInterruptWindow: false,
		hypercall: { nr: 0, ret: 0, args: [0n, 0n, 0n] },
		debug: { exception: 0, pc: 0n, dr6: 0, dr7: 0 },
	};
	readonly stat: VcpuStat = {
		exits: 0,
		irqExits: 0,
		haltExits: 0,
		ioExits: 0,
		mmioExits: 0,
		nmiExits: 0,
		byReason: new Map(),
		swapStates: [],
		swapState: null,
	};
	/** Completes an access that user space served: arch.complete_userspace_io. Returns as an exit handler does. */
	completeUserspaceIo: (() => number) | null = null;

	// ---- arch: registers ----
	/** GPRs in encoding order. RSP is the vendor's while `guestStateLoaded`. */
	readonly regs = new BigUint64Array(16);
	/** The same registers as pairs of 32-bit halves, low first: for exit handlers that need no BigInt. */
	readonly regs32 = new Uint32Array(this.regs.buffer);
	/** Their bytes, to load and store them all. */
	readonly regs8 = new Uint8Array(this.regs.buffer);
	cr0 = 0n;
	/** CR2 in 32-bit halves, low first: it is moved at each entry and exit, where a BigInt would be made for it. */
	readonly cr2Words = new Uint32Array(2);
	private readonly cr2Value = new BigUint64Array(this.cr2Words.buffer);
	cr3 = 0n;
	private cr4Value = 0n;
	/** CR4 as a number: all its bits lie below 2^32, and the run loop tests them at each entry. */
	cr4Bits = 0;
	cr8 = 0;
	efer = 0n;
	xcr0 = 1;
	iaXss = 0;
	pkru = 0;
	/** Snapshot of the host's PKRU, taken at vcpu_load. */
	hostPkru = 0;
	hostDebugctl = 0;
	/** Whether the guest may use XSAVES (guest_cpu_cap_has(XSAVES), worked out by kvm_vcpu_after_set_cpuid()). */
	guestCanUseXsaves = true;
	guestStateProtected = false;

	// ---- arch: FPU ----
	guestFpu: FpState;
	xfdErr = 0;
	/** The guest wrote a non-zero XFD once; the MSR is passed through since. */
	xfdNoWriteIntercept = false;
	/** The guest wrote a SPEC_CTRL other than 0 once; the MSR is passed through since. */
	specCtrlNoIntercept = false;

	// ---- arch: debug registers ----
	/** KVM_DEBUGREG_* bits. */
	switchDbRegs = 0;
	readonly db = new BigUint64Array(4);
	readonly effDb = new BigUint64Array(4);
	dr6 = 0xffff_0ff0;
	dr7 = 0x400;
	/** Of the debugger's breakpoints (KVM_GUESTDBG_USE_HW_BP). */
	guestDebugDr7 = 0x400;
	/** Linear address at which the debugger's step begins. */
	singlestepRip = 0n;

	/** vcpu_to_pmu(): whether a counter of the guest's counts instructions, and what KVM has counted for it. */
	readonly pmu = { countsInstructions: false, instructionsRetired: 0 };

	// ---- arch: events ----
	apic: Lapic | null = null;
	/** IA32_APIC_BASE while user space has the local APIC: KVM only keeps it. */
	apicBase = APIC_BASE_AT_RESET;
	mpState: number = MP_STATE.RUNNABLE;
	pvUnhalted = false;
	nmiPending = 0;
	/** NMIs that came since KVM_REQ_NMI was served last. */
	nmiQueued = 0;
	nmiInjected = false;
	/** An external interrupt that is being injected. */
	readonly interrupt = { injected: false, soft: false, vector: 0 };
	readonly exception = {
		pending: false,
		injected: false,
		vector: 0,
		hasErrorCode: false,
		errorCode: 0,
		cr2: 0n,
	};
	/** User space has set a triple fault as pending (KVM_SET_VCPU_EVENTS, KVM_CAP_X86_TRIPLE_FAULT_EVENT). */
	tripleFaultSet = false;
	atInstructionBoundary = false;
	lastVmentryCpu = -1;
	/** RDTSC of the host at the last exit, in cycles. */
	lastGuestTsc = 0;
	/** Guest TSC = host TSC + this, in cycles. */
	tscOffset = 0;
	/** MSR_KVM_SYSTEM_TIME: where the guest's clock page is, and bit 0 whether it is on; and the page's version. */
	pvclockMsr = 0n;
	pvclockVersion = 0;
	readonly cpuid: CpuidEntry[] = [];
	/** Null for a TD: its MSRs are the TDX module's. */
	msrBitmap: MsrBitmap | null = null;
	/** MSRs that KVM only stores for the guest. */
	readonly msrs = new Map<number, bigint>();

	// ---- locals of vcpu_enter_guest() ----
	runFlags = 0;
	exitFastpath = 0;
	reqImmediateExit = false;
	/** Result of the instruction that the fastpath emulated: 0 to go to user space. */
	emulated = 0;
	reqIntWin = false;
	/** vcpu_block() found nothing to run for. */
	blocks = false;
	/** kvm_vcpu_halt(): when it began, and until when it polls, in cycles; 0 when it does not. */
	readonly halt = { isOn: false, startCycles: 0, pollUntilCycles: 0 };
	/** vcpu->halt_poll_ns: how long it polls next time. */
	haltPollNs = 0;
	/** What completeUserspaceIo() came back with: 0 when user space has to serve one more access. */
	completion = 1;
	/** The kernel's `r` of vcpu_run(). */
	runResult = 0;
	/** What a flow that is called from outside of the run loop is given: XCR0 for __kvm_set_xcr, XFD for fpu_update_guest_xfd. */
	argument = 0;
	argumentVcpu: Vcpu | null = null;
	/** Fields of trees that keep other state than v6.18: `guest_xcr0_loaded` of 2013, say. */
	readonly extra = new Map<string, number>();

	// ---- the vendor's part: exactly one of vmx, svm and tdx is set ----
	/** The last exit of a VMX vCPU or a TD. */
	readonly vt = new VtVcpu();
	vmx: VmxVcpu | null = null;
	svm: SvmVcpu | null = null;
	tdx: TdxVcpu | null = null;

	// ---- struct kvm_vcpu: what other CPUs write ----
	mode: number;
	/** Ioctls of other threads that wait for vcpu->mutex, which KVM_RUN holds. */
	readonly mutexWaiters: ((v: Vcpu) => void)[];
	/** Set of KVM_REQ bits. */
	requests: number;

	get cr2(): bigint {
		return this.cr2Value[0]!;
	}
	set cr2(value: bigint) {
		this.cr2Value[0] = value;
	}
	get cr4(): bigint {
		return this.cr4Value;
	}
	set cr4(value: bigint) {
		this.cr4Value = value;
		this.cr4Bits = Number(value);
	}

	constructor(vm: Vm, kernel: Kernel, id: number) {
		this.vm = vm;
		this.kernel = kernel;
		this.cpu = kernel.cpu;
		this.id = id;
		this.guestFpu = new FpState(kernelFeatures(kernel.xcr0, kernel.xss));
		// A check watches these (watched-flags.ts): they come last, so that V8 lets them be replaced.
		this.mode = VCPU_MODE.OUTSIDE_GUEST_MODE;
		this.mutexWaiters = [];
		this.requests = 0;
	}
}

/** `cpu` of the kvm_arch_vcpu_load() that is under way. */
export function loadingCpu({ loadingOn, cpu }: Vcpu): number {
	return loadingOn < 0 ? cpu.number : loadingOn;
}

/** kvm_arch_vcpu_load(vcpu, smp_processor_id()), from outside of KVM_RUN's own vcpu_load(), which it may interrupt. */
export function loadHere(vcpu: Vcpu): void {
	const { loadingOn } = vcpu;
	vcpu.loadingOn = vcpu.cpu.number;
	vcpu.vm.tree.helpers.kvm_arch_vcpu_load(vcpu);
	vcpu.loadingOn = loadingOn;
}

/** NON-KVM: an instruction that KVM emulates, or user space, has given the guest's register this value. */
export function guestWrote(vcpu: Vcpu, register: GuestRegister, value: number | bigint): void {
	vcpu.ledger?.wrote(register, value);
}
/** Keeps what a flow returned as the fastpath's result. */
export const keepFastpath = (v: Vcpu, result: number): void => {
	v.exitFastpath = result;
};

/** kvm_make_request(). @param request a KVM_REQ bit */
export function makeRequest(vcpu: Vcpu, request: number): void {
	vcpu.requests |= request;
}

/** kvm_check_request(): tests and clears. */
export function checkRequest(vcpu: Vcpu, request: number): boolean {
	if ((vcpu.requests & request) === 0) return false;
	vcpu.requests &= ~request;
	return true;
}
