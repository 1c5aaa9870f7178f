/** kvm_x86_ops for TDs (arch/x86/kvm/vmx/tdx.c and the vt_* wrappers of vmx/main.c, v6.18). */
import { kvmFlushTlb } from "../mmu/flush.ts";
import { tdhMngInit } from "../../silicon/tdx/td.ts";
import { tdhVpInit } from "../../silicon/tdx/tdh-vp-enter.ts";
import { DEBUGREG } from "../requests.ts";
import type { Vcpu } from "../vcpu.ts";
import type { Segment, VendorOps } from "../vendor-ops.ts";
import { DESCRIPTOR_BYTES, PostedInterruptDescriptor } from "../../silicon/vmx/posted-interrupts.ts";
import { exitReasonName } from "../vmx/exit-names.ts";
import { deliverPostedInterrupt } from "../vmx/posted-intr.ts";
import { tdxHandleExit } from "./exit-handlers.ts";
import { tdxInitVcpuApic, tdxInterruptAllowed, tdxProtectedApicHasInterrupt } from "./interrupts.ts";
import { TdxVcpu } from "./tdx-vcpu.ts";

/**
 * Extended features that TDs get: x87, SSE, AVX, AVX-512 and PKRU. Less than the host has (AMX, CET), so that
 * what a TD exit leaves in XCR0 and IA32_XSS differs from the host's values.
 */
const TD_XFAM = 0x2e7;

const PAGE_BYTES = 4096;
const NO_SEGMENT: Segment = { base: 0n, limit: 0, attributes: 0, selector: 0 };

/** tdx_td_init() for the VM's first vCPU, then tdx_vcpu_create() and tdx_td_vcpu_init(). */
function vcpuCreate(v: Vcpu): void {
	const { vm, cpu } = v;
	const { features } = cpu.model;
	vm.td ??= tdhMngInit(cpu, {
		xfam: TD_XFAM & (features.xcr0 | features.xss),
		rootHpa: vm.allocate(PAGE_BYTES),
		msrBitmapHpa: vm.allocate(PAGE_BYTES),
	});
	vm.td.sharedEptRoot = vm.mmu.rootHpa;
	const virtualApicHpa = vm.allocate(PAGE_BYTES);
	const descriptor = new PostedInterruptDescriptor(cpu.memory, vm.allocate(PAGE_BYTES, DESCRIPTOR_BYTES));
	v.tdx = new TdxVcpu(tdhVpInit(cpu, vm.td, virtualApicHpa), descriptor);
	v.switchDbRegs = DEBUGREG.AUTO_SWITCH;
}

const nothing = (): void => {};

/** Registers, events and MSRs of a TD are the TDX module's: KVM reads 0 and writes nothing. */
export const tdxOps: VendorOps = {
	vcpuCreate,
	vcpuMemEncInit: tdxInitVcpuApic,
	afterSetCpuid: nothing,
	flushTlb: kvmFlushTlb,
	handleExit: tdxHandleExit,
	getRip: () => 0n,
	setRip: nothing,
	getRflags: () => 0,
	setRflags: nothing,
	getRsp: () => 0n,
	setRsp: nothing,
	getCpl: () => 0,
	getSegment: () => NO_SEGMENT,
	setSegment: nothing,
	cacheControlRegisters: nothing,
	setCr0: nothing,
	setCr3: nothing,
	setCr4: nothing,
	setEfer: nothing,
	setDr7: nothing,
	syncDirtyDebugRegs: nothing,
	interceptNm: nothing,
	interceptBp: nothing,
	hostOwnedDebugctl: 1 << 14,
	getMsr: () => undefined,
	setMsr: () => false,
	skipEmulatedInstruction: nothing,
	apicvActive: (v) => v.apic !== null,
	deliverInterrupt: deliverPostedInterrupt,
	protectedApicHasInterrupt: tdxProtectedApicHasInterrupt,
	interruptAllowed: tdxInterruptAllowed,
	// vt_nmi_allowed(): NMIs are pended in the module.
	nmiAllowed: () => true,
	nmiMasked: () => false,
	getInterruptShadow: () => 0,
	setInterruptShadow: nothing,
	setNmiMask: nothing,
	vnmiPending: () => false,
	setVnmiPending: () => false,
	injectIrq: nothing,
	injectNmi: nothing,
	injectException: nothing,
	cancelInjection: nothing,
	enableIrqWindow: nothing,
	enableNmiWindow: nothing,
	// vt_set_hv_timer(): the preemption timer is not the VMM's.
	writeTscOffset: nothing,
	setHvTimer: () => false,
	cancelHvTimer: nothing,
	exitReasonName,
	dump: (v) => `TD vCPU ${v.id}: its state is private to the TDX module`,
};
