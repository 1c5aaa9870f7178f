/**
 * APICv: KVM's side of virtual-interrupt delivery and posted interrupts (arch/x86/kvm/vmx/vmx.c, posted_intr.c, v6.18).
 * It is active while the guest's local APIC is in x2APIC mode; the xAPIC page's accesses are not virtualized here.
 */
import { HOST_VECTOR } from "../../host/idt.ts";
import { symbol } from "../../silicon/cpu/symbols.ts";
import { OP } from "../../silicon/ops.ts";
import { CPU_BASED, PIN, SECONDARY } from "../../silicon/vmx/controls.ts";
import { F } from "../../silicon/vmx/fields.ts";
import { DESCRIPTOR_BYTES, PostedInterruptDescriptor } from "../../silicon/vmx/posted-interrupts.ts";
import { vmread32, vmwrite, vmwrite32 } from "../../silicon/vmx/vmcs.ts";
import { APIC, APIC_BASE_MSR, x2apicReadable } from "../irqchip/apic-registers.ts";
import { KVM_REQ, VCPU_MODE } from "../requests.ts";
import { type Vcpu, makeRequest } from "../vcpu.ts";
import { requestAndKick } from "../x86/kick.ts";
import { setMsrIntercept } from "../x86/msr-bitmap.ts";

const PAGE_BYTES = 4096;
const EOI_EXIT_BITMAPS = [
	F.EOI_EXIT_BITMAP0,
	F.EOI_EXIT_BITMAP1,
	F.EOI_EXIT_BITMAP2,
	F.EOI_EXIT_BITMAP3,
] as const;
const DELIVER = symbol("vmx_deliver_posted_interrupt");

/** What a vCPU has for APICv (`vcpu_vmx.vt.pi_desc`, `kvm_lapic.regs`). */
export interface Apicv {
	readonly posted: PostedInterruptDescriptor;
	/** Host physical address of the virtual-APIC page, where the local APIC's registers are. */
	readonly pageHpa: number;
	/** Vectors whose EOI exits (`vcpu->arch.ioapic_handled_vectors`). */
	readonly eoiExits: Uint32Array;
	/** The guest's local APIC is in x2APIC mode. */
	active: boolean;
}

/** Makes the page and the descriptor; kvm_intel.enable_apicv is set. */
export function createApicv(v: Vcpu): Apicv {
	const pageHpa = v.vm.allocate(PAGE_BYTES);
	const descriptorHpa = v.vm.allocate(PAGE_BYTES, DESCRIPTOR_BYTES);
	return {
		posted: new PostedInterruptDescriptor(v.cpu.memory, descriptorHpa),
		pageHpa,
		eoiExits: new Uint32Array(8),
		active: false,
	};
}

/** Registers whose WRMSR the processor virtualizes (SDM 30.5). */
const WRITTEN_WITHOUT_EXIT = [APIC.TASKPRI, APIC.EOI, APIC.SELF_IPI];
/** Registers whose RDMSR exits all the same: the timer counts in KVM, and ICR's upper half is kept apart here. */
const READ_WITH_EXIT = new Set<number>([APIC.TMCCT, APIC.ICR]);

/** vmx_refresh_apicv_exec_ctrl(), vmx_set_virtual_apic_mode() and vmx_update_msr_bitmap_x2apic(). */
export function refreshApicv(v: Vcpu): void {
	const { apicv, vmcs } = v.vmx!;
	if (apicv === null) return;
	const active = v.apic?.isX2apic === true && !v.vm.apicvInhibited;
	apicv.active = active;
	const change = (field: number, bits: number, on: boolean) => {
		const before = vmread32(v.cpu, vmcs, field);
		vmwrite32(v.cpu, vmcs, field, (on ? before | bits : before & ~bits) >>> 0);
	};
	const virtualizes =
		SECONDARY.virtualizeX2apicMode |
		SECONDARY.apicRegisterVirtualization |
		SECONDARY.virtualInterruptDelivery;
	vmcs.set("VIRTUAL_APIC_PAGE_ADDR", BigInt(apicv.pageHpa));
	vmcs.set("POSTED_INTR_DESC_ADDR", BigInt(apicv.posted.hpa));
	vmcs.set("POSTED_INTR_NV", HOST_VECTOR.postedInterrupt);
	// SVI is what is in service; RVI follows at the next sync_pir_to_irr().
	vmcs.set("GUEST_INTR_STATUS", Math.max(v.apic?.highestInService ?? 0, 0) << 8);
	change(F.PIN_BASED_VM_EXEC_CONTROL, PIN.postedInterrupts, active);
	change(F.CPU_BASED_VM_EXEC_CONTROL, CPU_BASED.tprShadow, active);
	change(F.CPU_BASED_VM_EXEC_CONTROL, CPU_BASED.cr8LoadExiting | CPU_BASED.cr8StoreExiting, !active);
	change(F.SECONDARY_VM_EXEC_CONTROL, virtualizes, active);
	for (let offset = 0; offset < 0x400; offset += 16) {
		const readable = x2apicReadable(offset) && !READ_WITH_EXIT.has(offset);
		setMsrIntercept(v, APIC_BASE_MSR + (offset >> 4), false, !(active && readable));
	}
	for (const offset of WRITTEN_WITHOUT_EXIT) setMsrIntercept(v, APIC_BASE_MSR + (offset >> 4), true, !active);
}

