/**
 * kvm_x86_ops: what common code asks of the vendor outside the flows. The steps of the run loop itself
 * (vcpu_run, handle_exit_irqoff, prepare_switch_to_guest) are flows of the tree, not members here.
 */
import type { Vcpu } from "./vcpu.ts";

export interface VendorOps {
	/** Creates the vendor's part of a vCPU and its guest state at reset. */
	vcpuCreate(vcpu: Vcpu): void;
	/** The vCPU of a guest with protected state has its local APIC: KVM_TDX_INIT_VCPU. Absent: there are none. */
	vcpuMemEncInit?(vcpu: Vcpu): void;
	/** The guest's CPUID was set: instructions that it does not offer are to be #UD (vcpu_after_set_cpuid). */
	afterSetCpuid(vcpu: Vcpu): void;
	/** Drops cached translations of the guest (flush_tlb_all). */
	flushTlb(vcpu: Vcpu): void;
	/** Handles an exit that the fastpath did not: >0 go on, 0 return to user space. */
	handleExit(vcpu: Vcpu): number;

	// ---- guest registers ----
	getRip(vcpu: Vcpu): bigint;
	setRip(vcpu: Vcpu, rip: bigint): void;
	getRflags(vcpu: Vcpu): number;
	setRflags(vcpu: Vcpu, rflags: number): void;
	getRsp(vcpu: Vcpu): bigint;
	setRsp(vcpu: Vcpu, rsp: bigint): void;
	getCpl(vcpu: Vcpu): number;
	/** Base, limit, attributes (VMCS access-rights format) and selector. @param segment layout.ts ES…IDTR */
	getSegment(vcpu: Vcpu, segment: number): Segment;
	setSegment(vcpu: Vcpu, segment: number, value: Segment): void;
	/** KVM's copies of CR0, CR3 and CR4 become what the guest has now: kvm_x86_ops.cache_reg(). */
	cacheControlRegisters(vcpu: Vcpu): void;
	setCr0(vcpu: Vcpu, cr0: bigint): void;
	setCr3(vcpu: Vcpu, cr3: bigint): void;
	setCr4(vcpu: Vcpu, cr4: bigint): void;
	setEfer(vcpu: Vcpu, efer: bigint): void;
	/** The four PDPTEs of PAE paging that VM entry loads: vmx_ept_load_pdptrs(). Absent: the processor reads them when it walks. */
	setPdptrs?(vcpu: Vcpu, pdptrs: readonly bigint[]): void;
	/** DR7 of the guest (set_dr7). */
	setDr7(vcpu: Vcpu, dr7: number): void;
	/** The guest used the debug registers without exits: its values come back, and accesses exit again. */
	syncDirtyDebugRegs(vcpu: Vcpu): void;
	/** Bits of DEBUGCTL that stay the host's while a guest runs (kvm_x86_ops.HOST_OWNED_DEBUGCTL). */
	readonly hostOwnedDebugctl: number;
	/** #NM of the guest exits from now on: the guest may set IA32_XFD without an exit (vmx_update_exception_bitmap). */
	interceptNm(vcpu: Vcpu): void;
	/** RDMSR of a register that the vendor keeps; undefined: not the vendor's. */
	getMsr(vcpu: Vcpu, index: number): bigint | undefined;
	/** @returns false: not the vendor's; a #GP is a thrown GuestFault */
	setMsr(vcpu: Vcpu, index: number, value: bigint): boolean;
	/** Skips the instruction that exited (kvm_skip_emulated_instruction's vendor part). */
	skipEmulatedInstruction(vcpu: Vcpu): void;

	// ---- APICv; absent: the vendor has none here ----
	/** kvm_vcpu_apicv_active(): the processor delivers the local APIC's interrupts by itself. */
	apicvActive?(vcpu: Vcpu): boolean;
	/** The local APIC's mode has changed: refresh_apicv_exec_ctrl, set_virtual_apic_mode. */
	refreshApicv?(vcpu: Vcpu): void;
	/** Posts an interrupt. @returns false: put it into IRR and request an event */
	deliverInterrupt?(vcpu: Vcpu, vector: number): boolean;
	/** Whether an interrupt waits for a guest whose local APIC KVM cannot see: protected_apic_has_interrupt. */
	protectedApicHasInterrupt?(vcpu: Vcpu): boolean;
	/**
	 * Where the guest writes its task priority without exits: update_cr8_intercept().
	 * @param priority CR8, 0 to 15 @param irr class of the highest interrupt that is requested, or -1
	 */
	updateCr8Intercept?(vcpu: Vcpu, priority: number, irr: number): void;
	/** What was posted goes into IRR: sync_pir_to_irr. */
	syncPirToIrr?(vcpu: Vcpu): void;
	/** Whether the EOI of a vector shall exit; and the vCPU takes that over: load_eoi_exitmap. */
	setEoiExit?(vcpu: Vcpu, vector: number, exits: boolean): void;
	loadEoiExitmap?(vcpu: Vcpu): void;

	/** INT3 exits: update_exception_bitmap, for a debugger's breakpoints in code. */
	interceptBp(vcpu: Vcpu, exits: boolean): void;

	// ---- events ----
	interruptAllowed(vcpu: Vcpu): boolean;
	nmiAllowed(vcpu: Vcpu): boolean;
	/** The guest is in an NMI handler: get_nmi_mask. */
	nmiMasked(vcpu: Vcpu): boolean;
	/** set_nmi_mask(). */
	setNmiMask(vcpu: Vcpu, masked: boolean): void;
	/** get_interrupt_shadow(): a set of INTERRUPT_SHADOW bits. */
	getInterruptShadow(vcpu: Vcpu): number;
	/** set_interrupt_shadow(). @param shadow a set of INTERRUPT_SHADOW bits */
	setInterruptShadow(vcpu: Vcpu, shadow: number): void;
	/** The hardware holds an NMI that it will deliver by itself: is_vnmi_pending. */
	vnmiPending(vcpu: Vcpu): boolean;
	/** Gives the hardware an NMI to deliver. @returns false if it cannot take one */
	setVnmiPending(vcpu: Vcpu): boolean;
	injectIrq(vcpu: Vcpu): void;
	injectNmi(vcpu: Vcpu): void;
	injectException(vcpu: Vcpu): void;
	cancelInjection(vcpu: Vcpu): void;
	enableIrqWindow(vcpu: Vcpu): void;
	enableNmiWindow(vcpu: Vcpu): void;
	/** `tscOffset` changed: write_tsc_offset. */
	writeTscOffset(vcpu: Vcpu): void;
	/** Arms the VMX preemption timer for a guest TSC deadline. @returns false if there is none: use a host timer */
	setHvTimer(vcpu: Vcpu, guestDeadlineTsc: number): boolean;
	cancelHvTimer(vcpu: Vcpu): void;
	/** Name of an exit reason number, as perf kvm stat and trace events print it. */
	exitReasonName(reason: number): string;
	/** The guest's state as the kernel's dump_vmcs()/dump_vmcb() print it. */
	dump(vcpu: Vcpu): string;
}

export interface Segment {
	base: bigint;
	limit: number;
	attributes: number;
	selector: number;
}