/** Whether the processor delivers this vCPU's interrupts: kvm_vcpu_apicv_active(). */
export function apicvActive(v: Vcpu): boolean {
	return v.vmx?.apicv?.active === true;
}

/** vcpu_to_pi_desc(): where others leave interrupts for a vCPU; null if nothing is posted to it. */
export function piDesc({ vmx, tdx }: Vcpu): PostedInterruptDescriptor | null {
	return vmx?.apicv?.posted ?? tdx?.posted ?? null;
}

/**
 * __vmx_deliver_posted_interrupt(), of a VMX vCPU or a TD: a vector into PIR, and the notification that makes the processor, or KVM, move it.
 * @returns false where APICv is not active
 */
export function deliverPostedInterrupt(v: Vcpu, vector: number): boolean {
	const posted = apicvActive(v) || v.tdx !== null ? piDesc(v) : null;
	if (posted === null) return false;
	if (posted.testAndSetPir(vector) || posted.testAndSetOn()) return true;
	const { smp } = v.kernel;
	const sender = smp?.running?.cpu ?? null;
	sender?.enter(DELIVER);
	sender?.op(OP.kvm_vcpu_kick);
	// kvm_vcpu_trigger_posted_interrupt(): the running vCPU itself looks at PIR before it enters the guest again.
	if (v.mode === VCPU_MODE.IN_GUEST_MODE) {
		if (smp !== null && smp.running !== v.kernel) {
			sender?.op(OP.send_ipi);
			v.kernel.apic.raise(HOST_VECTOR.postedInterrupt);
			smp.somethingWillHappen(v.kernel);
		}
	} else if (v.thread !== null) smp?.wake(v.thread);
	sender?.leave();
	return true;
}

/** vmx_sync_pir_to_irr(): what was posted goes into IRR; the highest of IRR becomes RVI. @returns it, or -1 */
export function syncPirToIrr(v: Vcpu): number {
	const { apicv, vmcs } = v.vmx!;
	const apic = v.apic!;
	let posted = false;
	if (apicv!.posted.isOn) {
		apicv!.posted.clearOn();
		for (let word = 0; word < 8; word++) {
			const bits = apicv!.posted.takePir(word);
			if (bits === 0) continue;
			posted = true;
			apic.mergeIrr(word, bits);
		}
	}
	const highest = apic.highestRequested;
	if (apicv!.active) {
		const status = vmread32(v.cpu, vmcs, F.GUEST_INTR_STATUS);
		const rvi = Math.max(highest, 0);
		if ((status & 0xff) !== rvi) vmwrite32(v.cpu, vmcs, F.GUEST_INTR_STATUS, (status & 0xff00) | rvi);
	} else if (posted) makeRequest(v, KVM_REQ.EVENT);
	return highest;
}

/** Notes whether the guest's EOI of a vector shall exit: for level-triggered ones. The vCPU loads it itself. */
export function setEoiExit(v: Vcpu, vector: number, exits: boolean): void {
	const apicv = v.vmx!.apicv;
	if (apicv === null) return;
	const { eoiExits } = apicv;
	const bit = 1 << (vector & 31);
	const before = eoiExits[vector >> 5]!;
	const after = (exits ? before | bit : before & ~bit) >>> 0;
	if (after === before) return;
	eoiExits[vector >> 5] = after;
	requestAndKick(v, KVM_REQ.LOAD_EOI_EXITMAP);
}

/** vmx_load_eoi_exitmap(). */
export function loadEoiExitmap(v: Vcpu): void {
	const { eoiExits, active } = v.vmx!.apicv!;
	if (!active) return;
	for (const [at, field] of EOI_EXIT_BITMAPS.entries()) {
		const bits = BigInt(eoiExits[2 * at]!) | (BigInt(eoiExits[2 * at + 1]!) << 32n);
		vmwrite(v.cpu, v.vmx!.vmcs, field, bits);
	}
}
